"""Arrays whose bytes can be had: `await read(start, stop)`.

Decided here: how the C-ordered data of an array are put together from what lies where, and what is
made before it is asked for.  Everything is runs of bytes; only a block knows that it is also a box.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import prod
from typing import Protocol

import numpy as np

from esrffs.blocks import Blocks, cut
from esrffs.cache import Cache
from esrffs.chunks import Chunks
from esrffs.errors import EsrffsError
from esrffs.model import Box, Chunked, DatasetInfo, Extent, Frames, Mapped, Virtual
from esrffs.opened import OPEN_PARTS, SAMPLE, Opened, spread
from esrffs.rights import covers

Buffer = bytes | bytearray | memoryview
Ahead = Callable[[Callable[[int], Awaitable[None]], int], None]  # starts a task

AHEAD = 4  # blocks, and …
AHEAD_BYTES = 32 << 20  # … bytes that are made before they are asked for, at the most
COUNTED = 16  # blocks whose bytes are counted for a handle


class Array(Protocol):
    """The data of an array in C order."""

    async def read(self, start: int, stop: int) -> Buffer:
        """Bytes `start` up to `stop` of the data, 0 ≤ start < stop ≤ nbytes."""


class ExtentArray:
    """Data that lie verbatim in one run of a file."""

    def __init__(self, opened: Opened, extent: Extent, nbytes: int) -> None:
        self._opened = opened
        self._offset = extent.offset
        opened.view().watch(spread(extent.offset, nbytes))

    async def read(self, start: int, stop: int) -> Buffer:
        return await self._opened.view().read(self._offset + start, stop - start)


class FramesArray:
    """Data whose frames each lie verbatim in one run of a file, or of a file each."""

    def __init__(self, opened: Opened, frames: Frames, info: DatasetInfo, frame: int) -> None:
        self._opened = opened
        self._frames = frames
        self._itemsize = info.dtype.itemsize
        self._frame = frame  # bytes
        if not frames.files:
            opened.view().watch(
                offset for i in (0, -1) for offset in spread(int(frames.offsets[i]), frame)
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

    Who reads one block after the other finds the next ones made.
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
        self._last = -2  # the block that was read last, but for what was asked out of turn
        self._depth = 0  # how many blocks ahead are worth making
        self._begun = False  # was the last block reached by reading on?
        self._asked: dict[int, int] = {}  # bytes, by block: asked for, …
        self._given: dict[int, int] = {}  # … and given

    async def read(self, start: int, stop: int) -> Buffer:
        parts = []
        for following in range(self._blocks.number(start) + 1, self._blocks.number(stop - 1) + 1):
            self._start(following)
        while start < stop:
            number = self._blocks.number(start)
            first, last = self._blocks.extent(number)
            end = min(stop, last)
            self._asked[number] = self._asked.pop(number, 0) + end - start
            self._look_ahead(number, last - first)
            block = await self._block(number)
            parts.append(block[start - first : end - first])
            self._given[number] = self._given.pop(number, 0) + end - start
            if self._given[number] >= last - first:  # the kernel has it: make room
                self._cache.forget((*self._key, number))
            start = end
        for counts in (self._asked, self._given):
            while len(counts) > COUNTED:
                del counts[next(iter(counts))]
        return joined(parts)

    async def _block(self, number: int) -> memoryview:
        self._held.hold()
        try:
            return await self._cache.get((*self._key, number), lambda: self._make(number), len)
        finally:
            self._held.close()

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
            self._depth = min(self._depth + 1, AHEAD) if self._depth and read_on else 0
        for following in range(number + 1, number + 1 + self._depth):
            first, last = self._blocks.extent(following)
            if first >= self._blocks.nbytes or (following - number) * (last - first) > AHEAD_BYTES:
                break
            self._start(following)

    def _start(self, number: int) -> None:
        """Make this block in the background, unless it is there."""
        key = (*self._key, number)
        if not self._cache.making(key) and not self._cache.holds(key):
            self._held.hold()
            self._ahead(self._block_ahead, number)

    async def _block_ahead(self, number: int) -> None:
        try:
            await self._block(number)
        except EsrffsError:
            pass  # whoever asks for it will hear
        finally:
            self._held.close()


OpenPart = Callable[[Opened, DatasetInfo, Mapped], Awaitable[Array | None]]


class VirtualArray:
    """Frames that lie in datasets of other files, read there; `whole` is what a reader gives.

    The reader is asked for whatever is not as the mapping says (it converts, or says why not).
    """

    def __init__(
        self, opened: Opened, info: DatasetInfo, layout: Virtual, whole: Array, part: OpenPart
    ) -> None:
        self._opened = opened
        self._info = info
        self._parts = layout.parts
        self._starts = [part.start for part in layout.parts]
        self._fill = layout.fill
        self._whole = whole
        self._open = part
        self._frame = info.dtype.itemsize * prod(info.shape[1:])  # bytes
        self._arrays: dict[int, Array | None] = {}

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
        return joined(parts)

    async def _mapped(self, number: int, start: int, stop: int) -> Buffer:
        mapped = self._parts[number]
        if number not in self._arrays:
            if len(self._arrays) >= OPEN_PARTS:
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
    cache: Cache, ahead: Ahead, depth: int, opened: Opened, info: DatasetInfo, mapped: Mapped
) -> Array | None:
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
        part = Opened(opened.sources, source, opened.sources.state(found.depends))
        opened.add_part(part)
        part.view()
        return open_array(part, found, cache, ahead, depth - 1)
    except EsrffsError:
        return None  # the reader will say what is wrong


def open_array(
    opened: Opened, info: DatasetInfo, cache: Cache, ahead: Ahead, depth: int = 4
) -> Array:
    """The data of this dataset, which must have at least one byte.

    `depth`: virtual datasets of virtual datasets are followed so far.
    """
    nbytes = info.dtype.itemsize * prod(info.shape)
    layout = info.layout
    if isinstance(layout, Extent):
        return ExtentArray(opened, layout, nbytes)
    if isinstance(layout, Frames):
        return FramesArray(opened, layout, info, nbytes // len(layout.offsets))
    grain = layout.shape if isinstance(layout, Chunked) else ()
    blocks = cut(info.shape, info.dtype.itemsize, grain)
    read: Callable[[Box], Awaitable[memoryview]] = _asking(opened, info)
    if isinstance(layout, Chunked) and Chunks.known(info, layout):
        read = Chunks(opened, info, layout, cache).read
    key = opened.source.digest, opened.state, info.address
    array = BlockArray(opened, key, blocks, lambda number: read(blocks.box(number)), cache, ahead)
    if isinstance(layout, Virtual):
        part = partial(_open_mapped, cache, ahead, depth)
        return VirtualArray(opened, info, layout, array, part)
    return array


def _asking(opened: Opened, info: DatasetInfo) -> Callable[[Box], Awaitable[memoryview]]:
    """Makes blocks of what only a reader can give."""
    subject = opened.source.subject
    if subject.format != "hdf5" and not subject.series:
        size = opened.source.status.st_size  # these formats are only ever appended to
        opened.view().watch((*spread(0, size), size - SAMPLE))
    return lambda box: opened.ask(info.address, box, info.dtype.itemsize * prod(box.shape))


def joined(parts: Sequence[Buffer]) -> Buffer:
    """One buffer, without a copy where there is only one part."""
    return parts[0] if len(parts) == 1 else b"".join(parts)
