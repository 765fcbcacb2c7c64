"""Corrected arrays: reads the raw pixels under a run of corrected bytes, and corrects them.

Dark and flats are reduced when they are first needed, and stay in the cache as float32 images.
Does not: compute (`formula`), or choose which frames are raw, flat and dark (`conventions`).
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import trio

from esrffs.arrays.block_array import (
    READ_AHEAD_BLOCKS,
    ArrayBytes,
    BlockArray,
    BlockKey,
    RefCounted,
)
from esrffs.arrays.block_grid import block_grid
from esrffs.arrays.open_array import open_array
from esrffs.background import gather
from esrffs.cache import CacheKey
from esrffs.errors import StaleError
from esrffs.flatfield.formula import (
    FlatWeights,
    Pixels,
    RunningMean,
    absorb,
    as_float32,
    correct_run,
    current_ratio,
    frame_slices,
    median,
    per_exposure,
    pixel_bands,
)
from esrffs.flatfield.plan import CorrectedDataset, FrameRange, ReducedDataset, ReducedFrame
from esrffs.linux.buffers import allocate
from esrffs.source.array_location import ArrayLocation
from esrffs.source.context import DataContext
from esrffs.source.open_data_file import OpenDataFile

T = TypeVar("T")
_Frames = Callable[[], Awaitable[npt.NDArray[Any]]]

_ITEMSIZE = 4  # bytes of a float32
MEDIAN_NBYTES = 128 << 20  # bytes of flats that are in memory to find their median


class FrameReader:
    """Frames of one array, as runs of pixels."""

    def __init__(self, array: ArrayBytes, located: ArrayLocation, pixels: int) -> None:
        self.dtype = located.info.dtype
        self._array = array
        self._first = located.index * pixels

    async def read(self, first: int, last: int) -> npt.NDArray[Any]:
        """Elements [first, last), counted from the first frame, as an array of one axis."""
        size = self.dtype.itemsize
        data = await self._array.read((self._first + first) * size, (self._first + last) * size)
        return np.frombuffer(data, self.dtype)


@dataclass(frozen=True, slots=True)
class ReducedKey(CacheKey[Pixels]):
    """A mean or median of frames.  `states`: what the values of each part depend on."""

    states: tuple[bytes, ...]
    frames: ReducedFrame
    pixels: int


class InputArrays:
    """The arrays that one handle of a corrected file reads from, each opened once."""

    def __init__(
        self, context: DataContext, locations: Mapping[str, ArrayLocation], pixels: int
    ) -> None:
        self.context = context
        self.pixels = pixels  # of one frame
        self._locations = locations  # by path
        self._opened: dict[tuple[bytes, bytes], OpenDataFile] = {}
        self._frames: dict[str, FrameReader] = {}
        self._arrays: dict[tuple[bytes, bytes, str], ArrayBytes] = {}
        self._known: set[ReducedFrame] = set()  # were reduced before
        self._corrected: BlockArray | None = None
        self._holders = 1

    def acquire(self) -> None:
        """One more `close` is needed."""
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            if self._corrected is not None:
                self._corrected.release()
            for opened in self._opened.values():
                opened.release()
            self._opened.clear()

    def attach(self, array: BlockArray) -> None:
        """What is computed of these inputs: released with them."""
        self._corrected = array

    async def check(self, output: CorrectedDataset | ReducedDataset) -> None:
        """StaleError unless all input files are unchanged since the plan was made.

        Opens the files of raw frames.  Those of darks and flats, which may be many, are opened when
        they are reduced.
        """
        folders = self.context.files.folders
        raw = output.raw if isinstance(output, CorrectedDataset) else ()
        opened = dict.fromkeys(run.part.path for run in raw)
        for part in output.parts:
            if part.path in opened:
                continue
            path, seen = self._locations[part.path].file
            if await folders.executor.run(partial(folders.generation, path)) != seen:
                raise StaleError(f"{path}: changed since it was listed")
        for path in opened:
            await self.frames(path)

    async def frames(self, path: str) -> FrameReader:
        frames = self._frames.get(path)
        if frames is None:
            located = self._locations[path]
            frames = self._frames[path] = FrameReader(
                await self._array(located), located, self.pixels
            )
        return frames

    async def _array(self, located: ArrayLocation) -> ArrayBytes:
        source, info, sources = located.source, located.info, self.context.files
        where = source.version, located.state
        key = *where, info.address
        if key not in self._arrays:
            if await sources.dependency_version(info.dependencies) != located.state:
                raise StaleError(f"{source.path}: {info.address}: a file of it changed")
            opened = self._opened.get(where)
            if opened is None:
                opened = self._opened[where] = OpenDataFile(sources, source, located.state)
            await opened.file(located.index if source.subject.series else 0)
            self._arrays[key] = await open_array(opened, info, self.context)
        return self._arrays[key]

    async def reduced(self, frames: ReducedFrame) -> Pixels:
        """Mean or median of frames, float32, one axis of `pixels` elements; from the cache."""
        states = tuple(self._locations[part.path].key for part in frames.parts)
        key = ReducedKey(states, frames, self.pixels)
        reduce = partial(self._reduce, frames)
        return await self.context.cache.get_or_compute(key, reduce, nbytes=_nbytes)

    async def together(
        self, raw: _Frames, wanted: Sequence[ReducedFrame]
    ) -> list[npt.NDArray[Any]]:
        """What `raw` gives, and these reduced images: at the same time where they are not known."""
        calls: list[_Frames] = [raw, *(partial(self.reduced, frames) for frames in wanted)]
        if self._known.issuperset(wanted):
            return [await call() for call in calls]
        found = await gather(calls)
        self._known.update(wanted)
        return found

    async def _reduce(self, frames: ReducedFrame) -> Pixels:
        if not frames.parts:
            return np.full(self.pixels, frames.constant, np.float32)
        count = sum(part.last - part.first for part in frames.parts)
        if count == 1:
            part = frames.parts[0]
            run = await self.frames(part.path)
            one = await run.read(part.first * self.pixels, part.last * self.pixels)
            return per_exposure(as_float32(one), frames.divisor)
        reduce = self._mean if frames.reduction == "mean" else self._median
        return per_exposure(await reduce(frames.parts), frames.divisor)

    async def _median(self, parts: Sequence[FrameRange]) -> Pixels:
        """Band by band, so that not all frames need be in memory."""
        count = sum(part.last - part.first for part in parts)
        runs = [(await self.frames(part.path), part) for part in parts]
        kinds = {run.dtype for run, _ in runs}
        dtype = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
        result = np.empty(self.pixels, np.float32)
        for start, stop in pixel_bands(count, self.pixels, dtype.itemsize, MEDIAN_NBYTES):
            band = np.empty((count, stop - start), dtype)
            row = 0
            for run, part in runs:
                for frame in range(part.first, part.last):
                    at = frame * self.pixels
                    pixels = await run.read(at + start, at + stop)
                    with np.errstate(all="ignore"):  # float64 frames among others
                        band[row] = pixels
                    row += 1
            result[start:stop] = await self.in_thread(median, band)
        return result

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of this arithmetic, on one of the mount's threads for it."""
        return await trio.to_thread.run_sync(
            function, *arguments, limiter=self.context.threads.limiter
        )

    async def _mean(self, parts: Sequence[FrameRange]) -> Pixels:
        mean = RunningMean(self.pixels)
        for part in parts:
            run = await self.frames(part.path)
            for frame in range(part.first, part.last):
                pixels = await run.read(frame * self.pixels, (frame + 1) * self.pixels)
                await self.in_thread(mean.add, pixels[np.newaxis])
        return mean.result()


