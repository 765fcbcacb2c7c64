"""The flat-field correction in C: the bits of the NumPy formula, and no crash on wrong buffers."""

import array
import ctypes
import shutil
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esrffs.flatfield import formula
from esrffs.flatfield.formula import (
    KERNEL_DTYPES,
    PIXELS_PER_SLICE,
    correct,
    correct_in_c,
    correct_in_numpy,
)

needs_kernel = pytest.mark.skipif(correct_in_c is None, reason="there is no C compiler")
TILE = 2048  # of _kernel.c

NATIVE = [np.dtype(code) for code in KERNEL_DTYPES]  # "l" and "q" are one size, but two codes
OTHERS = [np.dtype(code) for code in ("?", "f2", "g", ">u2", ">i4", ">f4", ">f8", ">u8")]
LENGTHS = st.integers(0, 40) | st.sampled_from(
    [TILE - 1, TILE, TILE + 1, 2 * TILE + 3, PIXELS_PER_SLICE + 5]
)
WEIGHTS = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1 / 3, 5e-324, 1 - 2**-53])
SCALES = st.sampled_from([1.0, 2.0, 1 / 3, 1 + 1e-12, 1e300, 0.0, float("nan")])
REPLACEMENTS = st.none() | st.sampled_from([1.0, 0.0, -0.0, 1 / 3, 1e300, float("nan")])


def test_the_kernel_was_built() -> None:
    """Where there is a compiler, the C code is there, and its tests are not skipped."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not (shutil.which("cc") and header.exists()):
        pytest.skip("there is no C compiler, or no header of Python")
    assert correct_in_c is not None, "pip install --no-deps --editable . builds it"


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """To the bit, zeros' signs included; a NaN is a NaN."""
    nans = np.isnan(a) & np.isnan(b)
    return bool(np.all(nans | (a.view(np.uint32) == b.view(np.uint32))))


def shifted(values: np.ndarray, offset: int) -> np.ndarray:
    """A copy that begins `offset` bytes after an aligned address."""
    room = np.empty(values.nbytes + 16, np.uint8)
    start = -room.ctypes.data % 16 + offset
    copy = room[start : start + values.nbytes].view(values.dtype)
    copy[...] = values
    return copy


