"""What is neither a path, the bytes of a file nor an array of numpy, as an array or as memory of a GPU."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy

from ._errors import ArgumentError


def as_array(picture: Any) -> Any:
    """An array of the class ``numpy.ndarray``, or an object with ``__cuda_array_interface__``: called by the module for all else."""
    if _is_pil(picture):
        return _from_pil(picture)
    if isinstance(picture, numpy.ma.MaskedArray):
        if numpy.ma.is_masked(picture):
            raise ArgumentError(
                f"a masked array, of which {numpy.ma.count_masked(picture)} values are not valid: give pixels for all, such as "
                "array.filled(0), and leave regions out with the ignore_mask of build_bank"
            )
        return numpy.asarray(picture.data)
    if isinstance(picture, numpy.ndarray):
        return numpy.asarray(picture)
    # Before numpy's own interface: a tensor on a GPU may have both.
    if hasattr(picture, "__cuda_array_interface__"):
        return picture
    if hasattr(picture, "__array_interface__"):
        return _from_interface(picture)
    if hasattr(picture, "__dlpack__"):
        return _from_dlpack(picture)
    if hasattr(picture, "__array__"):
        return numpy.asarray(picture)
    raise TypeError(
        f"{type(picture).__name__} is not a picture: give a path, the bytes of a file, an array (uint8, or uint16 for grey), a "
        "picture of PIL, or an object with __array_interface__, __dlpack__ or __cuda_array_interface__"
    )


def is_one(pictures: Any) -> bool:
    """Whether it is one picture, where a list of them may be meant: iterating over it would give its rows or bytes."""
    if isinstance(pictures, (str, bytes, bytearray, memoryview, os.PathLike)) or _is_pil(pictures):
        return True
    shape = getattr(pictures, "shape", None)
    if not isinstance(shape, tuple):
        return False
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))


def of_bool(mask: Any) -> Any:
    """A mask whose array is of bool, as pixels; all else as it is."""
    if isinstance(mask, numpy.ndarray) and mask.dtype == numpy.bool_:
        return mask.astype(numpy.uint8)
    return mask


def _is_pil(picture: Any) -> bool:
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(picture, pil.Image)


def _from_interface(picture: Any) -> numpy.ndarray:
    interface = picture.__array_interface__
    data = interface.get("data") if isinstance(interface, dict) else None
    if not isinstance(data, (tuple, type(None))) and interface.get("strides") is None:
        # numpy would read past the end of a buffer that is too short for the shape.
        count, offset = int(numpy.prod(interface["shape"], dtype=numpy.int64)), interface.get("offset") or 0
        return numpy.frombuffer(data, interface["typestr"], count, offset).reshape(interface["shape"])
    return numpy.asarray(picture)


def _from_dlpack(picture: Any) -> numpy.ndarray:
    try:
        return numpy.from_dlpack(picture)
    except (BufferError, RuntimeError, ValueError) as error:
        raise ArgumentError(
            f"{type(picture).__name__} does not become an array of numpy: {error} (it must be uint8, in the host's memory)"
        ) from error


def _from_pil(picture: Any) -> numpy.ndarray:
    """The pixels that the file of the picture would give: palettes become colours, and alpha is dropped."""
    mode = picture.mode
    if mode in ("1", "LA"):
        picture = picture.convert("L")
    elif mode == "La":
        picture = picture.convert("LA").convert("L")
    elif mode == "I":
        return _from_integers(picture)
    elif mode not in ("L", "RGB", "F") and not mode.startswith("I;16"):
        picture = picture.convert("RGB")
    return numpy.asarray(picture)


def _from_integers(picture: Any) -> numpy.ndarray:
    """16 bits of grey in 32, as PIL reads some files."""
    values = numpy.asarray(picture)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ArgumentError(
            f"a picture of mode I with values from {values.min()} to {values.max()}: they must lie from 0 to 65535, which is white"
        )
    return values.astype(numpy.uint16)