class CorrectedPixels:
    """The frames of one output, corrected run by run."""

    def __init__(self, output: CorrectedDataset, inputs: InputArrays) -> None:
        self._output = output
        self._inputs = inputs
        self._axis = output.correction.axis
        lengths = (stretch.part.last - stretch.part.first for stretch in output.raw)
        self._starts = [0, *accumulate(lengths)]  # first frame of each stretch, and the end
        self._scaled = [flat.current or 0.0 for flat in output.correction.flats]

    async def run(self, first: int, last: int) -> memoryview:
        """Elements [first, last) as bytes of float32."""
        data = allocate((last - first) * _ITEMSIZE, f"corrected/{self._output.name}")
        out = np.frombuffer(data, np.float32)
        correction, pixels = self._output.correction, self._inputs.pixels
        position = first
        while position < last:
            number = bisect_right(self._starts, position // pixels) - 1
            stop = min(last, self._starts[number + 1] * pixels)
            await self._stretch(number, position, stop, out[position - first : stop - first])
            position = stop
        if self._output.absorption:
            await self._inputs.in_thread(absorb, out, correction.nan)
        return data

    async def _stretch(self, number: int, first: int, last: int, out: Pixels) -> None:
        """Elements [first, last), which lie in this stretch, into `out`."""
        stretch, pixels = self._output.raw[number], self._inputs.pixels
        correction = self._output.correction
        begin = self._starts[number]
        frames = range(first // pixels, -(-last // pixels))
        mixes = [self._axis.weights_at(stretch.abscissa + frame - begin) for frame in frames]
        numbers = sorted({flat for mix in mixes for flat in (mix.first, mix.second)})
        wanted = [correction.dark, *(correction.flats[flat].frames for flat in numbers)]
        if correction.flat_dark is not None:
            wanted.append(correction.flat_dark)
        raw = await self._inputs.frames(stretch.part.path)
        offset = (stretch.part.first - begin) * pixels
        data, dark, *reduced = await self._inputs.together(
            partial(raw.read, first + offset, last + offset), wanted
        )
        flats = dict(zip(numbers, reduced, strict=False))
        scales = self._scales(frames, mixes)
        nan = correction.nan
        await self._inputs.in_thread(
            correct_run,
            data,
            first - frames.start * pixels,
            dark,
            flats,
            mixes,
            out,
            nan,
            scales,
            None if correction.flat_dark is None else reduced[-1],
        )

    def _scales(self, frames: range, mixes: Sequence[FlatWeights]) -> list[float]:
        currents, scale = self._output.currents, self._output.correction.scale
        if not currents:
            return [] if scale == 1.0 else [scale] * len(frames)
        return [
            current_ratio(self._scaled, mix, currents[frame])
            for frame, mix in zip(frames, mixes, strict=True)
        ]


class ReducedPixels:
    """Darks or flats as the formula uses them."""

    def __init__(self, output: ReducedDataset, inputs: InputArrays) -> None:
        self._output = output
        self._inputs = inputs

    async def run(self, first: int, last: int) -> memoryview:
        """Elements [first, last) as bytes of float32."""
        data = allocate((last - first) * _ITEMSIZE, f"corrected/{self._output.name}")
        out = np.frombuffer(data, np.float32)
        position = 0
        for frame, start, stop in frame_slices(first, last, self._inputs.pixels):
            reduced = await self._inputs.reduced(self._output.frames[frame])
            out[position : position + stop - start] = reduced[start:stop]
            position += stop - start
        return data


class CorrectedBlocks:
    """Blocks of float32 pixels that are computed.  `version` is what their values depend on."""

    def __init__(
        self,
        output: CorrectedDataset | ReducedDataset,
        inputs: InputArrays,
        version: bytes,
    ) -> None:
        self.grid = block_grid(output.shape, _ITEMSIZE)
        self.owner: RefCounted = inputs
        self._key = version, output.name, "corrected"
        self._pixels: CorrectedPixels | ReducedPixels
        if isinstance(output, CorrectedDataset):
            self._pixels = CorrectedPixels(output, inputs)
        else:
            self._pixels = ReducedPixels(output, inputs)

    def key(self, block: int) -> BlockKey:
        return BlockKey(self._key, block)

    def depth(self) -> int:
        return READ_AHEAD_BLOCKS

    async def compute(self, block: int) -> memoryview:
        start, stop = self.grid.byte_range(block)
        return await self._pixels.run(start // _ITEMSIZE, stop // _ITEMSIZE)

    async def compute_part(self, start: int, stop: int, damaged: bool, /) -> memoryview | None:
        """Pixels of a damaged block are computed by themselves, others with their block."""
        if not damaged:
            return None
        first = start // _ITEMSIZE
        data = await self._pixels.run(first, -(-stop // _ITEMSIZE))
        return data[start - first * _ITEMSIZE :][: stop - start]


def open_corrected_array(
    output: CorrectedDataset | ReducedDataset, inputs: InputArrays, key: bytes
) -> BlockArray:
    """The data of `corrected/<name>.npy`, which must have at least one pixel."""
    array = BlockArray(CorrectedBlocks(output, inputs, key), inputs.context)
    inputs.attach(array)
    return array


def pixels_per_frame(output: CorrectedDataset | ReducedDataset) -> int:
    return prod(output.shape[-2:])


def _nbytes(pixels: Pixels) -> int:
    return pixels.nbytes
