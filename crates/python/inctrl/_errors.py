"""Exceptions by kind, as the library has them. The texts are those of the command line."""

from __future__ import annotations


class Error(Exception):
    """Whatever the library refuses: the message names the thing, what was expected and found, and what to do."""

    #: The file that the error is about, where it is about one.
    path: str | None = None


class IoError(Error, OSError):
    """The operating system refused: a file is unreadable, or the disk is full."""


class MissingFileError(IoError, FileNotFoundError):
    """A file is not there."""


class WeightsError(Error):
    """A weights file is damaged, or its tensors are not those of the architecture."""


class ConfigError(Error):
    """A model's configuration is malformed, or describes something that the engine does not run."""


class ImageError(Error, ValueError):
    """An image cannot be decoded, or is outside the limits."""


class BankError(Error):
    """A bank is damaged, of another format version, or of another model."""


class ArgumentError(Error, ValueError):
    """An argument is out of range, or arguments contradict each other."""


class DeviceError(Error):
    """A device is not there, has failed or has no memory; or the process is a child by fork of the one that opened it."""


class NumericError(Error, ArithmeticError):
    """A result is not a finite number."""


class InternalError(Error):
    """A bug in the library: please report it."""
