"""Arrays whose bytes can be had (`await array.read(start, stop)`), and those made in blocks.

A `BlockArray` turns requests for bytes into blocks: it asks the cache for them, has the next ones
made for a reader who reads on, and drops a block when all of it was given out.  How a block is made
is decided by its `BlockSource`; which ones are made ahead, by `arrays/read_ahead`.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import trio
import trio.lowlevel

from esrffs.arrays.block_grid import BlockGrid
from esrffs.arrays.read_ahead import ReadAhead
from esrffs.background import ReadAheadBudget, StartTask
from esrffs.cache import ByteCache, CacheKey
from esrffs.damage import PARTIAL, Block, DamagedBlock
from esrffs.errors import EsrffsError
from esrffs.model import Buffer

log = logging.getLogger(__name__)

READ_AHEAD_BLOCKS = 4  # made before they are asked for, where each costs the processor …
READ_AHEAD_NBYTES = 32 << 20  # … and no more bytes than these
TRACKED_BLOCKS = 16  # blocks whose bytes are counted for a handle
MAX_FAILED_BLOCKS = 1024  # that a handle remembers


class ArrayBytes(Protocol):
    """The data of an array in C order."""

    async def read(self, start: int, stop: int) -> Buffer:
        """Bytes [start, stop) of the data, 0 ≤ start < stop ≤ nbytes."""


class RefCounted(Protocol):
    """What blocks are made from: it stays open until `release` was called once for each owner."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...


class Resources(Protocol):
    """What all arrays of a mount share (`source.context.DataContext`)."""

    @property
    def cache(self) -> ByteCache: ...

    @property
    def start_task(self) -> StartTask: ...

    @property
    def read_ahead(self) -> ReadAheadBudget: ...


@dataclass(frozen=True, slots=True)
class BlockKey(CacheKey[Block]):
    """A block in the cache.  `version` tells the array, and the state of all that it is made of."""

    version: tuple[object, ...]
    block: int


class BlockSource(Protocol):
    """A way of making the blocks of one array."""

    @property
    def grid(self) -> BlockGrid: ...

    @property
    def owner(self) -> RefCounted:
        """What has to stay open while a block is made."""

    def key(self, block: int) -> BlockKey: ...

    async def compute(self, block: int) -> Block:
        """The bytes of this block: C order, in the dataset's own dtype and byte order."""

    async def compute_part(self, start: int, stop: int, damaged: bool, /) -> Buffer | None:
        """Bytes [start, stop) of the data, which lie in one block, made without the rest of it.

        None where that would hardly be cheaper than the block.  `damaged`: the block could not be
        made; None where no part of it can be, either.
        """

    def depth(self) -> int:
        """How many blocks are worth making ahead now."""


