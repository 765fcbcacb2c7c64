"""Chunked datasets without the HDF5 library: where the chunks lie, read, decoded, put in place.

A block is made of its chunks on all decoding threads.  From a local file each thread reads the
chunk that it decodes; from a slow one the stored bytes of all chunks of the block are fetched
first, neighbours in one read.  The index of chunks is asked of a reader once, and remembered as
long as there is room.  What cannot be decoded here is asked of a reader as well.
"""

import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import trio

from esrffs import limits
from esrffs.arrays import chunk_parts
from esrffs.arrays.block_array import READ_AHEAD_BLOCKS, READ_AHEAD_NBYTES, BlockKey, Resources
from esrffs.arrays.block_grid import block_grid
from esrffs.arrays.chunk_grid import ChunkPart, parts_of_box
from esrffs.arrays.fetch import FetchedRanges, Ranges, fetch
from esrffs.background import DecodeThreads, gather
from esrffs.cache import ByteCache, CacheKey
from esrffs.damage import PARTIAL, Block, Damage, DamagedBlock
from esrffs.errors import (
    DamagedError,
    EsrffsError,
    StaleError,
    TooLargeError,
    UnsupportedError,
    no_answer,
)
from esrffs.formats.filters import codecs
from esrffs.linux.buffers import allocate
from esrffs.model import Box, Buffer, ChunkedLayout, ChunkIndex, DatasetInfo
from esrffs.source.open_data_file import OpenDataFile
from esrffs.source.verified_file import VerifiedFile

LARGE_CHUNK_NBYTES = 64 << 20  # larger chunks are decoded one at a time, for the memory they take
_WIDE = 16 << 20  # bytes: of larger chunks only what is needed is kept, where that goes
_SHARE = 0.5  # of the time limit that may go into chunks of which most is passed over
_PART = 4  # a block is made in part where less than this fraction of it is decoded for that
DECODING_BLOCKS = 2  # ahead, besides those whose stored bytes are under way
SAMPLED_CHUNKS = 8  # chunks that tell whether a file only grew


@dataclass(frozen=True, slots=True)
class ChunkIndexKey(CacheKey[ChunkIndex]):
    """Where the chunks of a dataset lie."""

    version: bytes
    address: str


class DecodeResources(Resources, Protocol):
    """Shared by all arrays that are decoded in the daemon."""

    @property
    def threads(self) -> DecodeThreads: ...


