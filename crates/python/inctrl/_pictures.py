"""What is neither a path, the bytes of a file nor an array of numpy, as an array or as memory of a GPU."""

from __future__ import annotations

import sys
from typing import Any

import numpy


def as_array(picture: Any) -> Any:
    """An array of numpy, or an object with ``__cuda_array_interface__``: called by the module for all else."""
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(picture, pil.Image):
        return _from_pil(picture)
    # Before numpy's own interface: a tensor on a GPU may have both.
    if hasattr(picture, "__cuda_array_interface__"):
        return picture
    if hasattr(picture, "__array_interface__"):
        return numpy.asarray(picture)
    if hasattr(picture, "__dlpack__"):
        return numpy.from_dlpack(picture)
    if hasattr(picture, "__array__"):
        return numpy.asarray(picture)
    raise TypeError(
        f"{type(picture).__name__} is not a picture: give a path, the bytes of a file, an array (uint8, or uint16 for grey), a "
        "picture of PIL, or an object with __array_interface__, __dlpack__ or __cuda_array_interface__"
    )


def _from_pil(picture: Any) -> numpy.ndarray:
    """The pixels that the file of the picture would give: palettes become colours, and alpha is dropped."""
    mode = picture.mode
    if mode in ("1", "LA", "La"):
        picture = picture.convert("L")
    elif mode not in ("L", "RGB") and not mode.startswith("I;16") and mode not in ("I", "F"):
        picture = picture.convert("RGB")
    return numpy.asarray(picture)
