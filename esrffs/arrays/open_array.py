"""How the data of a dataset are read: by their layout.

Verbatim data where they lie, chunks decoded here where their filters are known, virtual datasets
from the datasets that they map, and everything else by a reader in a worker process.
"""

from bisect import bisect_right
from collections import OrderedDict
from math import prod
from typing import NamedTuple

import trio

from esrffs import limits
from esrffs.arrays.block_array import (
    READ_AHEAD_BLOCKS,
    READ_AHEAD_NBYTES,
    ArrayBytes,
    BlockArray,
    BlockKey,
    join_buffers,
)
from esrffs.arrays.block_grid import block_grid
from esrffs.arrays.chunked import ChunkedBlocks, keep_chunk_index
from esrffs.arrays.verbatim import open_frames, open_virtual
from esrffs.damage import Block
from esrffs.errors import EsrffsError
from esrffs.linux.permissions import covers
from esrffs.model import (
    Buffer,
    ChunkedLayout,
    ContiguousLayout,
    DatasetInfo,
    FramesLayout,
    OpaqueLayout,
    VirtualLayout,
    VirtualMapping,
)
from esrffs.source.context import DataContext
from esrffs.source.open_data_file import MAX_OPEN_FILES, OpenDataFile
from esrffs.source.verified_file import SAMPLE_NBYTES, sample_offsets

MAX_VIRTUAL_DEPTH = 4  # virtual datasets of virtual datasets are followed so far
SLOW_GAIN = 3  # blocks ahead for each one that was read, from a slow file