class BlockArray:
    """The data of an array that is made block by block.

    A reader who asks for one block after the other finds the next ones made.  `gain` and `eager`
    are those of `ReadAhead`.
    """

    def __init__(
        self, source: BlockSource, resources: Resources, *, gain: int = 1, eager: bool = False
    ) -> None:
        self._source = source
        self._grid = source.grid
        self._owner = source.owner
        self._cache = resources.cache
        self._start_task = resources.start_task
        self._budget = resources.read_ahead
        self._policy = ReadAhead(source.grid, gain=gain, eager=eager)
        self._begun: dict[int, int] = {}  # bytes of blocks that were begun ahead, and not read yet
        self._failed: dict[int, None] = {}  # blocks of which only parts can be made
        self._asked: dict[int, int] = {}  # how many bytes of a block were asked for, and …
        self._given: dict[int, list[tuple[int, int]]] = {}  # … which bytes were given

    def release(self) -> None:
        """Nobody reads any more: what was made ahead was made in vain."""
        while self._begun:
            self._budget.give_back(self._begun.popitem()[1], used=False)

    async def read(self, start: int, stop: int) -> Buffer:
        """Bytes [start, stop) of the data; EsrffsError of the first one that cannot be had."""
        wanted = self._note(start, stop)
        parts = []
        while start < stop:
            block = self._grid.block_at(start)
            first, last = self._grid.byte_range(block)
            end = min(stop, last)
            parts.append(await self._bytes(block, first, start, end, whole=block in wanted))
            given = self._given[block] = merged(self._given.pop(block, []), start, end)
            if given == [(first, last)]:  # the kernel has it: make room
                self._cache.discard(self._source.key(block))
            start = end
        for tracked in (self._asked, self._given):
            while len(tracked) > TRACKED_BLOCKS:
                del tracked[next(iter(tracked))]
        return join_buffers(parts)

    def _note(self, start: int, stop: int) -> set[int]:
        """Begin what is worth it; the blocks of this request that are made as a whole."""
        ahead = self._policy.observe(start, stop, self._source.depth())
        wanted = set()
        number = self._grid.block_at(start)
        while start < stop:
            first, last = self._grid.byte_range(number)
            end = min(stop, last)
            asked = self._asked[number] = self._asked.pop(number, 0) + end - start
            after_whole = number > 0 and not self._missing(number - 1)
            wants = self._policy.wants_block(number, asked, after_whole=after_whole)
            if wants or not self._missing(number):
                wanted.add(number)
            if number in self._begun:
                self._budget.give_back(self._begun.pop(number), used=True)
            start, number = end, number + 1
        begun = sorted(wanted)[1:]
        for block in ahead:
            if block in self._failed or block in self._begun or not self._missing(block):
                continue
            first, last = self._grid.byte_range(block)
            if not self._budget.take(last - first):
                self._policy.postpone(block)
                break
            self._begun[block] = last - first
            begun.append(block)
        self._start(begun)
        return wanted

    async def _bytes(self, block: int, first: int, start: int, stop: int, *, whole: bool) -> Buffer:
        """Bytes [start, stop) of the data, of this block, which begins at byte `first`."""
        if not whole or block in self._failed:
            part = await self._part(start, stop, damaged=block in self._failed)
            if part is not None:
                return part
        try:
            data = await self._block(block)
        except PARTIAL:
            part = await self._part(start, stop, damaged=True)
            if part is None:
                raise
            self._failed[block] = None
            if len(self._failed) > MAX_FAILED_BLOCKS:
                del self._failed[next(iter(self._failed))]
            return part
        if isinstance(data, DamagedBlock):
            return data.part(start - first, stop - first)
        return data[start - first : stop - first]

    async def _part(self, start: int, stop: int, *, damaged: bool) -> Buffer | None:
        self._owner.acquire()
        try:
            return await self._source.compute_part(start, stop, damaged)
        finally:
            self._owner.release()

    async def _block(self, block: int) -> Block:
        self._owner.acquire()
        try:
            return await self._cache.get_or_compute(
                self._source.key(block), lambda: self._source.compute(block), len
            )
        finally:
            self._owner.release()

    def _missing(self, block: int) -> bool:
        key = self._source.key(block)
        return not self._cache.is_computing(key) and key not in self._cache

    def _start(self, blocks: Sequence[int]) -> None:
        """Make these blocks in the background, unless they are there."""
        blocks = [block for block in blocks if block not in self._failed and self._missing(block)]
        if blocks:
            self._owner.acquire()
            self._start_task(self._make_ahead, blocks)

    async def _make_ahead(self, blocks: Sequence[int]) -> None:
        """Side by side, but begun in this order: the first one is wanted first."""
        try:
            async with trio.open_nursery() as nursery:
                for block in blocks:
                    nursery.start_soon(self._make_one_ahead, block)
                    await trio.lowlevel.checkpoint()
        finally:
            self._owner.release()

    async def _make_one_ahead(self, block: int) -> None:
        if self._missing(block):  # still: its reader may have come before
            with contextlib.suppress(EsrffsError):  # the reader who asks for it will be told
                await self._block(block)


def merged(spans: list[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    """These spans, which lie apart, with one more: what touches it becomes one with it."""
    apart = []
    for first, last in spans:
        if last < start or first > stop:
            apart.append((first, last))
        else:
            start, stop = min(start, first), max(stop, last)
    return [*apart, (start, stop)]


def join_buffers(parts: Sequence[Buffer]) -> Buffer:
    """One buffer, without a copy where there is only one part."""
    return parts[0] if len(parts) == 1 else b"".join(parts)
