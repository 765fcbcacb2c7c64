"""Arrays whose bytes can be had: `await read(start, stop)`.

Decided here: how the C-ordered data of an array are put together from what lies where: verbatim
extents, frames, blocks that a reader gives.  Everything is runs of bytes of the array's data;
only a block knows that it is also a box.
"""

from collections.abc import Awaitable, Callable, Sequence
from math import prod
from typing import Protocol

import numpy as np

from esrffs.blocks import Blocks, cut
from esrffs.cache import Cache
from esrffs.chunks import Chunks
from esrffs.errors import EsrffsError
from esrffs.model import Box, Chunked, DatasetInfo, Extent, Frames
from esrffs.opened import SAMPLE, Opened

Buffer = bytes | bytearray | memoryview
Ahead = Callable[[Callable[[int], Awaitable[None]], int], None]  # starts a task

AHEAD = 4  # blocks, and …
AHEAD_BYTES = 32 << 20  # … bytes that are made before they are asked for, at the most


class Array(Protocol):
    """The data of an array in C order."""

    async def read(self, start: int, stop: int) -> Buffer:
        """Bytes `start` up to `stop` of the data, 0 ≤ start < stop ≤ nbytes."""


class ExtentArray:
    """Data that lie verbatim in one run of a file."""

    def __init__(self, opened: Opened, extent: Extent, nbytes: int) -> None:
        self._view = opened.view()
        self._offset = extent.offset
        self._view.watch(_spread(extent.offset, nbytes))

    async def read(self, start: int, stop: int) -> Buffer:
        return await self._view.read(self._offset + start, stop - start)


class FramesArray:
    """Data whose frames each lie verbatim in one run of a file, or of a file each."""

    def __init__(self, opened: Opened, frames: Frames, info: DatasetInfo, frame: int) -> None:
        self._opened = opened
        self._frames = frames
        self._itemsize = info.dtype.itemsize
        self._frame = frame  # bytes
        if not frames.files:
            opened.view().watch(
                offset for i in (0, -1) for offset in _spread(int(frames.offsets[i]), frame)
            )

    async def read(self, start: int, stop: int) -> Buffer:
        parts = []
        for number in range(start // self._frame, -(-stop // self._frame)):
            first = number * self._frame
            parts.append(
                await self._part(number, max(start - first, 0), min(stop - first, self._frame))
            )
        return joined(parts)

    async def _part(self, number: int, start: int, stop: int) -> Buffer:
        view = self._opened.view(number if self._frames.files else 0)
        offset = int(self._frames.offsets[number])
        if not self._frames.swapped:
            return await view.read(offset + start, stop - start)
        first = start - start % self._itemsize
        last = -(-stop // self._itemsize) * self._itemsize
        stored = await view.read(offset + first, last - first)
        items = np.frombuffer(stored, np.uint8).reshape(-1, self._itemsize)
        return memoryview(items[:, ::-1].tobytes())[start - first : stop - first]


class Held(Protocol):
    """What blocks are made from: kept open until it was closed once more than it was held."""

    def hold(self) -> None: ...

    def close(self) -> None: ...


class BlockArray:
    """Data that are made block by block, and remembered.

    Who reads one block after the other finds the next ones made, or in the making.
    """

    def __init__(
        self,
        held: Held,
        key: tuple[object, ...],
        blocks: Blocks,
        make: Callable[[int], Awaitable[memoryview]],
        cache: Cache,
        ahead: Ahead,
    ) -> None:
        self._held = held
        self._key = key
        self._blocks = blocks
        self._make = make
        self._cache = cache
        self._ahead = ahead
        self._last = -2  # the block that was read last
        self._depth = 0  # how many blocks ahead are worth making

    async def read(self, start: int, stop: int) -> Buffer:
        parts = []
        while start < stop:
            number = self._blocks.number(start)
            first, last = self._blocks.extent(number)
            self._look_ahead(number)
            block = await self._block(number)
            parts.append(block[start - first : min(stop, last) - first])
            start = last
        return joined(parts)

    async def _block(self, number: int) -> memoryview:
        return await self._cache.get((*self._key, number), lambda: self._make(number), len)

    def _look_ahead(self, number: int) -> None:
        if number == self._last:
            return
        self._depth = min(self._depth + 1, AHEAD) if number == self._last + 1 else 0
        self._last = number
        for following in range(number + 1, number + 1 + self._depth):
            first, last = self._blocks.extent(following)
            if first >= self._blocks.nbytes or (following - number) * (last - first) > AHEAD_BYTES:
                break
            key = (*self._key, following)
            if not self._cache.making(key) and not self._cache.holds(key):
                self._held.hold()
                self._ahead(self._block_ahead, following)

    async def _block_ahead(self, number: int) -> None:
        try:
            await self._block(number)
        except EsrffsError:
            pass  # whoever asks for it will hear
        finally:
            self._held.close()


def open_array(opened: Opened, info: DatasetInfo, cache: Cache, ahead: Ahead) -> Array:
    """The data of this dataset, which must have at least one byte."""
    nbytes = info.dtype.itemsize * prod(info.shape)
    layout = info.layout
    if isinstance(layout, Extent):
        return ExtentArray(opened, layout, nbytes)
    if isinstance(layout, Frames):
        return FramesArray(opened, layout, info, nbytes // len(layout.offsets))
    blocks = cut(
        info.shape, info.dtype.itemsize, layout.shape if isinstance(layout, Chunked) else ()
    )
    read: Callable[[Box], Awaitable[memoryview]] = _asking(opened, info)
    if isinstance(layout, Chunked) and Chunks.known(info, layout):
        read = Chunks(opened, info, layout, cache).read
    key = opened.source.digest, info.address
    return BlockArray(opened, key, blocks, lambda number: read(blocks.box(number)), cache, ahead)


def _asking(opened: Opened, info: DatasetInfo) -> Callable[[Box], Awaitable[memoryview]]:
    """Makes blocks of what only a reader can give."""
    subject = opened.source.subject
    if subject.format != "hdf5" and not subject.series:
        size = opened.source.status.st_size  # these formats are only ever appended to
        opened.view().watch((*_spread(0, size), size - SAMPLE))
    return lambda box: opened.ask(info.address, box, info.dtype.itemsize * prod(box.shape))


def joined(parts: Sequence[Buffer]) -> Buffer:
    """One buffer, without a copy where there is only one part."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _spread(offset: int, nbytes: int) -> tuple[int, ...]:
    """Places in a run of bytes whose samples tell one state of it from another."""
    last = max(nbytes - SAMPLE, 0)
    return tuple(offset + last * i // 8 for i in range(9))