class ReaderBlocks:
    """Blocks that a reader in a worker process makes."""

    def __init__(self, opened: OpenDataFile, info: DatasetInfo) -> None:
        shape: tuple[int, ...] = ()
        if isinstance(info.layout, ChunkedLayout):
            shape = info.layout.shape
        elif isinstance(info.layout, OpaqueLayout):
            shape = info.layout.grain
        self.grid = block_grid(info.shape, info.dtype.itemsize, shape)
        self.owner = opened
        self._opened = opened
        self._info = info

    def __repr__(self) -> str:
        return f"<ReaderBlocks of {self._info.address} in {self._opened!r}>"

    def key(self, block: int) -> BlockKey:
        source = self._opened.source
        return BlockKey((source.version, self._opened.state, self._info.address), block)

    async def compute(self, block: int) -> Block:
        box = self.grid.box(block)
        nbytes = self._info.dtype.itemsize * prod(box.shape)
        return await self._opened.read_box(self._info.address, box, nbytes)

    async def compute_part(self, _start: int, _stop: int, _damaged: bool, /) -> Buffer | None:
        return None

    def depth(self) -> int:
        first, last = self.grid.byte_range(0)
        return min(READ_AHEAD_BLOCKS, READ_AHEAD_NBYTES // max(last - first, 1))


class _Source(NamedTuple):
    """A dataset that frames of a virtual one are mapped to, and its file."""

    file: OpenDataFile
    array: ArrayBytes


class VirtualArray:
    """Frames that lie in datasets of other files, which are read there.

    `whole` reads the dataset by a reader: that is asked for what is not as the mapping says (it
    converts, or says why it cannot).
    """

    def __init__(
        self,
        opened: OpenDataFile,
        info: DatasetInfo,
        layout: VirtualLayout,
        whole: ArrayBytes,
        context: DataContext,
        depth: int,
    ) -> None:
        self._opened = opened
        self._info = info
        self._parts = layout.parts
        self._starts = [part.start for part in layout.parts]
        self._fill = layout.fill
        self._whole = whole
        self._context = context
        self._depth = depth
        self._frame = info.dtype.itemsize * prod(info.shape[1:])  # bytes
        self._sources: OrderedDict[int, _Source | None] = OrderedDict()  # by number of the part
        self._opening: dict[int, trio.Event] = {}

    def release(self) -> None:
        """Nobody reads any more: close the sources."""
        while self._sources:
            self._close_oldest()

    async def read(self, start: int, stop: int) -> Buffer:
        parts = []
        while start < stop:
            number = bisect_right(self._starts, start // self._frame) - 1
            mapped = self._parts[number] if number >= 0 else None
            if mapped is not None and start < mapped.stop * self._frame:
                end = min(stop, mapped.stop * self._frame)
                parts.append(await self._mapped(number, start, end))
            else:
                following = self._starts[number + 1 : number + 2]
                end = min([stop, *(first * self._frame for first in following)])
                parts.append(self._filled(start, end))
            start = end
        return join_buffers(parts)

    async def _mapped(self, number: int, start: int, stop: int) -> Buffer:
        mapped, source = self._parts[number], await self._source(number)
        if source is None:
            return await self._whole.read(start, stop)
        shift = (mapped.first - mapped.start) * self._frame
        source.file.acquire()
        try:
            return await source.array.read(start + shift, stop + shift)
        finally:
            source.file.release()

    async def _source(self, number: int) -> _Source | None:
        """Tasks that ask for one source at the same time share its opening."""
        while number not in self._sources:
            if (opening := self._opening.get(number)) is not None:
                await opening.wait()
                continue
            self._opening[number] = event = trio.Event()
            try:
                source = await self._open_mapped_source(self._parts[number])
            finally:
                del self._opening[number]
                event.set()
            if len(self._sources) >= MAX_OPEN_FILES:
                self._close_oldest()
            self._sources[number] = source
        self._sources.move_to_end(number)
        return self._sources[number]

    def _close_oldest(self) -> None:
        source = self._sources.popitem(last=False)[1]
        if source is not None:
            source.file.release()

    def _filled(self, start: int, stop: int) -> Buffer:
        size = len(self._fill)
        repeated = self._fill * (-(-stop // size) - start // size)
        return memoryview(repeated)[start % size : start % size + stop - start]

    async def _open_mapped_source(self, mapped: VirtualMapping) -> _Source | None:
        """The dataset that a part is mapped to; None where it is not as the mapping says."""
        opened, info = self._opened, self._info
        sources = opened.sources
        try:
            source = await sources.current(mapped.file, "hdf5")
            if sources.folders.confined and not covers(opened.source.status, source.status):
                return None
            found, index = await source.find_array(mapped.path)
            if not isinstance(found, DatasetInfo) or found.dtype != info.dtype or not self._depth:
                return None
            shape = found.shape if len(found.shape) == len(info.shape) else (1, *found.shape)
            frames = mapped.stop - mapped.start
            fits = shape[0] == frames if mapped.whole else shape[0] >= mapped.first + frames
            if shape[1:] != info.shape[1:] or not fits:
                return None
            if index is not None:
                keep_chunk_index(self._context.cache, source.version, found.address, index)
            state = await sources.dependency_version(found.dependencies)
        except EsrffsError:
            return None  # the reader will say what is wrong
        file = OpenDataFile(sources, source, state)
        try:
            await file.file()
            return _Source(file, await open_array(file, found, self._context, self._depth - 1))
        except BaseException as error:
            file.release()
            if isinstance(error, EsrffsError):
                return None
            raise


async def open_array(
    opened: OpenDataFile,
    info: DatasetInfo,
    context: DataContext,
    depth: int = MAX_VIRTUAL_DEPTH,
) -> ArrayBytes:
    """The data of this dataset, which must have at least one byte: C order, its own dtype."""
    match info.layout:
        case ContiguousLayout() | FramesLayout() as layout:  # contiguous data are one frame
            return await open_frames(opened, info, layout, context)
        case ChunkedLayout() as layout:
            _check_chunk(opened, info, layout.shape)
            if ChunkedBlocks.can_decode(info, layout):
                gain = SLOW_GAIN if opened.is_slow else 1
                return _attached(
                    opened,
                    BlockArray(ChunkedBlocks(opened, info, layout, context), context, gain=gain),
                )
        case VirtualLayout() as layout:
            whole = await _open_by_reader(opened, info, context)
            virtual = VirtualArray(opened, info, layout, whole, context, depth)
            opened.attach(virtual)
            return await open_virtual(virtual, opened, info, context)
        case OpaqueLayout() as layout:
            _check_chunk(opened, info, layout.grain)
    return await _open_by_reader(opened, info, context)


async def _open_by_reader(
    opened: OpenDataFile, info: DatasetInfo, context: DataContext
) -> ArrayBytes:
    subject = opened.source.subject
    if subject.format != "hdf5" and not subject.series:
        size = opened.source.status.st_size  # these formats are only ever appended to
        file = await opened.file()
        await file.sample((*sample_offsets(0, size), size - SAMPLE_NBYTES))
    return _attached(opened, BlockArray(ReaderBlocks(opened, info), context))


def _attached(opened: OpenDataFile, array: BlockArray) -> BlockArray:
    opened.attach(array)
    return array


def _check_chunk(opened: OpenDataFile, info: DatasetInfo, chunk: tuple[int, ...]) -> None:
    """TooLargeError; what of a chunk lies past the shape is never needed, however much it is."""
    size = info.dtype.itemsize * prod(map(min, chunk, info.shape))
    limits.check_chunk(f"{opened.source.path}: {info.address}", size)
