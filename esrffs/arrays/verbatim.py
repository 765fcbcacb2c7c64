"""Data that lie verbatim in the source: contiguous datasets, uncompressed frames, other files.

They are read where they lie, with no format library.  On a slow file system a reader who reads on
gets them in blocks of one read each (`READ_NBYTES`), many of them in flight; other requests are
passed on as they are.
"""

from functools import partial

import numpy as np

from esrffs.arrays.block_array import (
    ArrayBytes,
    BlockArray,
    BlockKey,
    RefCounted,
    Resources,
    join_buffers,
)
from esrffs.arrays.block_grid import BlockGrid
from esrffs.background import gather
from esrffs.model import Buffer, ContiguousLayout, DatasetInfo, FramesLayout, Generation
from esrffs.source.open_data_file import OpenDataFile
from esrffs.source.speed import READ_NBYTES
from esrffs.source.verified_file import VerifiedFile, sample_offsets

GAIN = 4  # blocks ahead for each one that was read: they are small


class FramesArray:
    """Data whose frames each lie in one run of a file, or of a file each.

    Contiguous data are one frame.
    """

    def __init__(
        self, opened: OpenDataFile, layout: FramesLayout | ContiguousLayout, info: DatasetInfo
    ) -> None:
        self._opened = opened
        self._itemsize = info.dtype.itemsize
        if isinstance(layout, ContiguousLayout):
            layout = FramesLayout(np.array([layout.offset], np.int64))
        self._layout = layout
        self._frame = info.nbytes // len(layout.offsets)  # bytes

    @property
    def frame_nbytes(self) -> int:
        """The size of one frame; contiguous data are one frame."""
        return self._frame

    def sample_offsets(self) -> list[int]:
        """Where samples tell that the file only grew; a series is a file for each frame."""
        if self._layout.files:
            return []
        numbers = dict.fromkeys((0, len(self._layout.offsets) - 1))
        starts = [int(self._layout.offsets[number]) for number in numbers]
        return [offset for start in starts for offset in sample_offsets(start, self._frame)]

    async def read(self, start: int, stop: int) -> Buffer:
        parts = []
        for number in range(start // self._frame, -(-stop // self._frame)):
            first = number * self._frame
            parts.append(
                partial(self._part, number, max(start - first, 0), min(stop - first, self._frame))
            )
        if self._opened.is_slow:
            return join_buffers(await gather(parts))
        return join_buffers([await part() for part in parts])

    async def _part(self, number: int, start: int, stop: int) -> Buffer:
        """Bytes [start, stop) of this frame."""
        view = await self._opened.file(number if self._layout.files else 0)
        offset = int(self._layout.offsets[number])
        if not self._layout.swapped:
            return await view.read(offset + start, stop - start)
        first = start - start % self._itemsize
        last = -(-stop // self._itemsize) * self._itemsize
        stored = await view.read(offset + first, last - first)
        items = np.frombuffer(stored, np.uint8).reshape(-1, self._itemsize)
        return memoryview(items[:, ::-1].tobytes())[start - first : stop - first]


class FileBytes:
    """The bytes of a file that is shown as it is."""

    def __init__(self, view: VerifiedFile) -> None:
        self._view = view

    async def read(self, start: int, stop: int) -> Buffer:
        """These bytes, fewer where the file ends before."""
        return await self._view.read_at_most(start, stop - start)


class VerbatimBlocks:
    """Blocks of data that could be read as they are, too; `depth`, in bytes, is asked of `file`."""

    def __init__(
        self,
        array: ArrayBytes,
        nbytes: int,
        version: tuple[object, ...],
        owner: RefCounted,
        file: VerifiedFile,
    ) -> None:
        self.grid = BlockGrid((nbytes,), 1, 0, READ_NBYTES)
        self.owner = owner
        self._array = array
        self._version = version
        self._file = file

    def __repr__(self) -> str:
        return f"<VerbatimBlocks of {self._array!r}>"

    def key(self, block: int) -> BlockKey:
        return BlockKey(self._version, block)

    async def compute(self, block: int) -> memoryview:
        return memoryview(await self._array.read(*self.grid.byte_range(block)))

    async def compute_part(self, start: int, stop: int, _damaged: bool, /) -> Buffer | None:
        return await self._array.read(start, stop)

    def depth(self) -> int:
        return self._file.read_ahead_nbytes // READ_NBYTES if self._file.is_slow else 0


async def open_frames(
    opened: OpenDataFile,
    info: DatasetInfo,
    layout: FramesLayout | ContiguousLayout,
    resources: Resources,
) -> ArrayBytes:
    """The data of a dataset with this layout."""
    array = FramesArray(opened, layout, info)
    file = await opened.file()
    await file.sample(array.sample_offsets(), array.frame_nbytes)
    if not file.is_slow:
        return array
    version = opened.source.version, opened.state, info.address, "verbatim"
    blocks = _in_blocks(VerbatimBlocks(array, info.nbytes, version, opened, file), resources)
    opened.attach(blocks)
    return blocks


async def open_virtual(
    array: ArrayBytes, opened: OpenDataFile, info: DatasetInfo, resources: Resources
) -> ArrayBytes:
    """The data of a virtual dataset, `array`: on a slow source, files ahead are opened too."""
    file = await opened.file()
    if not file.is_slow:
        return array
    version = opened.source.version, opened.state, info.address, "virtual"
    blocks = _in_blocks(VerbatimBlocks(array, info.nbytes, version, opened, file), resources)
    opened.attach(blocks)
    return blocks


def open_file_bytes(
    file: VerifiedFile, owner: RefCounted, generation: Generation, resources: Resources
) -> BlockArray:
    """The bytes, at least one, of a file on a slow file system; `owner` keeps it open.

    They are those of this generation.
    """
    array = FileBytes(file)
    blocks = VerbatimBlocks(array, generation.size, (generation,), owner, file)
    return _in_blocks(blocks, resources)


def _in_blocks(blocks: VerbatimBlocks, resources: Resources) -> BlockArray:
    return BlockArray(blocks, resources, gain=GAIN, eager=True)
