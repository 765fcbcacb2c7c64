"""Chunks that are declared far beyond what is needed of them.

Decided here: how little of such a chunk is held in memory, and how much of it is unpacked, for how
long.  Writers declare chunks for all that may come, and the dataset ends in the first one: HDF5
unpacks all of it, here the rest is passed over.  A few bytes may declare a chunk of any size.
"""

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import inf, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from esrffs import limits
from esrffs.errors import DamagedError, TooLargeError
from esrffs.formats.filters.builtin import pieces
from esrffs.formats.filters.codecs import DEFLATE, SHUFFLE, Filters
from esrffs.formats.filters.error_sentences import damage

_RUN = 8 << 20  # bytes of a chunk that are looked at at a time


def passable(filters: Filters, mask: int, itemsize: int) -> bool:
    """Can a part of a chunk with these filters be had without the whole?"""
    applied = [f for k, f in enumerate(filters) if not mask >> k & 1]
    return applied in ([], [(SHUFFLE, (itemsize,))]) or (
        len(applied) > 0
        and applied[-1][0] == DEFLATE
        and applied[:-1] in ([], [(SHUFFLE, (itemsize,))])
    )


def fill(
    read: Callable[[int, int], memoryview],
    size: int,
    filters: Filters,
    mask: int,
    chunk: Sequence[int],
    inside: Sequence[slice],
    target: npt.NDArray[Any],
    until: float = inf,
) -> None:
    """Into the target, what lies `inside` a chunk of this shape; the filters are `passable`.

    `read(offset, count)` gives stored bytes, of which there are `size`.  Unpacking ends at `until`
    (by `time.monotonic`).  TooLargeError where the chunk is too long for that, or for `limits`.
    """
    itemsize = target.dtype.itemsize
    applied = {f[0] for k, f in enumerate(filters) if not mask >> k & 1}
    # Shuffled, a chunk is one of bytes with one axis more: the first bytes of all elements, ….
    planes = SHUFFLE in applied and itemsize > 1
    raw = target.view(np.dtype((np.void, itemsize)))
    if planes:
        chunk, inside = (itemsize, *chunk), (slice(0, itemsize), *inside)
        plain = np.zeros((itemsize, *target.shape), np.uint8)
        _pick(_Source(read, size, DEFLATE in applied, until), chunk, inside, plain)
        raw[...] = np.ascontiguousarray(np.moveaxis(plain, 0, -1)).view(raw.dtype)[..., 0]
    else:
        _pick(_Source(read, size, DEFLATE in applied, until), chunk, inside, raw)


class _Source:
    """The bytes of a chunk in their order, each to be read or passed over once."""

    def __init__(
        self, read: Callable[[int, int], memoryview], size: int, packed: bool, until: float
    ) -> None:
        self._read = read
        self._size = size
        self._at = 0
        self._until = until
        self._parts: Iterator[bytes] | None = None
        self._rest = memoryview(b"")
        if packed:
            self._parts = pieces(zlib.decompressobj(), read(0, size))

    def expect(self, nbytes: int) -> None:
        """So many bytes will be taken in all; TooLargeError where more is unpacked than is fit."""
        if self._parts is not None:
            limits.check_passed_over(nbytes)

    def take(self, count: int, out: memoryview | None = None) -> None:
        """The next bytes, into `out` where they are needed."""
        if self._parts is None:
            if out is not None:
                if self._at + count > self._size:
                    raise DamagedError(f"{self._size} bytes where more belong")
                out[:] = self._read(self._at, count)
            self._at += count
            return
        have = 0
        while have < count:
            if not self._rest:
                if time.monotonic() > self._until:
                    raise TooLargeError(
                        "to unpack what is needed of it takes more time than there is (time_limit);"
                        " mount with a larger time_limit"
                    )
                try:
                    self._rest = memoryview(next(self._parts))
                except (zlib.error, ValueError) as error:
                    raise DamagedError(damage("deflate", error)) from error
                except StopIteration:
                    why = "the stream holds less than it should"
                    raise DamagedError(damage("deflate", why)) from None
                continue
            part = self._rest[: count - have]
            if out is not None:
                out[have : have + len(part)] = part
            self._rest = self._rest[len(part) :]
            have += len(part)


def _pick(
    source: _Source, chunk: Sequence[int], inside: Sequence[slice], target: npt.NDArray[Any]
) -> None:
    """What lies `inside`, run by run along the outermost axis whose steps are short."""
    itemsize = target.dtype.itemsize
    steps = [itemsize * prod(chunk[axis + 1 :]) for axis in range(len(chunk))]
    axis = next(axis for axis, step in enumerate(steps) if step <= _RUN or axis + 1 == len(steps))
    last_byte = sum((part.stop - 1) * step for part, step in zip(inside, steps, strict=True))
    source.expect(last_byte + itemsize)
    rows, step = max(1, _RUN // steps[axis]), steps[axis]
    room = np.zeros((min(rows, chunk[axis]), *chunk[axis + 1 :]), target.dtype)
    view = room.reshape(-1).view(np.uint8).data
    at = 0  # bytes that are behind us
    for outer in product(*(range(part.start, part.stop) for part in inside[:axis])):
        begin = sum(i * s for i, s in zip(outer, steps, strict=False))
        first, last = inside[axis].start, inside[axis].stop
        for start in range(first, last, rows):
            stop = min(start + rows, last)
            source.take(begin + start * step - at)
            source.take((stop - start) * step, view[: (stop - start) * step])
            at = begin + stop * step
            place = tuple(i - part.start for i, part in zip(outer, inside, strict=False))
            to: Any = (*place, slice(start - first, stop - first))
            wanted: Any = (slice(0, stop - start), *inside[axis + 1 :])
            target[to] = room[wanted]
