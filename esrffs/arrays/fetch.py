"""Fetch ranges of a file from a slow source: merged into few reads, which are made side by side."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio

from esrffs.arrays.block_grid import MAX_NBYTES
from esrffs.arrays.coalesce import coalesce, split
from esrffs.background import gather
from esrffs.errors import DamagedError
from esrffs.linux.buffers import allocate
from esrffs.source.verified_file import VerifiedFile


class Ranges(Protocol):
    """Bytes of a file, for a thread (`VerifiedFile` itself, or what was fetched of it)."""

    def read_sync(self, offset: int, count: int) -> memoryview:
        """Exactly these bytes; DamagedError where the file ends before."""


class FetchedRanges:
    """Bytes of a file that are in memory; all others are read from it when they are asked for."""

    def __init__(self, view: VerifiedFile, runs: Sequence[tuple[int, memoryview]]) -> None:
        self._view = view
        self._starts = [offset for offset, _ in runs]
        self._runs = [data for _, data in runs]

    def read_sync(self, offset: int, count: int) -> memoryview:
        """Exactly these bytes; DamagedError where the file ends before."""
        number = bisect_right(self._starts, offset) - 1
        if number >= 0:
            at = offset - self._starts[number]
            if at + count <= len(self._runs[number]):
                return self._runs[number][at : at + count]
        return self._view.read_sync(offset, count)


async def fetch(
    view: VerifiedFile, ranges: Sequence[tuple[int, int]], limiter: trio.CapacityLimiter
) -> FetchedRanges:
    """Read these ranges (offset, number of bytes), at most so many reads at a time.

    What cannot be read is left out: the chunk that needs it meets the error by itself.  So is all
    of it where it would take too much memory.
    """
    runs = coalesce(ranges)
    if sum(count for _, count in runs) > MAX_NBYTES:
        return FetchedRanges(view, [])
    buffers = [allocate(count, repr(view)) for _, count in runs]
    lengths = [count for _, count in runs]  # bytes that were read from the beginning of each run

    async def read(number: int, offset: int, count: int) -> None:
        at = offset - runs[number][0]
        got = 0
        try:
            into = buffers[number][at : at + count]
            got = len(await view.fetch(offset, count, into, limiter))
        except DamagedError:
            pass
        if got < count:
            lengths[number] = min(lengths[number], at + got)

    await gather(
        [
            partial(read, number, *part)
            for number in range(len(runs))
            for part in split(runs[number])
        ]
    )
    return FetchedRanges(
        view,
        [
            (offset, buffer[:length])
            for (offset, _), buffer, length in zip(runs, buffers, lengths, strict=True)
        ],
    )
