"""flatfield: any run of any stack has the bits that the whole-array formula gives."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.flatfield.formula import (
    PIXELS_PER_MEDIAN,
    PIXELS_PER_SLICE,
    FlatInterpolation,
    FlatWeights,
    RunningMean,
    as_float32,
    correct_run,
    current_ratio,
    frame_slices,
    median,
    per_exposure,
    pixel_bands,
)
from tests.support.flat_field import f32, images, same, whole
from tests.support.real_data import DATA


@st.composite
def scans(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    numbers = st.integers(-10, 600) | st.floats(-10, 600)
    abscissae = draw(st.lists(numbers, min_size=m, max_size=m, unique=True).map(sorted))
    at = draw(st.lists(numbers | st.sampled_from(abscissae), min_size=n, max_size=n))
    raw, flats = draw(images(n, shape)), draw(images(m, shape))
    dark = draw(images(1, shape))[0]
    return raw, at, dark, flats, [float(a) for a in abscissae]


@given(
    scans(),
    st.sampled_from(["linear", "nearest", "first"]),
    st.none() | st.sampled_from([1.0, 0.0]),
    st.booleans(),
    st.data(),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the oracle
def test_any_run_is_that_part_of_the_whole(scan, method, nan, normalised, data):
    raw, at, dark, flats, abscissae = scan
    axis = FlatInterpolation(tuple(abscissae), method)
    mixes = [axis.weights_at(i) for i in at]
    ratios = [0.5 + k / 7 for k in range(len(at))] if normalised else None
    with np.errstate(all="ignore"):
        expected = whole(raw, at, dark, flats, abscissae, method, nan, ratios).reshape(-1)
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, raw.size)] * 2)))
    begin = first // dark.size
    out = np.full(last - first, -7, np.float32)
    correct_run(
        raw.reshape(-1)[first:last],
        first,
        as_float32(dark),
        {k: as_float32(flat) for k, flat in enumerate(flats)},
        mixes[begin:],
        out,
        nan,
        ratios[begin:] if ratios else (),
    )
    assert same(out, expected[first:last])


def test_runs_longer_than_a_slice():
    pixels = PIXELS_PER_SLICE + 4097
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 65536, (2, 1, pixels)).astype(">u2")
    flats, dark = rng.random((2, 1, pixels)) * 6e4, rng.random((1, pixels)) * 100
    expected = whole(raw, [100, 433], dark, flats, [0.0, 500.0]).reshape(-1)
    axis = FlatInterpolation((0.0, 500.0))
    out = np.empty(raw.size - 5, np.float32)
    prepared = {k: as_float32(flat) for k, flat in enumerate(flats)}
    correct_run(
        raw.reshape(-1)[5:],
        5,
        as_float32(dark),
        prepared,
        [axis.weights_at(100), axis.weights_at(433)],
        out,
    )
    assert same(out, expected[5:])


def test_mix():
    axis = FlatInterpolation((0.0, 100.0, 400.0))
    assert axis.weights_at(-1) == FlatWeights(0, 0, 0.0)
    assert axis.weights_at(100) == FlatWeights(1, 1, 0.0)
    assert axis.weights_at(175) == FlatWeights(1, 2, 0.25)
    assert axis.weights_at(1e9) == FlatWeights(2, 2, 0.0)
    nearest = FlatInterpolation((0.0, 500.0), "nearest")
    assert [nearest.weights_at(i).first for i in (249, 250, 251)] == [0, 1, 1]
    assert FlatInterpolation((0.0, 500.0), "first").weights_at(500) == FlatWeights(0, 0, 0.0)


@pytest.mark.parametrize("abscissae", [(), (1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))])
def test_abscissae_that_make_no_sense(abscissae):
    with pytest.raises(ValueError, match="abscissae"):
        FlatInterpolation(abscissae)


@given(st.integers(1, 9), st.integers(0, 60), st.integers(0, 60))
def test_pieces_cover_the_run_once(pixels, first, count):
    covered = [
        p.frame * pixels + i
        for p in frame_slices(first, first + count, pixels)
        for i in range(p.start, p.stop)
    ]
    assert covered == list(range(first, first + count))


@given(st.integers(1, 12).flatmap(lambda n: images(n, (1, 5))))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_reductions_are_numpys_of_float32_frames(frames):
    run = frames.reshape(len(frames), -1)
    mean = RunningMean(run.shape[1])
    mean.add(run[:1])
    mean.add(run[1:])
    with np.errstate(all="ignore"):
        assert same(mean.result(), np.mean(f32(frames), axis=0).reshape(-1))
        assert same(median(run), np.median(f32(frames), axis=0).reshape(-1))


def test_median_of_more_pixels_than_lanes():
    run = np.random.default_rng(5).integers(0, 65536, (6, PIXELS_PER_MEDIAN + 11)).astype(np.uint16)
    assert same(median(run), np.median(f32(run), axis=0))


def test_accumulated_dark():
    mean = RunningMean(2)
    mean.add(np.array([[20000, 3]], np.uint16))
    assert same(
        per_exposure(mean.result(), 20),
        np.array([1000, np.float32(3) / np.float32(20)], np.float32),
    )


def test_reductions_of_nothing():
    with pytest.raises(ValueError, match="no frames"):
        RunningMean(3).result()
    with pytest.raises(ValueError, match="no frames"):
        median(np.empty((0, 3)))


@given(st.integers(1, 50), st.integers(1, 500), st.sampled_from([1, 2, 4]), st.integers(1, 4000))
def test_bands(frames, pixels, itemsize, limit):
    cut = list(pixel_bands(frames, pixels, itemsize, limit))
    assert [p for start, stop in cut for p in range(start, stop)] == list(range(pixels))
    assert all((b - a) * frames * itemsize <= limit or b - a == 1 for a, b in cut)


def test_current_ratio():
    assert current_ratio([200.0, 100.0], FlatWeights(0, 1, 0.25), 50.0) == 3.5
    assert current_ratio([200.0], FlatWeights(0, 0, 0.0), 0.0) == np.inf


@pytest.mark.skipif(not DATA.exists(), reason="the training's data are not here")
def test_the_trainings_solution():
    with h5py.File(DATA / "ID16B_diatomee.h5", "r", locking=False) as file:
        dark = file["dark/0000"][()].astype(np.float32)
        one = file["flatfield/0000"][()].astype(np.float32)
        two = file["flatfield/0500"][()].astype(np.float32)
        raws = {name: file["data"][name][()] for name in file["data"]}
    axis = FlatInterpolation((0.0, 500.0))
    for name, raw in raws.items():
        coef = np.clip(int(name) / 500, 0, 1)
        flat = (one * (1.0 - coef) + two * coef).astype(np.float32)
        with np.errstate(all="ignore"):
            expected = (raw.astype(np.float32) - dark) / (flat - dark)
        out = np.empty(raw.size, np.float32)
        flats = {0: one.reshape(-1), 1: two.reshape(-1)}
        correct_run(raw.reshape(-1), 0, dark.reshape(-1), flats, [axis.weights_at(int(name))], out)
        assert np.array_equal(out.reshape(raw.shape), expected, equal_nan=True)
        assert same(out, expected.reshape(-1))


@given(st.data(), st.sampled_from([1.0, 2.5]))
def test_a_dark_of_its_own_for_the_flats(data, scale):
    raw, flats, darks = (data.draw(images(count, (2, 5))) for count in (3, 2, 2))
    dark, flat_dark = (as_float32(one) for one in darks)
    pixels = {k: as_float32(flat) for k, flat in enumerate(flats)}
    mixes = [FlatInterpolation((0.0, 4.0)).weights_at(float(k)) for k in range(3)]
    first, last = sorted(data.draw(st.tuples(st.integers(0, 30), st.integers(0, 30))))
    out = np.empty(last - first, np.float32)
    scales = [scale] * 3
    part = raw.reshape(-1)[first:last]
    begin = first // 10
    correct_run(part, first, dark, pixels, mixes[begin:], out, None, scales[begin:], flat_dark)
    expected = np.empty((3, 10), np.float32)
    with np.errstate(all="ignore"):
        for k, image in enumerate(raw):
            w = np.float64(k / 4)
            flat = f32(pixels[0] * (1 - w) + pixels[1] * w) if k else pixels[0]
            expected[k] = (f32(image).reshape(-1) - dark) / (flat - flat_dark)
            if scale != 1.0:
                expected[k] *= np.float32(scale)
    assert same(out, expected.reshape(-1)[first:last])
