"""Arrays whose bytes can be had (`await read(start, stop)`), and those that are made in blocks.

Decided here: what is made before it is asked for, and when a block has done its service.  Who
makes a block, and of what, is decided in `arrays/open_array` and `flatfield/corrected_array`.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from esrffs.arrays.block_grid import BlockGrid
from esrffs.background import StartTask
from esrffs.cache import ByteCache
from esrffs.damage import PARTIAL, Block, DamagedBlock
from esrffs.errors import EsrffsError
from esrffs.model import Buffer

log = logging.getLogger(__name__)

READ_AHEAD_BLOCKS = 4  # blocks, and …
READ_AHEAD_NBYTES = 32 << 20  # … bytes that are made before they are asked for, at the most
TRACKED_BLOCKS = 16  # blocks whose bytes are counted for a handle
FAILED = 1024  # blocks that a handle remembers not to have got whole


class ArrayBytes(Protocol):
    """The data of an array in C order."""

    async def read(self, start: int, stop: int) -> Buffer:
        """Bytes `start` up to `stop` of the data, 0 ≤ start < stop ≤ nbytes."""


class RefCounted(Protocol):
    """What blocks are made from: kept open until it was closed once more than it was held."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...


class BlockArray:
    """Data that are made block by block, and remembered.

    Who reads one block after the other finds the next ones made.  Where `piece` is given, what is
    asked for of a block that fails is made by itself; other makers give a `DamagedBlock`.
    """

    def __init__(
        self,
        held: RefCounted,
        key: tuple[object, ...],
        blocks: BlockGrid,
        make: Callable[[int], Awaitable[Block]],
        cache: ByteCache,
        start_task: StartTask,
        piece: Callable[[int, int], Awaitable[memoryview]] | None = None,
    ) -> None:
        self._held = held
        self._key = key
        self._blocks = blocks
        self._make = make
        self._cache = cache
        self._start_task = start_task
        self._piece = piece
        self._failed: dict[int, None] = {}  # blocks of which only pieces can be made
        self._last = -2  # the block that was read last, but for what was asked out of turn
        self._depth = 0  # how many blocks ahead are worth making
        self._begun = False  # was the last block reached by reading on?
        self._asked: dict[int, int] = {}  # bytes, by block: asked for, …
        self._given: dict[int, int] = {}  # … and given

    async def read(self, start: int, stop: int) -> Buffer:
        parts = []
        for following in range(
            self._blocks.block_at(start) + 1, self._blocks.block_at(stop - 1) + 1
        ):
            self._start(following)
        while start < stop:
            number = self._blocks.block_at(start)
            first, last = self._blocks.byte_range(number)
            end = min(stop, last)
            self._asked[number] = self._asked.pop(number, 0) + end - start
            self._look_ahead(number, last - first)
            parts.append(await self._part(number, first, start, end))
            self._given[number] = self._given.pop(number, 0) + end - start
            if self._given[number] >= last - first:  # the kernel has it: make room
                self._cache.discard((*self._key, number))
            start = end
        for counts in (self._asked, self._given):
            while len(counts) > TRACKED_BLOCKS:
                del counts[next(iter(counts))]
        return join_buffers(parts)

    async def _part(self, number: int, first: int, start: int, stop: int) -> memoryview:
        """Bytes of the data, of this block, which begins at byte `first`."""
        if self._piece is None or number not in self._failed:
            try:
                block = await self._block(number)
            except PARTIAL:
                if self._piece is None:
                    raise
                self._failed[number] = None
                if len(self._failed) > FAILED:
                    del self._failed[next(iter(self._failed))]
            else:
                if isinstance(block, DamagedBlock):
                    return block.part(start - first, stop - first)
                return block[start - first : stop - first]
        self._held.acquire()
        try:
            return await self._piece(start, stop)
        finally:
            self._held.release()

    async def _block(self, number: int) -> Block:
        self._held.acquire()
        try:
            return await self._cache.get_or_compute(
                (*self._key, number), lambda: self._make(number), len
            )
        finally:
            self._held.release()

    def _look_ahead(self, number: int, size: int) -> None:
        """Start what comes next; the neighbours' edges around a single frame are no run."""
        if number == self._last:
            if self._depth or not self._begun or self._asked[number] <= size // 8:
                return
            self._depth = 1
        elif number == self._last - 1:
            return  # requests overtake each other
        else:
            read_on = number == self._last + 1 and self._asked.get(self._last, 0) > size // 2
            self._last, self._begun = number, read_on or number == 0
            self._depth = min(self._depth + 1, READ_AHEAD_BLOCKS) if self._depth and read_on else 0
        for following in range(number + 1, number + 1 + self._depth):
            first, last = self._blocks.byte_range(following)
            if (
                first >= self._blocks.nbytes
                or (following - number) * (last - first) > READ_AHEAD_NBYTES
            ):
                break
            self._start(following)

    def _start(self, number: int) -> None:
        """Make this block in the background, unless it is there."""
        if number not in self._failed and self._missing(number):
            self._held.acquire()
            self._start_task(self._block_ahead, number)

    def _missing(self, number: int) -> bool:
        key = (*self._key, number)
        return not self._cache.is_computing(key) and key not in self._cache

    async def _block_ahead(self, number: int) -> None:
        try:
            if self._missing(number):  # still: its reader may have come before
                await self._block(number)
        except EsrffsError:
            pass  # whoever asks for it will hear
        finally:
            self._held.release()


def join_buffers(parts: Sequence[Buffer]) -> Buffer:
    """One buffer, without a copy where there is only one part."""
    return parts[0] if len(parts) == 1 else b"".join(parts)