class ChunkedBlocks:
    """The chunks of one dataset as one handle sees them."""

    def __init__(
        self,
        opened: OpenDataFile,
        info: DatasetInfo,
        layout: ChunkedLayout,
        resources: DecodeResources,
    ) -> None:
        self.grid = block_grid(info.shape, info.dtype.itemsize, layout.shape)
        self.owner = opened
        self._opened = opened
        self._info = info
        self._layout = layout
        self._cache = resources.cache
        self._decoders = resources.threads
        self._executor = opened.sources.folders.executor
        self._generation = opened.source.subject.generations[0]
        self._grid = tuple(-(-n // k) for n, k in zip(info.shape, layout.shape, strict=True))
        self._nbytes = info.dtype.itemsize * prod(layout.shape)
        self._needed = info.dtype.itemsize * prod(map(min, layout.shape, info.shape))
        self._raw = np.dtype((np.void, info.dtype.itemsize))  # copied with the padding it has
        self._index: ChunkIndex | None = None
        self._samples: Sequence[int] = ()  # offsets
        self._sample_nbytes = 0  # of the smallest chunk of which one is taken
        self._stored: float | None = None  # stored bytes for each decoded one, on average
        self._reading: set[int] = set()  # threads that wait for the disk

    def __repr__(self) -> str:
        return f"<ChunkedBlocks of {self._info.address} in {self._opened!r}>"

    @property
    def _name(self) -> str:
        return f"{self._opened.source.path}: {self._info.address}"

    @staticmethod
    def can_decode(info: DatasetInfo, layout: ChunkedLayout) -> bool:
        """Whether the chunks of this dataset can be read without the HDF5 library."""
        itemsize = info.dtype.itemsize
        return layout.indexed and codecs.supported(layout.filters, itemsize)

    def key(self, block: int) -> BlockKey:
        source = self._opened.source
        return BlockKey((source.version, self._opened.state, self._info.address), block)

    def depth(self) -> int:
        """As much as keeps the processors busy; from a slow file also what is under way meanwhile.

        That is counted in stored bytes, and each block is at least one read.
        """
        first, last = self.grid.byte_range(0)
        blocks = min(READ_AHEAD_BLOCKS, READ_AHEAD_NBYTES // max(last - first, 1))
        if self._stored is None or not self._opened.is_slow:
            return blocks
        under_way = self._executor.read_ahead_nbytes(self._generation.device)
        if not under_way:  # a call is overdue
            return 0
        stored = max(self._stored * (last - first), 1)  # bytes of a block
        return min(max(blocks, int(under_way / stored) + DECODING_BLOCKS), self._executor.parallel)

    async def compute(self, block: int) -> Block:
        return await self.read(self.grid.box(block))

    async def compute_part(self, start: int, stop: int, damaged: bool, /) -> Buffer | None:
        """The rows of a block in which these bytes lie, where most of it need not be decoded."""
        if damaged:
            return None
        box, first = self.grid.part(start, stop)
        if not self._is_cheap(box, start):
            return None
        block = await self.read(box)
        start, stop = start - first, stop - first
        return block.part(start, stop) if isinstance(block, DamagedBlock) else block[start:stop]

    def _is_cheap(self, box: Box, start: int) -> bool:
        """Whether these elements take the decoding of but a small part of their block."""
        begin, end = self.grid.byte_range(self.grid.block_at(start))
        nbytes = 0
        for place in parts_of_box(box, self._layout.shape, self._grid):
            first, last = place.byte_range(self._layout.shape, self._info.dtype.itemsize)
            if self._opened.is_slow:  # what costs is to fetch it
                first, last = 0, self._nbytes
            nbytes += codecs.decoded_nbytes(self._layout.filters, last - first, self._nbytes)
        return nbytes * _PART <= end - begin

    async def read(self, box: Box) -> Block:
        """The elements of this box as C-ordered bytes, less those of chunks that are damaged."""
        index, samples = await self._indexed()
        if self._nbytes > LARGE_CHUNK_NBYTES:
            self._cache.evict_for(min(self._nbytes, self._needed))
        places = list(parts_of_box(box, self._layout.shape, self._grid))
        try:
            if not samples:
                return await self._assemble(index, box, places)
            blocks: list[Block] = []

            async def assemble() -> None:
                blocks.append(await self._assemble(index, box, places))

            view = await self._opened.file()
            calls: list[Callable[[], Awaitable[None]]] = [
                partial(view.sample, samples, self._sample_nbytes),
                assemble,
            ]
            await gather(calls)
            self._samples = ()
            return blocks[0]
        except UnsupportedError:
            return await self._opened.read_box(self._info.address, box, self._bytes(box))
        except EsrffsError:
            await (await self._opened.file()).verified()  # a file that was rewritten is stale
            raise

    def _threads(self) -> trio.CapacityLimiter:
        """Chunks that take long to pass over, and no memory, wait only for each other."""
        if self._nbytes <= LARGE_CHUNK_NBYTES:
            return self._decoders.limiter
        return self._decoders.skipping if self._passed_over(0) else self._decoders.large

    def _passed_over(self, mask: int) -> bool:
        """Whether of a chunk only what is needed is kept."""
        return (
            self._nbytes > _WIDE
            and self._nbytes > 2 * self._needed
            and chunk_parts.passable(self._layout.filters, mask, self._info.dtype.itemsize)
        )

    def _bytes(self, box: Box) -> int:
        return self._info.dtype.itemsize * prod(box.shape)

    async def _indexed(self) -> tuple[ChunkIndex, Sequence[int]]:
        """Where the chunks lie, and where samples are still to be taken (see `VerifiedFile`)."""
        if self._index is None:
            source, address = self._opened.source, self._info.address
            index = await self._cache.get_or_compute(
                ChunkIndexKey(source.version, address),
                lambda: source.chunk_index(address),
                nbytes=_index_nbytes,
            )
            written = np.flatnonzero(index.offsets >= 0)
            if len(written):
                self._stored = float(index.sizes[written].mean()) / self._nbytes
            whole = written[~self._at_the_edge(written)]
            picked = whole[:: max(1, len(whole) // SAMPLED_CHUNKS)]
            self._sample_nbytes = int(index.sizes[picked].min()) if len(picked) else 0
            self._index, self._samples = index, index.offsets[picked].tolist()
        return self._index, self._samples

    def _at_the_edge(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which chunks reach past the shape, and so are written anew when the dataset grows."""
        edge = np.zeros(numbers.shape, bool)
        places = np.unravel_index(numbers, self._grid)
        for at, n, k in zip(places, self._info.shape, self._layout.shape, strict=True):
            edge |= (at + 1) * k > n
        return edge

    async def _assemble(self, index: ChunkIndex, box: Box, places: Sequence[ChunkPart]) -> Block:
        view = await self._opened.file()
        stored: Ranges = view
        if view.is_slow:
            stored = await self._fetched(view, index, places)
        only = places[0]
        block: Block | None = None
        if len(places) == 1 and box.shape == self._layout.shape and index.offsets[only.number] >= 0:
            decode = partial(self._decoded, stored, index, only.number)
            with contextlib.suppress(DamagedError, TooLargeError):  # which are remembered below
                block = await self._executor.run_in_thread(
                    decode, limiter=self._threads(), overdue=self._overdue
                )
        if block is None:
            data = allocate(self._bytes(box), self._name)
            array = np.frombuffer(data, self._raw).reshape(box.shape)
            damage = Damage(box.shape)
            await self._filled(partial(self._fill, stored, index, array, damage), places)
            block = DamagedBlock(data, damage.codes, damage.errors) if damage else data
        if (
            await view.verified() != self._generation
            and self._at_the_edge(np.array([place.number for place in places])).any()
        ):
            raise StaleError(f"{self._name} grew in place")
        return block

    async def _fetched(
        self, view: VerifiedFile, index: ChunkIndex, places: Sequence[ChunkPart]
    ) -> FetchedRanges:
        """The stored bytes of these chunks, but for those that are too large, or passed over."""
        ranges = []
        for number in (place.number for place in places):
            size, mask = int(index.sizes[number]), int(index.masks[number])
            if index.offsets[number] >= 0 and not self._passed_over(mask):
                size = self._taken(size, mask)
                if limits.chunk_fits(size) and limits.chunk_fits(self._nbytes):
                    ranges.append((int(index.offsets[number]), size))
        return await fetch(view, ranges, self._executor.reads)

    def _taken(self, size: int, mask: int) -> int:
        """How many of the stored bytes of a chunk are read: of one with no filter, no more than
        there are decoded ones, for HDF5 takes the first bytes of a longer one."""
        if all(mask >> k & 1 for k in range(len(self._layout.filters))):
            return min(size, self._nbytes)
        return size

    async def _filled(
        self, fill: Callable[[Sequence[ChunkPart]], None], places: Sequence[ChunkPart]
    ) -> None:
        """These chunks into their places, on all threads."""
        failures: list[EsrffsError] = []

        async def some(part: Sequence[ChunkPart]) -> None:
            try:
                await self._executor.run_in_thread(
                    partial(fill, part), limiter=self._threads(), overdue=self._overdue
                )
            except EsrffsError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            count = self._decoders.count
            for first in range(min(count, len(places))):
                nursery.start_soon(some, places[first::count])
        if failures:
            raise failures[0]

    def _fill(
        self,
        stored: Ranges,
        index: ChunkIndex,
        array: npt.NDArray[Any],
        damage: Damage,
        places: Sequence[ChunkPart],
    ) -> None:
        """In a thread: these chunks into their places; what a reader has to read ends it."""
        until = time.monotonic() + _SHARE * self._executor.seconds
        for place in places:
            try:
                self._place(stored, index, array, place, until)
            except UnsupportedError:
                raise
            except PARTIAL as error:
                damage.add(place.target, error)

    def _place(
        self,
        stored: Ranges,
        index: ChunkIndex,
        array: npt.NDArray[Any],
        place: ChunkPart,
        until: float,
    ) -> None:
        number, layout = place.number, self._layout
        if index.offsets[number] < 0:
            if layout.fill is None:
                raise UnsupportedError("chunks that were never written")
            array[place.target] = np.frombuffer(layout.fill, self._raw)
            return
        if self._passed_over(int(index.masks[number])):
            self._passing_over(stored, index, array, place, until)
            return
        wanted = place.byte_range(self._layout.shape, self._info.dtype.itemsize)
        raw = self._decoded(stored, index, number, wanted)
        chunk = np.frombuffer(raw, self._raw).reshape(layout.shape)
        array[place.target] = chunk[place.inside]

    def _passing_over(
        self,
        stored: Ranges,
        index: ChunkIndex,
        array: npt.NDArray[Any],
        place: ChunkPart,
        until: float,
    ) -> None:
        """A chunk of which most lies past the shape."""
        number, size = place.number, int(index.sizes[place.number])
        offset, mask, layout = int(index.offsets[number]), int(index.masks[number]), self._layout

        def read(start: int, count: int) -> memoryview:
            limits.check_chunk(self._name, count)
            return self._read(stored, offset + start, count)

        target = array[place.target]
        with self._naming(number):
            chunk_parts.fill(
                read, size, layout.filters, mask, layout.shape, place.inside, target, until
            )

    def _decoded(
        self,
        stored: Ranges,
        index: ChunkIndex,
        number: int,
        wanted: tuple[int, int] | None = None,
    ) -> memoryview:
        """In a thread: the bytes of one chunk, of which [first, last) are `wanted` (None: all)."""
        size, mask = int(index.sizes[number]), int(index.masks[number])
        filters = self._layout.filters
        limits.check_chunk(self._name, self._nbytes)
        size = self._taken(size, mask)
        limits.check_chunk(self._name, size)
        with self._naming(number):
            raw = self._read(stored, int(index.offsets[number]), size)
            itemsize = self._info.dtype.itemsize
            return codecs.decode(raw, filters, mask, itemsize, self._nbytes, wanted)

    def _read(self, stored: Ranges, offset: int, count: int) -> memoryview:
        thread = threading.get_ident()
        self._reading.add(thread)
        try:
            return stored.read_sync(offset, count)
        finally:
            self._reading.discard(thread)

    def _overdue(self, seconds: float) -> str:
        """Of a thread that took too long: is it the disk?"""
        return no_answer(seconds, decoding=not self._reading)

    @contextlib.contextmanager
    def _naming(self, number: int) -> Iterator[None]:
        """Errors say of which chunk they are."""
        try:
            yield
        except (DamagedError, TooLargeError) as error:
            raise type(error)(f"{self._name}: chunk {number}: {error}") from error


def keep_chunk_index(cache: ByteCache, version: bytes, address: str, index: ChunkIndex) -> None:
    """Remember where the chunks of this dataset lie, which came with something else."""
    cache.put(ChunkIndexKey(version, address), index, _index_nbytes(index))


def _index_nbytes(index: ChunkIndex) -> int:
    return index.offsets.nbytes + index.sizes.nbytes + index.masks.nbytes