def pixels(dtype: np.dtype, count: int, seed: int) -> np.ndarray:
    """Random bit patterns: all integers; floats of every size, infinities and NaNs."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "f" and dtype.itemsize > 2 and dtype.char != "g":
        patterns = rng.integers(0, 256, count * dtype.itemsize, np.uint8).view(dtype)
        special = rng.choice(np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1, 2]), count)
        usual = rng.normal(100, 30, count)
        chosen = rng.integers(0, 3, count)
        with np.errstate(all="ignore"):
            return np.choose(chosen, [patterns.astype(dtype), special, usual]).astype(dtype)
    if dtype.kind in "iu":
        values = rng.integers(0, 256, count * dtype.itemsize, np.uint8).view(dtype).copy()
        values[rng.random(count) < 0.2] = rng.choice(np.array([0, 1, np.iinfo(dtype).max], dtype))
        return values
    return rng.integers(0, 3, count).astype(dtype)


@st.composite
def corrections(draw: st.DrawFn, dtypes: list[np.dtype]) -> dict[str, object]:
    """The arguments of `correct`, without `out`."""
    count, seed = draw(LENGTHS), draw(st.integers(0, 1 << 30))
    offsets = draw(st.lists(st.sampled_from([0, 4, 1, 2, 3, 7]), min_size=5, max_size=5))
    names = ("dark", "first", "second", "flat_dark")
    floats = {
        name: shifted(pixels(np.dtype("f4"), count, seed + k), offsets[k])
        for k, name in enumerate(names)
    }
    raw = shifted(pixels(draw(st.sampled_from(dtypes)), count, seed + 9), offsets[4])
    alone = draw(st.booleans())
    return floats | {
        "raw": raw,
        "second": floats["first"] if alone else floats["second"],
        "flat_dark": draw(st.sampled_from([None, floats["flat_dark"]])),
        "weight": draw(WEIGHTS),
        "scale": draw(SCALES),
        "nan": draw(REPLACEMENTS),
    }


def check(arguments: dict[str, object], offset: int) -> None:
    count = len(arguments["raw"])
    expected = np.full(count, -7, np.float32)
    out = shifted(np.full(count + 2, -7, np.float32), offset)
    correct_in_numpy(**arguments, out=expected)
    correct(**arguments, out=out[1:-1])
    assert same(out[1:-1], expected)
    assert (out[0], out[-1]) == (-7, -7)


@needs_kernel
@given(corrections(NATIVE), st.integers(0, 5))
def test_c_has_the_bits_of_numpy(arguments: dict[str, object], offset: int) -> None:
    check(arguments, offset)


@needs_kernel
@given(corrections(OTHERS), st.integers(0, 5))
def test_other_dtypes_are_converted_by_numpy(arguments: dict[str, object], offset: int) -> None:
    check(arguments, offset)


@needs_kernel
@pytest.mark.parametrize("dtype", NATIVE, ids=lambda dtype: dtype.char)
def test_numbers_that_float32_has_to_round(dtype: np.dtype) -> None:
    """All values of 8 and 16 bits; halves of float32's steps and their neighbours beyond."""
    if dtype.itemsize < 4:
        info = np.iinfo(dtype)
        raw = np.arange(info.min, info.max + 1).astype(dtype)
    else:
        bits = 63 if dtype.itemsize == 8 else 31
        top = [(1 << bits - 1) + (k << bits - 26) + d for k in range(64) for d in (-1, 0, 1)]
        raw = np.array([*top, *(-t for t in top if dtype.kind != "u")]).astype(dtype)
    zeros, ones = np.zeros(len(raw), np.float32), np.ones(len(raw), np.float32)
    out = np.empty(len(raw), np.float32)
    correct(raw, zeros, ones, ones, 0.0, out)
    assert same(out, raw.astype(np.float32))


