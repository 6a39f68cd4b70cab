"""What is neither a path, the bytes of a file nor an array of numpy, as an array or as memory of a GPU."""

from __future__ import annotations

import math
import operator
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
    if data is None or isinstance(data, tuple):
        return numpy.asarray(picture)
    try:
        return _from_buffer(data, interface)
    except (BufferError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ArgumentError(f"the __array_interface__ of {type(picture).__name__} does not fit its data: {error}") from error


def _from_buffer(data: Any, interface: dict[str, Any]) -> numpy.ndarray:
    """The array in a buffer, of which numpy.asarray does not ask whether it is long enough for the shape and the strides."""
    shape = tuple(operator.index(side) for side in interface["shape"])
    strides, dtype = interface.get("strides"), numpy.dtype(interface["typestr"])
    if dtype.hasobject:
        raise TypeError(f"the type {dtype} is of pointers")
    # Unlike numpy.ndarray, it keeps a bytearray from being resized while its pixels are read.
    held = numpy.frombuffer(data, numpy.uint8)
    # The check of numpy.ndarray wraps around at 64 bits, and without strides it takes offsets below zero.
    first = offset = operator.index(interface.get("offset") or 0)
    if strides is None:
        end = offset + math.prod(shape) * dtype.itemsize
    else:
        strides = tuple(operator.index(stride) for stride in strides)
        ways = [stride * (side - 1) for side, stride in zip(shape, strides)]
        first += sum(way for way in ways if way < 0)
        end = offset + sum(way for way in ways if way > 0) + dtype.itemsize
    if first < 0 or end > held.size:
        raise ValueError(f"shape {shape}, strides {strides} and offset {offset} lead out of its {held.size} bytes")
    return numpy.ndarray(shape, dtype, buffer=held, offset=offset, strides=strides)


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
