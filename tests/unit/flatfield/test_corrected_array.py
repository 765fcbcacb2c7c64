"""corrections: any bytes of any output are those of the whole-array formula; no mount, no files."""

from dataclasses import dataclass
from itertools import accumulate
from types import SimpleNamespace

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esrffs.background import DecodeThreads, ReadAheadBudget
from esrffs.cache import ByteCache
from esrffs.flatfield import corrected_array as corrected_module
from esrffs.flatfield.corrected_array import CorrectedPixels, InputArrays, open_corrected_array
from esrffs.flatfield.plan import (
    CorrectedDataset,
    Correction,
    Flat,
    FrameRange,
    RawRun,
    ReducedFrame,
)
from tests.support.flat_field import DTYPES, f32, same, whole


@dataclass
class ArrayFrames:
    array: np.ndarray
    reads: list[int]

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    async def read(self, first: int, last: int) -> np.ndarray:
        await trio.lowlevel.checkpoint()
        self.reads.append(last - first)
        return self.array.reshape(-1)[first:last]


class FakeSupplies(InputArrays):
    """Arrays in memory by path."""

    def __init__(self, arrays: dict[str, np.ndarray], pixels: int, cache: int = 1 << 20) -> None:
        locations = {path: SimpleNamespace(key=path.encode()) for path in arrays}
        context = SimpleNamespace(
            cache=ByteCache(cache),
            start_task=lambda *_: None,
            threads=DecodeThreads(),
            read_ahead=ReadAheadBudget(0),
        )
        super().__init__(context, locations, pixels)  # type: ignore[arg-type]  # all that it uses
        self.reads: list[int] = []
        self._fake = {path: ArrayFrames(array, self.reads) for path, array in arrays.items()}

    async def frames(self, path: str) -> ArrayFrames:  # type: ignore[override]  # a double of it
        return self._fake[path]

    def hold(self) -> None:
        pass

    def close(self) -> None:
        pass


def reduce(frames: ReducedFrame, arrays: dict[str, np.ndarray]) -> np.ndarray:
    runs = [f32(arrays[part.path][part.first : part.last]) for part in frames.parts]
    run = np.concatenate(runs)
    reduction = np.mean if frames.reduction == "mean" else np.median
    one = run[0] if len(run) == 1 else reduction(run, axis=0)
    return one if frames.divisor == 1 else one / np.float32(frames.divisor)


@st.composite
def outputs(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(2, 5)))
    arrays: dict[str, np.ndarray] = {}

    def part(most: int) -> FrameRange:
        path = f"array {len(arrays)}"
        dtype = draw(st.sampled_from(DTYPES))
        arrays[path] = draw(hnp.arrays(dtype, (draw(st.integers(1, most)), *shape)))
        first = draw(st.integers(0, len(arrays[path]) - 1))
        return FrameRange(path, first, draw(st.integers(first + 1, len(arrays[path]))))

    def reduced() -> ReducedFrame:
        parts = tuple(part(4) for _ in range(draw(st.integers(1, 2))))
        reduction = draw(st.sampled_from(["mean", "median"]))
        return ReducedFrame(parts, reduction, draw(st.sampled_from([1, 1, 20])))

    numbers = st.integers(-(10**15), 10**15) | st.integers(-3, 12) | st.floats(-3, 12)
    at = draw(st.lists(numbers.map(float), min_size=1, max_size=4, unique=True).map(sorted))
    method = draw(st.sampled_from(["linear", "nearest", "first"]))
    nan = draw(st.none() | st.just(1.0))
    flats = tuple(Flat(abscissa, reduced()) for abscissa in at)
    correction = Correction(reduced(), flats, method, nan)
    raw = [RawRun(part(3), float(draw(st.integers(-2, 9)))) for _ in range(draw(st.integers(1, 3)))]
    frames = sum(stretch.part.last - stretch.part.first for stretch in raw)
    return CorrectedDataset("x", (frames, *shape), tuple(raw), correction), arrays


def expected(output: CorrectedDataset, arrays: dict[str, np.ndarray]) -> np.ndarray:
    flats = [reduce(flat.frames, arrays) for flat in output.correction.flats]
    dark = reduce(output.correction.dark, arrays)
    at = [flat.abscissa for flat in output.correction.flats]
    made = []
    for stretch in output.raw:
        raw = arrays[stretch.part.path][stretch.part.first : stretch.part.last]
        where = [stretch.abscissa + k for k in range(len(raw))]
        method, nan = output.correction.method, output.correction.nan
        made.append(whole(raw, where, dark, flats, at, method, nan))
    return np.concatenate(made)


