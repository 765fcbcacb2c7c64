"""Chunked datasets without the HDF5 library: where the chunks lie, read, decoded, put in place.

Decided here: how a block is made of chunks, on how many threads, and when a reader is asked
instead.  The index of chunks is asked for once, and remembered as long as there is room.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import trio

from esrffs import limits
from esrffs.arrays import chunk_parts
from esrffs.cache import ByteCache
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
from esrffs.linux.buffers import allocate, configure_malloc
from esrffs.model import Box, ChunkedLayout, ChunkIndex, DatasetInfo
from esrffs.source.open_data_file import OpenDataFile
from esrffs.source.verified_file import VerifiedFile

LARGE_CHUNK_NBYTES = (
    64 << 20
)  # bytes: larger chunks are decoded one at a time, for the memory that it takes
_WIDE = 16 << 20  # bytes: of larger chunks only what is needed is kept, where that goes
_THREADS = os.cpu_count() or 1
_SHARE = 0.5  # of the time limit that may go into chunks of which most is passed over
SAMPLED_CHUNKS = 8  # chunks that tell whether a file only grew


_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("decoding")
_one: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("decoding large chunks")
_skipping: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("passing over chunks")


def threads() -> trio.CapacityLimiter:
    """All arithmetic of a mount shares so many threads: more would only take turns."""
    try:
        return _limiter.get()
    except LookupError:
        configure_malloc()
        _limiter.set(trio.CapacityLimiter(_THREADS))
        return _limiter.get()


def _one_at_a_time(
    which: trio.lowlevel.RunVar[trio.CapacityLimiter] = _one,
) -> trio.CapacityLimiter:
    try:
        return which.get()
    except LookupError:
        which.set(trio.CapacityLimiter(1))
        return which.get()


class _ChunkPart(NamedTuple):
    """A chunk, and the part of it that is in a block."""

    number: int  # of the chunk, in the grid
    inside: tuple[slice, ...]  # of the chunk
    target: tuple[slice, ...]  # of the block


class ChunkedBlocks:
    """The chunks of one dataset as one handle sees them."""

    def __init__(
        self, opened: OpenDataFile, info: DatasetInfo, layout: ChunkedLayout, cache: ByteCache
    ) -> None:
        self._opened = opened
        self._info = info
        self._layout = layout
        self._cache = cache
        self._executor = opened.sources.folders.executor
        self._generation = opened.source.subject.generations[0]
        self._grid = tuple(-(-n // k) for n, k in zip(info.shape, layout.shape, strict=True))
        self._nbytes = info.dtype.itemsize * prod(layout.shape)
        self._needed = info.dtype.itemsize * prod(map(min, layout.shape, info.shape))
        self._raw = np.dtype((np.void, info.dtype.itemsize))  # copied with the padding it has
        self._index: ChunkIndex | None = None
        self._reading: set[int] = set()  # threads that wait for the disk

    def __repr__(self) -> str:
        return f"<ChunkedBlocks of {self._info.address} in {self._opened!r}>"

    @property
    def _name(self) -> str:
        return f"{self._opened.source.path}: {self._info.address}"

    @staticmethod
    def can_decode(info: DatasetInfo, layout: ChunkedLayout) -> bool:
        """Can the chunks of this dataset be read without the HDF5 library?"""
        itemsize = info.dtype.itemsize
        return layout.indexed and codecs.supported(layout.filters, itemsize)

    async def read(self, box: Box) -> Block:
        """The elements of this box as C-ordered bytes, less those of chunks that are damaged."""
        index = await self._indexed()
        if self._nbytes > LARGE_CHUNK_NBYTES:
            self._cache.evict_for(min(self._nbytes, self._needed))
        places = list(_places(box, self._layout.shape, self._grid))
        try:
            return await self._assemble(index, box, places)
        except UnsupportedError:
            return await self._opened.read_box(self._info.address, box, self._bytes(box))
        except EsrffsError:
            await (await self._opened.file()).verified()  # a file that was rewritten is stale
            raise

    def _threads(self) -> trio.CapacityLimiter:
        """Chunks that take long to pass over, and no memory, wait only for each other."""
        if self._nbytes <= LARGE_CHUNK_NBYTES:
            return threads()
        return _one_at_a_time(_skipping if self._passed_over(0) else _one)

    def _passed_over(self, mask: int) -> bool:
        """Whether of a chunk only what is needed is kept."""
        return (
            self._nbytes > _WIDE
            and self._nbytes > 2 * self._needed
            and chunk_parts.passable(self._layout.filters, mask, self._info.dtype.itemsize)
        )

    def _bytes(self, box: Box) -> int:
        return self._info.dtype.itemsize * prod(box.shape)

    async def _indexed(self) -> ChunkIndex:
        if self._index is None:
            source, address = self._opened.source, self._info.address
            self._index = await self._cache.get_or_compute(
                (source.version, address, "chunks"), lambda: source.chunk_index(address), _size
            )
            whole = np.flatnonzero(self._index.offsets >= 0)
            whole = whole[~self._at_the_edge(whole)]
            picked = whole[:: max(1, len(whole) // SAMPLED_CHUNKS)]
            watch = partial(
                self._opened.file_sync().add_samples, self._index.offsets[picked].tolist()
            )
            await self._executor.run(watch)
        return self._index

    def _at_the_edge(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which chunks reach past the shape, and so are written anew when the dataset grows."""
        edge = np.zeros(numbers.shape, bool)
        places = np.unravel_index(numbers, self._grid)
        for at, n, k in zip(places, self._info.shape, self._layout.shape, strict=True):
            edge |= (at + 1) * k > n
        return edge

    async def _assemble(self, index: ChunkIndex, box: Box, places: Sequence[_ChunkPart]) -> Block:
        view = await self._opened.file()
        only = places[0]
        block: Block | None = None
        if len(places) == 1 and box.shape == self._layout.shape and index.offsets[only.number] >= 0:
            decode = partial(self._decoded, view, index, only.number)
            with contextlib.suppress(DamagedError, TooLargeError):  # which are remembered below
                block = await self._executor.run_in_thread(
                    decode, limiter=self._threads(), overdue=self._overdue
                )
        if block is None:
            data = allocate(self._bytes(box), self._name)
            array = np.frombuffer(data, self._raw).reshape(box.shape)
            damage = Damage(box.shape)
            await self._filled(partial(self._fill, view, index, array, damage), places)
            block = DamagedBlock(data, damage.codes, damage.errors) if damage else data
        if (
            await view.verified() != self._generation
            and self._at_the_edge(np.array([place.number for place in places])).any()
        ):
            raise StaleError(f"{self._name} grew in place")
        return block

    async def _filled(
        self, fill: Callable[[Sequence[_ChunkPart]], None], places: Sequence[_ChunkPart]
    ) -> None:
        """These chunks into their places, on all threads."""
        failures: list[EsrffsError] = []

        async def some(part: Sequence[_ChunkPart]) -> None:
            try:
                await self._executor.run_in_thread(
                    partial(fill, part), limiter=self._threads(), overdue=self._overdue
                )
            except EsrffsError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for first in range(min(_THREADS, len(places))):
                nursery.start_soon(some, places[first::_THREADS])
        if failures:
            raise failures[0]

    def _fill(
        self,
        view: VerifiedFile,
        index: ChunkIndex,
        array: npt.NDArray[Any],
        damage: Damage,
        places: Sequence[_ChunkPart],
    ) -> None:
        """In a thread: these chunks into their places; what a reader has to read ends it."""
        until = time.monotonic() + _SHARE * self._executor.seconds
        for place in places:
            try:
                self._place(view, index, array, place, until)
            except UnsupportedError:
                raise
            except PARTIAL as error:
                damage.add(place.target, error)

    def _place(
        self,
        view: VerifiedFile,
        index: ChunkIndex,
        array: npt.NDArray[Any],
        place: _ChunkPart,
        until: float,
    ) -> None:
        number, layout = place.number, self._layout
        if index.offsets[number] < 0:
            if layout.fill is None:
                raise UnsupportedError("chunks that were never written")
            array[place.target] = np.frombuffer(layout.fill, self._raw)
            return
        if self._passed_over(int(index.masks[number])):
            self._passing_over(view, index, array, place, until)
            return
        raw = self._decoded(view, index, number)
        chunk = np.frombuffer(raw, self._raw).reshape(layout.shape)
        array[place.target] = chunk[place.inside]

    def _passing_over(
        self,
        view: VerifiedFile,
        index: ChunkIndex,
        array: npt.NDArray[Any],
        place: _ChunkPart,
        until: float,
    ) -> None:
        """A chunk of which most lies past the shape."""
        number, size = place.number, int(index.sizes[place.number])
        offset, mask, layout = int(index.offsets[number]), int(index.masks[number]), self._layout

        def read(start: int, count: int) -> memoryview:
            limits.check_chunk(self._name, count)
            return self._read(view, offset + start, count)

        target = array[place.target]
        with self._naming(number):
            chunk_parts.fill(
                read, size, layout.filters, mask, layout.shape, place.inside, target, until
            )

    def _decoded(self, view: VerifiedFile, index: ChunkIndex, number: int) -> memoryview:
        """In a thread: the bytes of one chunk."""
        size, mask = int(index.sizes[number]), int(index.masks[number])
        filters = self._layout.filters
        limits.check_chunk(self._name, self._nbytes)
        if all(mask >> k & 1 for k in range(len(filters))):
            size = min(size, self._nbytes)  # HDF5 takes the first bytes of a longer one
        limits.check_chunk(self._name, size)
        with self._naming(number):
            raw = self._read(view, int(index.offsets[number]), size)
            return codecs.decode(raw, filters, mask, self._info.dtype.itemsize, self._nbytes)

    def _read(self, view: VerifiedFile, offset: int, count: int) -> memoryview:
        thread = threading.get_ident()
        self._reading.add(thread)
        try:
            return view.read_sync(offset, count)
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


def _places(box: Box, chunk: Sequence[int], grid: Sequence[int]) -> Iterator[_ChunkPart]:
    axes = []
    for start, stop, k in zip(box.start, box.stop, chunk, strict=True):
        axes.append(
            [
                (
                    number,
                    slice(max(start - number * k, 0), min(stop - number * k, k)),
                    slice(max(number * k - start, 0), min((number + 1) * k, stop) - start),
                )
                for number in range(start // k, -(-stop // k))
            ]
        )
    steps = [prod(grid[axis + 1 :]) for axis in range(len(grid))]
    for parts in product(*axes):
        number = sum(part[0] * step for part, step in zip(parts, steps, strict=True))
        yield _ChunkPart(number, tuple(p[1] for p in parts), tuple(p[2] for p in parts))


def _size(index: ChunkIndex) -> int:
    return index.offsets.nbytes + index.sizes.nbytes + index.masks.nbytes
