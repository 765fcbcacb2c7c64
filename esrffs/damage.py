"""Blocks of which some elements cannot be read, with the errors of these elements.

An error affects only the elements that it is about, and no others of their block.  The errors are
cached together with the block, so that the block is not decoded again for each page that a program
reads.  Elements with an error have no value: reading them always raises the error.
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

# Errors that may concern a part of a block; all others concern the whole file, or are temporary.
PARTIAL = (
    DamagedError,
    AccessDeniedError,
    LinkLoopError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)
_MOST = 255  # different errors in one block; the codes are uint8

Codes = npt.NDArray[np.uint8]


class Damage:
    """The errors of the elements of a box of this shape, collected while the box is read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.errors: list[EsrffsError] = []
        self._shape = shape
        self._codes: Codes | None = None
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self.errors)

    @property
    def codes(self) -> Codes:
        """For each element the number of its error, counted from 1; 0: none.  uint8, `shape`."""
        if self._codes is None:
            self._codes = np.zeros(self._shape, np.uint8)
        return self._codes

    def add(self, where: Any, error: EsrffsError) -> None:
        """Record the error of these elements (an index into the box).  Any thread may call this."""
        with self._lock:
            if not self.errors or str(self.errors[-1]) != str(error):
                if len(self.errors) < _MOST - 1:
                    self.errors.append(copied(error))
                elif len(self.errors) == _MOST - 1:
                    self.errors.append(copied(error, f"{error} (and more than {_MOST} others)"))
            self.codes[where] = len(self.errors)


@dataclass(frozen=True, slots=True, eq=False)
class DamagedArray:
    """An array and the errors of its elements; `codes` as in `Damage`, of the same shape."""

    array: npt.NDArray[Any]
    codes: Codes
    errors: tuple[EsrffsError, ...]


class DamagedBlock:
    """The bytes of a block (C order), some of whose elements have errors."""

    __slots__ = ("_codes", "_data", "_errors", "_itemsize")

    def __init__(self, data: memoryview, codes: Codes, errors: Sequence[EsrffsError]) -> None:
        self._codes = codes.reshape(-1)
        self._itemsize = len(data) // len(self._codes)
        self._data = data
        self._errors = tuple(errors)

    def __len__(self) -> int:
        """Bytes that it occupies in the cache.

        Too many for any cache if memory was too short: the next attempt may succeed.
        """
        if any(isinstance(error, TooLargeError) for error in self._errors):
            return sys.maxsize
        return len(self._data) + self._codes.nbytes

    def part(self, start: int, stop: int | None) -> memoryview:
        """Bytes [start, stop) of the block (None: to its end); raises the first error in them."""
        stop = len(self._data) if stop is None else stop
        codes = self._codes[start // self._itemsize : -(-stop // self._itemsize)]
        if codes.any():
            raise copied(self._errors[int(codes[codes != 0][0]) - 1])
        return self._data[start:stop]

    def named(self, name: str) -> "DamagedBlock":
        """This block, with the name of the file in front of each error text."""
        errors = [copied(error, f"{name}: {error}") for error in self._errors]
        return DamagedBlock(self._data, self._codes, errors)


Block = memoryview | DamagedBlock


def whole(block: Block) -> memoryview:
    """All bytes of a block; raises the error of the first element that has one."""
    return block if isinstance(block, memoryview) else block.part(0, None)


def copied(error: EsrffsError, text: str | None = None) -> EsrffsError:
    """A copy of the error without its traceback, which would keep all frames alive."""
    same = type(error)(*((text,) if text is not None else error.args))
    same.errno = error.errno
    return same