@settings(max_examples=150)
@given(outputs(), st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the oracle
def test_any_bytes_of_any_output(drawn, data) -> None:
    output, arrays = drawn
    with np.errstate(all="ignore"):
        array = expected(output, arrays)
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, array.size)] * 2)))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, array.nbytes)] * 2)))
    inputs = FakeSupplies(arrays, array[0].size)

    async def read() -> tuple[bytes, bytes, bytes]:
        run = bytes(await CorrectedPixels(output, inputs).run(first, last)) if first < last else b""
        made = open_corrected_array(output, inputs, b"key")
        part = bytes(await made.read(start, stop)) if start < stop else b""
        return run, part, bytes(await made.read(0, array.nbytes))

    at_once = corrected_module.MEDIAN_NBYTES
    corrected_module.MEDIAN_NBYTES = data.draw(
        st.sampled_from([1, 50, at_once])
    )  # bands of the median
    try:
        run, part, everything = trio.run(read)
    finally:
        corrected_module.MEDIAN_NBYTES = at_once
    assert same(np.frombuffer(run, "f4"), array.reshape(-1)[first:last])
    assert same(np.frombuffer(everything, "f4"), array.reshape(-1))
    assert part == everything[start:stop]


def scan(frames: int, pixels: int) -> tuple[CorrectedDataset, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.integers(0, 999, (count, 1, pixels)).astype("u2")
        for name, count in (("raw", frames), ("dark", 5), ("one", 6), ("two", 7))
    }
    flats = tuple(
        Flat(at, ReducedFrame((FrameRange(name, 0, len(arrays[name])),), "median"))
        for at, name in ((0.0, "one"), (frames - 1.0, "two"))
    )
    correction = Correction(ReducedFrame((FrameRange("dark", 0, 5),), "mean"), flats)
    raw = (RawRun(FrameRange("raw", 0, frames), 0.0),)
    return CorrectedDataset("x", (frames, 1, pixels), raw, correction), arrays


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_read_costs_what_is_under_it_and_flats_once() -> None:
    output, arrays = scan(40, 1 << 20)
    inputs = FakeSupplies(arrays, 1 << 20, cache=64 << 20)

    async def read() -> None:
        array = open_corrected_array(output, inputs, b"key")
        await array.read(21 << 22, (21 << 22) + 100)
        assert sum(inputs.reads) == (1 + 5 + 6 + 7) << 20
        inputs.reads.clear()
        await array.read((30 << 22) + 5, (30 << 22) + 7)
        assert sum(inputs.reads) == 1 << 20
        inputs.reads.clear()
        await array.read((30 << 22) + 5, (30 << 22) + 7)
        assert not inputs.reads

    trio.run(read)


def test_readers_at_once_share_the_work() -> None:
    output, arrays = scan(4, 1 << 20)
    inputs = FakeSupplies(arrays, 1 << 20, cache=64 << 20)
    with np.errstate(all="ignore"):
        array = expected(output, arrays)
    content = bytearray(array.nbytes)
    part = 1 << 19

    async def read(made, starts: range) -> None:
        for start in starts:
            content[start : start + part] = await made.read(start, start + part)

    async def main() -> None:
        made = open_corrected_array(output, inputs, b"key")
        async with trio.open_nursery() as nursery:
            for k in range(8):
                nursery.start_soon(read, made, range(k * part, array.nbytes, 8 * part))

    trio.run(main)
    assert sum(inputs.reads) == (4 + 5 + 6 + 7) << 20
    assert same(np.frombuffer(content, "f4"), array.reshape(-1))


@pytest.mark.parametrize("moment", range(1, 12))
def test_who_gives_up_spoils_nothing(moment: int) -> None:
    """A reader is cancelled at its n-th pause; the next one gets the right bytes."""
    output, arrays = scan(2, 1000)
    inputs = FakeSupplies(arrays, 1000)
    with np.errstate(all="ignore"):
        array = expected(output, arrays)
    pauses = accumulate(iter(lambda: 1, 0))

    async def main() -> bytes:
        made = open_corrected_array(output, inputs, b"key")
        with trio.CancelScope() as scope:
            frames = inputs._fake["one"], inputs._fake["dark"], inputs._fake["raw"]
            for one in frames:
                original = one.read

                async def read(first, last, original=original):
                    if next(pauses) == moment:
                        scope.cancel()
                    return await original(first, last)

                one.read = read
            await made.read(0, array.nbytes)
        return bytes(await made.read(0, array.nbytes))

    content = trio.run(main)
    assert same(np.frombuffer(content, "f4"), array.reshape(-1))
