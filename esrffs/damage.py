"""What of a block cannot be had, and why.

Decided here: that an error costs the elements that it is about, and no others of the block in
which they are read.  What is missing is remembered with the rest, so that nothing is made again
for every page that a program asks for.  What stands in its place is never given out.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from esrffs.errors import (
    AccessDeniedError,
    DamagedError,
    EsrffsError,
    LinkLoopError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)

# The failures that may be those of a part: the others are those of the file, or of the moment.
PARTIAL = (
    DamagedError,
    AccessDeniedError,
    LinkLoopError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)
_MOST = 255  # errors that are told apart in one block

Codes = npt.NDArray[np.uint8]


class Damage:
    """Which elements of a box are missing: filled in while the box is read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.errors: list[EsrffsError] = []
        self._shape = shape
        self._codes: Codes | None = None
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self.errors)

    @property
    def codes(self) -> Codes:
        """For each element 0, or the (1-based) number of its error."""
        if self._codes is None:
            self._codes = np.zeros(self._shape, np.uint8)
        return self._codes

    def add(self, where: Any, error: EsrffsError) -> None:
        """These elements (slices of the box) are missing.  Any thread may say so."""
        with self._lock:
            if not self.errors or str(self.errors[-1]) != str(error):
                if len(self.errors) < _MOST - 1:
                    self.errors.append(copied(error))
                elif len(self.errors) == _MOST - 1:
                    self.errors.append(copied(error, f"{error} (and more than {_MOST} others)"))
            self.codes[where] = len(self.errors)


@dataclass(frozen=True, slots=True, eq=False)
class DamagedArray:
    """An array, and which of its elements mean nothing."""

    array: npt.NDArray[Any]
    codes: Codes
    errors: tuple[EsrffsError, ...]


class DamagedBlock:
    """The bytes of a block some of whose elements are missing."""

    __slots__ = ("_codes", "_data", "_errors", "_itemsize")

    def __init__(self, data: memoryview, codes: Codes, errors: Sequence[EsrffsError]) -> None:
        self._codes = codes.reshape(-1)
        self._itemsize = len(data) // len(self._codes)
        self._data = data
        self._errors = tuple(errors)

    def __len__(self) -> int:
        """Bytes that it takes to remember it; too many where the next try may find memory."""
        if any(isinstance(error, TooLargeError) for error in self._errors):
            return sys.maxsize
        return len(self._data) + self._codes.nbytes

    def part(self, start: int, stop: int | None) -> memoryview:
        """These bytes, or the error of the first element among them that is missing."""
        stop = len(self._data) if stop is None else stop
        codes = self._codes[start // self._itemsize : -(-stop // self._itemsize)]
        if codes.any():
            raise copied(self._errors[int(codes[codes != 0][0]) - 1])
        return self._data[start:stop]

    def named(self, name: str) -> "DamagedBlock":
        """The same, whose errors say of which file they are."""
        errors = [copied(error, f"{name}: {error}") for error in self._errors]
        return DamagedBlock(self._data, self._codes, errors)


Block = memoryview | DamagedBlock


def whole(block: Block) -> memoryview:
    """The bytes of a block, if all of it could be had; else the first error."""
    return block if isinstance(block, memoryview) else block.part(0, None)


def copied(error: EsrffsError, text: str | None = None) -> EsrffsError:
    """The same failure without where it was met: one that is raised again would keep it all."""
    same = type(error)(*((text,) if text is not None else error.args))
    same.code = error.code
    return same
