"""Arrays whose bytes can be had: `await read(start, stop)`.

Decided here: how the C-ordered data of an array are put together from what lies where, and what is
made before it is asked for.  Everything is runs of bytes; only a block knows that it is also a box.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable
from functools import partial
from math import prod

import numpy as np

from esrffs import limits
from esrffs.arrays.block_array import ArrayBytes, BlockArray, join_buffers
from esrffs.arrays.block_grid import block_grid
from esrffs.arrays.chunked import ChunkedBlocks
from esrffs.background import StartTask
from esrffs.cache import ByteCache
from esrffs.damage import Block
from esrffs.errors import EsrffsError
from esrffs.linux.permissions import covers
from esrffs.model import (
    Box,
    Buffer,
    ChunkedLayout,
    ContiguousLayout,
    DatasetInfo,
    FramesLayout,
    OpaqueLayout,
    VirtualLayout,
    VirtualMapping,
)
from esrffs.source.open_data_file import MAX_OPEN_FILES, OpenDataFile
from esrffs.source.verified_file import SAMPLE_NBYTES, sample_offsets


class ExtentArray:
    """Data that lie verbatim in one run of a file."""

    def __init__(self, opened: OpenDataFile, extent: ContiguousLayout, nbytes: int) -> None:
        self._opened = opened
        self._offset = extent.offset
        opened.file_sync().add_samples(sample_offsets(extent.offset, nbytes))

    async def read(self, start: int, stop: int) -> Buffer:
        return await (await self._opened.file()).read(self._offset + start, stop - start)


class FramesArray:
    """Data whose frames each lie verbatim in one run of a file, or of a file each."""

    def __init__(
        self, opened: OpenDataFile, frames: FramesLayout, info: DatasetInfo, frame: int
    ) -> None:
        self._opened = opened
        self._frames = frames
        self._itemsize = info.dtype.itemsize
        self._frame = frame  # bytes
        if not frames.files:
            opened.file_sync().add_samples(
                offset for i in (0, -1) for offset in sample_offsets(int(frames.offsets[i]), frame)
            )

    async def read(self, start: int, stop: int) -> Buffer:
        parts = []
        for number in range(start // self._frame, -(-stop // self._frame)):
            first = number * self._frame
            parts.append(
                await self._part(number, max(start - first, 0), min(stop - first, self._frame))
            )
        return join_buffers(parts)

    async def _part(self, number: int, start: int, stop: int) -> Buffer:
        view = await self._opened.file(number if self._frames.files else 0)
        offset = int(self._frames.offsets[number])
        if not self._frames.swapped:
            return await view.read(offset + start, stop - start)
        first = start - start % self._itemsize
        last = -(-stop // self._itemsize) * self._itemsize
        stored = await view.read(offset + first, last - first)
        items = np.frombuffer(stored, np.uint8).reshape(-1, self._itemsize)
        return memoryview(items[:, ::-1].tobytes())[start - first : stop - first]


OpenPart = Callable[[OpenDataFile, DatasetInfo, VirtualMapping], Awaitable[ArrayBytes | None]]


class VirtualArray:
    """Frames that lie in datasets of other files, read there; `whole` is what a reader gives.

    The reader is asked for whatever is not as the mapping says (it converts, or says why not).
    """

    def __init__(
        self,
        opened: OpenDataFile,
        info: DatasetInfo,
        layout: VirtualLayout,
        whole: ArrayBytes,
        part: OpenPart,
    ) -> None:
        self._opened = opened
        self._info = info
        self._parts = layout.parts
        self._starts = [part.start for part in layout.parts]
        self._fill = layout.fill
        self._whole = whole
        self._open = part
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
            self._arrays[number] = await self._open(self._opened, self._info, mapped)
        array = self._arrays[number]
        if array is None:
            return await self._whole.read(start, stop)
        shift = (mapped.first - mapped.start) * self._frame
        return await array.read(start + shift, stop + shift)

    def _filled(self, start: int, stop: int) -> Buffer:
        size = len(self._fill)
        repeated = self._fill * (-(-stop // size) - start // size)
        return memoryview(repeated)[start % size : start % size + stop - start]


async def _open_mapped(
    cache: ByteCache,
    start_task: StartTask,
    depth: int,
    opened: OpenDataFile,
    info: DatasetInfo,
    mapped: VirtualMapping,
) -> ArrayBytes | None:
    """The dataset that a part is mapped to; None where it is not as the mapping says."""
    try:
        source = await opened.sources.current(mapped.file, "hdf5")
        if opened.sources.folders.confined and not covers(opened.source.status, source.status):
            return None
        found = await source.find(mapped.path)
        if not isinstance(found, DatasetInfo) or found.dtype != info.dtype or depth == 0:
            return None
        shape = found.shape if len(found.shape) == len(info.shape) else (1, *found.shape)
        frames = mapped.stop - mapped.start
        fits = shape[0] == frames if mapped.whole else shape[0] >= mapped.first + frames
        if shape[1:] != info.shape[1:] or not fits:
            return None
        executor = opened.sources.folders.executor
        part = OpenDataFile(
            opened.sources,
            source,
            await opened.sources.dependency_version(found.dependencies),
        )
        opened.attach(part)
        await part.file()
        return await executor.run(partial(open_array, part, found, cache, start_task, depth - 1))
    except EsrffsError:
        return None  # the reader will say what is wrong


def open_array(
    opened: OpenDataFile, info: DatasetInfo, cache: ByteCache, start_task: StartTask, depth: int = 4
) -> ArrayBytes:
    """The data of this dataset, which must have at least one byte.

    `depth`: virtual datasets of virtual datasets are followed so far.
    """
    nbytes = info.dtype.itemsize * prod(info.shape)
    layout = info.layout
    if isinstance(layout, ContiguousLayout):
        return ExtentArray(opened, layout, nbytes)
    if isinstance(layout, FramesLayout):
        return FramesArray(opened, layout, info, nbytes // len(layout.offsets))
    grain = layout.shape if isinstance(layout, ChunkedLayout) else ()
    if isinstance(layout, OpaqueLayout):
        grain = layout.grain
    # What of a chunk lies past the shape is never needed, however much is declared.
    size = info.dtype.itemsize * prod(map(min, grain, info.shape))
    limits.check_chunk(f"{opened.source.path}: {info.address}", size)
    blocks = block_grid(info.shape, info.dtype.itemsize, grain)
    read: Callable[[Box], Awaitable[Block]] = _asking(opened, info)
    if isinstance(layout, ChunkedLayout) and ChunkedBlocks.can_decode(info, layout):
        read = ChunkedBlocks(opened, info, layout, cache).read
    key = opened.source.version, opened.state, info.address
    array = BlockArray(
        opened, key, blocks, lambda number: read(blocks.box(number)), cache, start_task
    )
    if isinstance(layout, VirtualLayout):
        part = partial(_open_mapped, cache, start_task, depth)
        return VirtualArray(opened, info, layout, array, part)
    return array


def _asking(opened: OpenDataFile, info: DatasetInfo) -> Callable[[Box], Awaitable[Block]]:
    """Makes blocks of what only a reader can give."""
    subject = opened.source.subject
    if subject.format != "hdf5" and not subject.series:
        size = opened.source.status.st_size  # these formats are only ever appended to
        opened.file_sync().add_samples((*sample_offsets(0, size), size - SAMPLE_NBYTES))
    return lambda box: opened.read_box(info.address, box, info.dtype.itemsize * prod(box.shape))
