"""The flat-field correction `(raw - dark) / (flat - dark)`: formula, weights, reductions.

Computes every number of `corrected/`, to the bit, from arrays in memory.  Does not: choose which
images are raw, flat or dark (`conventions`), or read them (`corrected_array`).

Everything is cast to float32 first, and all arithmetic is float32, but for one thing: the flat
between two flats is evaluated in float64 and rounded once.  Because every operation works on one
pixel at a time, any run of pixels has the values that it has in the whole array.  Images are flat
here: one axis of `pixels` = y·x elements in C order; a run of frames is `(frames, pixels)`.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

try:
    from esrffs.flatfield._kernel import correct as correct_in_c
except ImportError:  # esrffs was installed without a C compiler
    correct_in_c = None  # type: ignore[assignment]

Method = Literal["linear", "nearest", "first"]
Pixels = npt.NDArray[np.float32]
Raw = npt.NDArray[Any]  # any real dtype, either byte order

PIXELS_PER_SLICE = (
    1 << 17
)  # pixels worked on at a time: 1 MiB of float64, small enough for the caches
PIXELS_PER_MEDIAN = 1 << 14  # pixels whose median is taken at a time
KERNEL_DTYPES = "bBhHiIlLqQfd"  # codes of the native dtypes that `_kernel.c` converts to float32


class FlatWeights(NamedTuple):
    """Which flats make up the flat of one frame: `first*(1-weight) + second*weight`.

    `first == second` where one flat serves alone; `weight` is then 0.
    """

    first: int
    second: int
    weight: float


@dataclass(frozen=True, slots=True)
class FlatInterpolation:
    """Where on the axis of abscissae the flats stand, and how to go from one to the next."""

    abscissae: tuple[float, ...]  # strictly increasing, finite
    method: Method = "linear"

    def __post_init__(self) -> None:
        if not self.abscissae or not all(map(isfinite, self.abscissae)):
            raise ValueError(f"flats need finite abscissae: {self.abscissae}")
        if any(a >= b for a, b in pairwise(self.abscissae)):
            raise ValueError(f"abscissae of flats must increase: {self.abscissae}")

    def weights_at(self, abscissa: float) -> FlatWeights:
        """The flat for a frame at this abscissa.

        Outside the range, and exactly at a flat, the nearest flat serves alone.  "nearest" takes
        the later one when both are as near; "first" always the first.
        """
        after = bisect_left(self.abscissae, abscissa)  # first flat at or after the frame
        if self.method == "first" or after == 0:
            return FlatWeights(0, 0, 0.0)
        if after == len(self.abscissae):
            return FlatWeights(after - 1, after - 1, 0.0)
        a, b = self.abscissae[after - 1], self.abscissae[after]
        if abscissa == b:
            return FlatWeights(after, after, 0.0)
        if self.method == "nearest":
            nearest = after - 1 if abscissa - a < b - abscissa else after
            return FlatWeights(nearest, nearest, 0.0)
        return FlatWeights(after - 1, after, (abscissa - a) / (b - a))


class FrameSlice(NamedTuple):
    """Pixels [start, stop) of one frame."""

    frame: int
    start: int
    stop: int


def frame_slices(first: int, last: int, pixels: int) -> Iterator[FrameSlice]:
    """The frames under elements [first, last) of a stack whose frames have so many pixels."""
    while first < last:
        frame, start = divmod(first, pixels)
        stop = min(pixels, start + last - first)
        yield FrameSlice(frame, start, stop)
        first += stop - start


def correct(
    raw: Raw,
    dark: Pixels,
    first: Pixels,
    second: Pixels,
    weight: float,
    out: Pixels,
    nan: float | None = None,
    scale: float = 1.0,
    flat_dark: Pixels | None = None,
) -> None:
    """Write `(raw - dark) / (flat - dark) * scale` for pixels of one frame into `out`.

    All arrays have one axis of the same length and are contiguous.  `raw` may have any real dtype
    in either byte order; the others are float32.  `first` and `second` are the flats of the
    `FlatWeights`; where one serves alone they are the same object.  With `flat_dark` the divisor
    is `flat - flat_dark`.  Division by zero gives what IEEE 754 says; if `nan` is given, it
    replaces all that is not finite.

    C computes where esrffs was built with a compiler, else NumPy: the bits are the same.
    """
    if correct_in_c is None:
        correct_in_numpy(raw, dark, first, second, weight, out, nan, scale, flat_dark)
        return
    under = dark if flat_dark is None else flat_dark
    other = None if second is first else second
    if raw.dtype.isnative and raw.dtype.char in KERNEL_DTYPES:
        correct_in_c(raw, dark, under, first, other, weight, scale, nan, out)
        return
    for start in range(0, len(raw), PIXELS_PER_SLICE):
        part = slice(start, start + PIXELS_PER_SLICE)
        values, right = out[part], None if other is None else other[part]
        with np.errstate(all="ignore"):
            values[...] = raw[part]
        correct_in_c(
            values, dark[part], under[part], first[part], right, weight, scale, nan, values
        )


def correct_in_numpy(
    raw: Raw,
    dark: Pixels,
    first: Pixels,
    second: Pixels,
    weight: float,
    out: Pixels,
    nan: float | None = None,
    scale: float = 1.0,
    flat_dark: Pixels | None = None,
) -> None:
    """What `correct` does, without C."""
    size = min(PIXELS_PER_SLICE, len(raw))
    flat, left, right = np.empty(size, np.float32), np.empty(size), np.empty(size)
    alone = second is first
    with np.errstate(all="ignore"):
        for start in range(0, len(raw), PIXELS_PER_SLICE):
            part = slice(start, start + PIXELS_PER_SLICE)
            result, below = out[part], dark[part]
            under = below if flat_dark is None else flat_dark[part]
            divisor = flat[: len(result)]
            if alone:
                np.subtract(first[part], under, out=divisor)
            else:
                _between(first[part], second[part], weight, divisor, left, right)
                divisor -= under
            result[...] = raw[part]
            result -= below
            result /= divisor
            if scale != 1.0:
                result *= np.float32(scale)
            if nan is not None:
                result[~np.isfinite(result)] = nan


def absorb(pixels: Pixels, nan: float | None = None) -> None:
    """Write -ln of corrected pixels in their place: one axis, float32, natural logarithm.

    -ln of 0 is inf, of a negative number NaN, of inf -inf; `nan` stands in for all of them.
    """
    with np.errstate(all="ignore"):
        for start in range(0, len(pixels), PIXELS_PER_SLICE):
            part = pixels[start : start + PIXELS_PER_SLICE]
            np.log(part, out=part)
            np.negative(part, out=part)
            if nan is not None:
                part[~np.isfinite(part)] = nan


def _between(
    first: Pixels,
    second: Pixels,
    weight: float,
    out: Pixels,
    left: npt.NDArray[np.float64],
    right: npt.NDArray[np.float64],
) -> None:
    """`first*(1-weight) + second*weight` in float64, rounded once; `left`, `right` are scratch.

    Copies that cast, then arithmetic in place: half again as fast as ufuncs that cast.
    """
    left, right = left[: len(out)], right[: len(out)]
    left[...] = first
    left *= 1.0 - weight
    right[...] = second
    right *= weight
    left += right
    out[...] = left


def correct_run(
    raw: Raw,
    first: int,
    dark: Pixels,
    flats: Mapping[int, Pixels],
    mixes: Sequence[FlatWeights],
    out: Pixels,
    nan: float | None = None,
    scales: Sequence[float] = (),
    flat_dark: Pixels | None = None,
) -> None:
    """Correct elements [first, first + len(raw)) of a stack; `raw` and `out` have one axis.

    `dark`, `flat_dark` (if it is another) and `flats` (by number, those that the mixes name) are
    whole frames.  `mixes[k]`, and `scales[k]` if there are any, belong to the k-th frame that is
    touched.
    """
    pixels = len(dark)
    begin = first // pixels if pixels else 0
    for frame, start, stop in frame_slices(first, first + len(raw), pixels):
        mix = mixes[frame - begin]
        here = slice(frame * pixels + start - first, frame * pixels + stop - first)
        one = flats[mix.first][start:stop]
        correct(
            raw[here],
            dark[start:stop],
            one,
            one if mix.second == mix.first else flats[mix.second][start:stop],
            mix.weight,
            out[here],
            nan,
            scales[frame - begin] if scales else 1.0,
            None if flat_dark is None else flat_dark[start:stop],
        )


def current_ratio(flats: Sequence[float], mix: FlatWeights, raw: float) -> float:
    """Machine current of the flat, interpolated like the flat, over that of the raw frame."""
    current = flats[mix.first]
    if mix.second != mix.first:
        current = current * (1.0 - mix.weight) + flats[mix.second] * mix.weight
    with np.errstate(all="ignore"):
        return float(np.float64(current) / np.float64(raw))


def as_float32(image: Raw) -> Pixels:
    """The pixels, in C order, as everything here wants them."""
    with np.errstate(all="ignore"):  # a float64 beyond float32 is an infinity, silently
        return np.ascontiguousarray(image, dtype=np.float32).reshape(-1)


class RunningMean:
    """The mean of a run of frames, added in their order: what `np.mean` of float32 frames gives.

    The sum is kept in float32, as numpy keeps it.
    """

    def __init__(self, pixels: int) -> None:
        self._sum = np.zeros(pixels, np.float32)
        self._count = 0

    def __repr__(self) -> str:
        return f"RunningMean({len(self._sum)} pixels, {self._count} frames)"

    def add(self, frames: Raw) -> None:
        """Add frames (frames, pixels)."""
        with np.errstate(all="ignore"):
            for frame in frames:
                self._sum += as_float32(frame)
        self._count += len(frames)

    def result(self) -> Pixels:
        if not self._count:
            raise ValueError("the mean of no frames")
        return self._sum / np.float32(self._count)


def per_exposure(frame: Pixels, exposures: int) -> Pixels:
    """One exposure, of a frame that is the sum of so many."""
    return frame if exposures == 1 else frame / np.float32(exposures)


def median(frames: Raw) -> Pixels:
    """The median of a run (frames, pixels): what `np.median` of float32 frames gives.

    Rounding to float32 keeps the order, so the middle is found in the frames' own dtype, in
    slices of pixels; memory beyond the frames themselves is a few MiB.
    """
    count, pixels = frames.shape
    if not count:
        raise ValueError("the median of no frames")
    out = np.empty(pixels, np.float32)
    native = frames.dtype.newbyteorder("=")
    with np.errstate(all="ignore"):
        for start in range(0, pixels, PIXELS_PER_MEDIAN):
            part = slice(start, start + PIXELS_PER_MEDIAN)
            lanes = frames[:, part].T.astype(native, order="C")
            out[part] = _middle(lanes)
    return out


def _middle(lanes: Raw) -> Pixels:
    """The median of each row; NaN where the row has one.  Sorts the rows in place."""
    count, half = lanes.shape[1], lanes.shape[1] // 2
    lanes.partition(sorted({max(half - 1, 0), half, count - 1}), axis=1)
    middle = lanes[:, half].astype(np.float32)
    if count % 2 == 0:
        middle += lanes[:, half - 1].astype(np.float32)
        middle /= np.float32(2)
    middle += np.float32(0)  # a zero is positive, as in a mean
    if lanes.dtype.kind == "f":
        middle[np.isnan(lanes[:, -1])] = np.nan
    return middle


def pixel_bands(frames: int, pixels: int, itemsize: int, limit: int) -> Iterator[tuple[int, int]]:
    """Cut the pixels of a run into [start, stop) so that no band of it is above `limit` bytes."""
    width = max(1, limit // max(1, frames * itemsize))
    for start in range(0, pixels, width):
        yield start, min(start + width, pixels)
