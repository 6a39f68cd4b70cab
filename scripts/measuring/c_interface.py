"""The part of the C library (`include/inctrl.h`) that measuring needs, for Python: calls with frames in memory."""

import ctypes
import sys
from ctypes import byref, c_char, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import numpy as np

ABI_VERSION = 1
MONO8, RGB8 = 1, 3
PRECISIONS = {"f32": 1, "bf16": 2, "int8": 3}
FILE = {"darwin": "libinctrl.dylib", "win32": "inctrl.dll"}.get(sys.platform, "libinctrl.so")


class Options(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("weights", c_char_p), ("heads", c_char_p), ("config", c_char_p)]
    _fields_ += [("device", c_char_p), ("threads", c_uint32), ("precision", c_int32)]


class Frame(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("data", c_void_p), ("width", c_uint32), ("height", c_uint32)]
    _fields_ += [("stride", c_size_t), ("format", c_int32), ("memory", c_int32)]


class BankOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("method", c_char_p), ("class_name", c_char_p), ("options", ctypes.POINTER(c_char_p))]
    _fields_ += [("option_count", c_size_t), ("mask", ctypes.POINTER(Frame)), ("has_fit", c_int32), ("fit", c_int32)]


class Result(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("map", c_void_p), ("map_capacity", c_size_t), ("regions", c_void_p)]
    _fields_ += [("region_capacity", c_size_t), ("region_count", c_size_t)]
    _fields_ += [(name, c_int32) for name in ("status", "verdict", "reason", "late")]
    _fields_ += [(name, c_float) for name in ("score", "holistic", "patch_max", "image_residual", "text_prior")]
    _fields_ += [("grid", c_uint32)]
    _fields_ += [(name, c_double) for name in ("map_x", "map_y", "map_width", "map_height")]
    _fields_ += [("generation", c_uint64), ("latency_us", c_uint64), ("bank_id", c_char * 24)]


def frames_of(pictures):
    """Frames over `[height, width]` or `[height, width, 3]` arrays of bytes, which must outlive them."""
    frames = (Frame * len(pictures))()
    for frame, pixels in zip(frames, pictures):
        assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous, "a frame is packed bytes"
        frame.struct_size, frame.data = ctypes.sizeof(Frame), pixels.ctypes.data
        frame.height, frame.width = pixels.shape[:2]
        frame.format = MONO8 if pixels.ndim == 2 else RGB8
    return frames


class Handle:
    """Owns a handle of the library, of a kind such as `bank`."""

    def __init__(self, library, kind):
        self.owner, self.kind, self.pointer = library, kind, c_void_p()

    def close(self):
        if self.pointer:
            self.owner.call(f"inctrl_{self.kind}_close", byref(self.pointer))


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.c.inctrl_last_error.restype = c_char_p
        self.c.inctrl_version.restype = c_char_p
        found = self.c.inctrl_abi_version()
        assert found == ABI_VERSION, f"{path} has version {found} of the interface, this script is for {ABI_VERSION}"

    def version(self):
        return self.c.inctrl_version().decode()

    def call(self, name, *arguments):
        if getattr(self.c, name)(*arguments) != 0:
            raise RuntimeError(f"{name}: {self.c.inctrl_last_error().decode()}")

    def engine(self, weights, threads, precision="f32"):
        """The model on the processor."""
        options = Options(ctypes.sizeof(Options), str(weights).encode(), None, None, b"cpu", threads, PRECISIONS[precision])
        engine = Handle(self, "engine")
        self.call("inctrl_engine_open", byref(options), byref(engine.pointer))
        return engine

    def bank(self, engine, class_name, pictures):
        bank = Handle(self, "bank")
        frames = frames_of(pictures)
        self.call(
            "inctrl_bank_build", engine.pointer, class_name.encode(), 0, frames, c_size_t(len(frames)), None, byref(bank.pointer)
        )
        return bank

    def bank_with(self, engine, method, options, pictures, mask=None, class_name=None):
        """A bank of a method, whose options are texts "name=value"; pixels that are not 0 in `mask` are not judged."""
        texts = (c_char_p * len(options))(*(text.encode() for text in options))
        asked = BankOptions(struct_size=ctypes.sizeof(BankOptions), method=method.encode(), options=texts, option_count=len(options))
        if class_name is not None:
            asked.class_name = class_name.encode()
        if mask is not None:
            asked.mask = frames_of([mask])
        bank, frames = Handle(self, "bank"), frames_of(pictures)
        count = c_size_t(len(frames))
        self.call("inctrl_bank_build_with", engine.pointer, byref(asked), frames, count, byref(bank.pointer))
        return bank

    def longer_bank(self, engine, bank, pictures):
        longer = Handle(self, "bank")
        frames = frames_of(pictures)
        count = c_size_t(len(frames))
        self.call("inctrl_bank_append", engine.pointer, bank.pointer, frames, count, byref(longer.pointer))
        return longer

    def save(self, bank, path):
        self.call("inctrl_bank_save", bank.pointer, str(path).encode())

    def open_bank(self, path):
        bank = Handle(self, "bank")
        self.call("inctrl_bank_open", str(path).encode(), byref(bank.pointer))
        return bank

    def scorer(self, engine, bank, capacity):
        slot, scorer = Handle(self, "slot"), Scorer(self, "scorer")
        self.call("inctrl_slot_create", engine.pointer, bank.pointer, byref(slot.pointer))
        self.call("inctrl_scorer_create", engine.pointer, slot.pointer, c_size_t(capacity), byref(scorer.pointer))
        slot.close()
        return scorer


class Scorer(Handle):
    def __call__(self, pictures):
        """Scores decoded pictures in one call: a list of results."""
        frames, results = frames_of(pictures), (Result * len(pictures))()
        for result in results:
            result.struct_size = ctypes.sizeof(Result)
        count = c_size_t(len(pictures))
        self.owner.call("inctrl_scorer_score_batch", self.pointer, frames, count, c_uint64(0), results)
        return list(results)

    def map_of(self, pixels, cells):
        """The map of one picture, of at most `cells` cells."""
        frames, result = frames_of([pixels]), Result(struct_size=ctypes.sizeof(Result))
        found = (c_float * cells)()
        result.map, result.map_capacity = ctypes.addressof(found), cells
        self.owner.call("inctrl_scorer_score", self.pointer, frames, c_uint64(0), byref(result))
        return np.array(found)
