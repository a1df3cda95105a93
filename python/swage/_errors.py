"""Exceptions of swage: one class with a kind and a hint, and for each kind a subclass that is also Python's own."""

from __future__ import annotations

import re

_REMEDIES = re.compile(
    r"; ((?:did you mean|give |use |choose |add |put |--|the smallest|run |convert |swage |make |set |sizes that fit|"
    r"known are |known: |supported|the same command|see |install ).*)$"
)
_HINTS = {
    "InvalidArgument": "the docstring of the function lists its options",
    "CorruptData": "the file named is damaged or of another kind; fetch it or make it again",
    "Io": "check that the path exists, its permissions, and the free space",
    "Unsupported": "docs/status.md lists what is supported",
    "Numerical": "check the weights named and the calibration text, or choose a finer scheme",
    "Cancelled": "the same call goes on with what was kept",
    "Internal": "a fault of swage itself; please report it with the call and its messages",
}


class Error(Exception):
    """What swage could not do.

    Attributes:
        kind: "InvalidArgument", "CorruptData", "Io", "Unsupported", "Numerical", "Cancelled" or "Internal".
        message: who, what was expected, what came.
        hint: what to do about it.
    """

    kind = "Internal"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        found = _REMEDIES.search(message)
        self.hint = hint or (found.group(1) if found else _HINTS[self.kind])

    def __reduce__(self) -> tuple[type[Error], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class InvalidArgumentError(Error, ValueError):
    """The caller asked for something that cannot be."""

    kind = "InvalidArgument"


class CorruptDataError(Error, ValueError):
    """A file does not hold what its format demands."""

    kind = "CorruptData"


class IoError(Error, OSError):
    """The operating system refused a file operation, or a library does not load."""

    kind = "Io"

    def __str__(self) -> str:
        return self.message


class UnsupportedError(Error, NotImplementedError):
    """Valid, but not something swage does."""

    kind = "Unsupported"


class NumericalError(Error, ArithmeticError):
    """Arithmetic failed: not positive definite, not finite."""

    kind = "Numerical"


class CancelledError(Error, RuntimeError):
    """Somebody asked to stop."""

    kind = "Cancelled"


class InternalError(Error, RuntimeError):
    """A bug in swage."""

    kind = "Internal"


_BY_KIND = {
    cls.kind: cls
    for cls in (InvalidArgumentError, CorruptDataError, IoError, UnsupportedError, NumericalError, CancelledError, InternalError)
}


def make(kind: str, message: str) -> Error:
    """The exception for a kind, as the native module raises it."""
    return _BY_KIND.get(kind, InternalError)(message)
