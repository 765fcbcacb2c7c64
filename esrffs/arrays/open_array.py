"""How the data of a dataset are read: by their layout.

Verbatim data where they lie, chunks decoded here where their filters are known, virtual datasets
from the datasets that they map, and everything else by a reader in a worker process.
"""

from bisect import bisect_right
from math import prod

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
from esrffs.arrays.chunked import ChunkedBlocks
from esrffs.arrays.verbatim import open_frames
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
        self._arrays: dict[int, ArrayBytes | None] = {}

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
        mapped = self._parts[number]
        if number not in self._arrays:
            if len(self._arrays) >= MAX_OPEN_FILES:
                self._arrays.clear()
                self._opened.close_parts()
            self._arrays[number] = await self._open_mapped_source(mapped)
        array = self._arrays[number]
        if array is None:
            return await self._whole.read(start, stop)
        shift = (mapped.first - mapped.start) * self._frame
        return await array.read(start + shift, stop + shift)

    def _filled(self, start: int, stop: int) -> Buffer:
        size = len(self._fill)
        repeated = self._fill * (-(-stop // size) - start // size)
        return memoryview(repeated)[start % size : start % size + stop - start]

    async def _open_mapped_source(self, mapped: VirtualMapping) -> ArrayBytes | None:
        """The dataset that a part is mapped to; None where it is not as the mapping says."""
        opened, info = self._opened, self._info
        sources = opened.sources
        try:
            source = await sources.current(mapped.file, "hdf5")
            if sources.folders.confined and not covers(opened.source.status, source.status):
                return None
            found = await source.find(mapped.path)
            if not isinstance(found, DatasetInfo) or found.dtype != info.dtype or not self._depth:
                return None
            shape = found.shape if len(found.shape) == len(info.shape) else (1, *found.shape)
            frames = mapped.stop - mapped.start
            fits = shape[0] == frames if mapped.whole else shape[0] >= mapped.first + frames
            if shape[1:] != info.shape[1:] or not fits:
                return None
            state = await sources.dependency_version(found.dependencies)
            part = OpenDataFile(sources, source, state)
            opened.attach(part)
            await part.file()
            return await open_array(part, found, self._context, self._depth - 1)
        except EsrffsError:
            return None  # the reader will say what is wrong


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
            return VirtualArray(opened, info, layout, whole, context, depth)
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