@pytest.mark.parametrize("path", ["C", "NumPy"])
def test_both_ways_are_the_formula(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONTRACT §7 written out for whole arrays, and each way of computing against it."""
    if path == "NumPy":
        monkeypatch.setattr(formula, "correct_in_c", None)
    elif correct_in_c is None:
        pytest.skip("there is no C compiler")
    rng = np.random.default_rng(5)
    raw = rng.integers(0, 65536, PIXELS_PER_SLICE + 4097).astype(np.uint16)
    dark, first, second = (rng.random((3, len(raw))) * 65536).astype(np.float32)
    dark[:3] = first[:3] = second[:3]
    flat = (first.astype(float) * (1 - 1 / 3) + second.astype(float) * (1 / 3)).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = (raw.astype(np.float32) - dark) / (flat - dark)
    out = np.empty(len(raw), np.float32)
    formula.correct(raw, dark, first, second, 1 / 3, out)
    assert same(out, expected)
    expected[~np.isfinite(expected)] = 1
    formula.correct(raw, dark, first, second, 1 / 3, out, nan=1.0)
    assert same(out, expected)


# Wrong arguments: an exception, nothing written, no crash

SIZE = 24


def floats(count: int = SIZE) -> np.ndarray:
    return np.ones(count, np.float32)


def wrong_buffers() -> Iterator[tuple[str, object]]:
    yield "nothing", None
    yield "a number", 7
    yield "a list", [1.0] * SIZE
    yield "a text", "x" * SIZE
    yield "shorter", floats(SIZE - 1)
    yield "longer", floats(SIZE + 1)
    yield "empty", floats(0)
    yield "no axis", np.float32(1).reshape(())
    yield "two axes", floats().reshape(4, 6)
    yield "strided", floats(2 * SIZE)[::2]
    yield "backwards", floats()[::-1]
    for code in ("?", "f2", "g", ">f4", ">u2", "F", "S4", "U1", "V4", "f4,f4"):
        yield code, np.zeros(SIZE, code)
    yield "integers", array.array("i", [1] * SIZE)
    yield "characters", (ctypes.c_char * SIZE)()


WRONG = dict(wrong_buffers())
RIGHT = {("second", "nothing"), ("raw", "integers")}
PLACES = ("raw", "dark", "flat_dark", "first", "second", "out")
ERRORS = (TypeError, ValueError, BufferError)


def call(**given: object) -> None:
    all_ = {place: floats() for place in PLACES} | {"weight": 0.5, "scale": 1.0, "nan": None}
    all_ |= given
    order = ("raw", "dark", "flat_dark", "first", "second", "weight", "scale", "nan", "out")
    correct_in_c(*(all_[name] for name in order))


@needs_kernel
@pytest.mark.parametrize(
    ("place", "kind"), sorted({(place, kind) for place in PLACES for kind in WRONG} - RIGHT)
)
def test_a_wrong_buffer_is_an_exception(place: str, kind: str) -> None:
    out = floats()
    with pytest.raises(ERRORS):
        call(**{"out": out, place: WRONG[kind]})
    assert np.all(out == 1)


@needs_kernel
def test_other_wrong_arguments() -> None:
    fixed = floats()
    fixed.flags.writeable = False
    for wrong in ({"out": fixed}, {"out": bytes(4 * SIZE)}, {"weight": "x"}, {"nan": "x"}):
        with pytest.raises(ERRORS):
            call(**wrong)
    for count in (0, 8, 10):
        with pytest.raises(TypeError):
            correct_in_c(*[floats()] * count)
    for place in PLACES[1:]:  # only raw may be anything but float32
        for dtype in NATIVE:
            if dtype != np.float32:
                with pytest.raises(ValueError, match="dtype"):
                    call(**{place: np.ones(SIZE, dtype)})


@needs_kernel
@given(
    st.lists(
        hnp.arrays(
            hnp.scalar_dtypes() | hnp.array_dtypes() | st.just(np.dtype("f4")),
            hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4),
        )
        | st.binary(max_size=16)
        | st.just(floats(4)),
        min_size=6,
        max_size=6,
    )
)
@example([floats(4)] * 6)
def test_any_buffers_at_all(buffers: list[object]) -> None:
    raw, dark, flat_dark, first, second, out = buffers
    try:
        correct_in_c(raw, dark, flat_dark, first, second, 0.5, 1.0, 1.0, out)
    except ERRORS:
        return
    assert {len(raw), *map(len, buffers)} == {len(raw)}
    assert {np.dtype(each.dtype) for each in buffers[1:]} == {np.dtype(np.float32)}


@needs_kernel
def test_buffers_are_released() -> None:
    data = bytearray(4 * SIZE)
    view = np.frombuffer(data, np.float32)
    call(raw=view)
    with pytest.raises(ERRORS):
        call(raw=view, out=None)
    del view
    data.extend(b"x")  # BufferError while somebody holds the buffer


@needs_kernel
def test_other_threads_run_meanwhile() -> None:
    """Four threads correct the same pixels into arrays of their own."""
    rng = np.random.default_rng(2)
    raw = rng.integers(0, 65536, 1 << 18).astype(np.uint16)
    dark, first, second = rng.random((3, len(raw)), dtype=np.float32)
    outs = [np.empty(len(raw), np.float32) for _ in range(4)]
    threads = [
        threading.Thread(target=correct, args=(raw, dark, first, second, 0.25, out)) for out in outs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = np.empty(len(raw), np.float32)
    correct_in_numpy(raw, dark, first, second, 0.25, expected)
    assert all(same(out, expected) for out in outs)
