"""absorption: -ln of corrected pixels, to the bit of NumPy's float32, wherever a run begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esrffs.flatfield.formula import PIXELS_PER_SLICE, absorb
from tests.support.flat_field import same

PIXELS = hnp.arrays(np.float32, st.integers(0, 70), elements=st.floats(width=32))


def expected(pixels: np.ndarray, nan: float | None) -> np.ndarray:
    with np.errstate(all="ignore"):
        found = -np.log(pixels)
    if nan is not None:
        found[(pixels <= 0) | ~np.isfinite(pixels)] = nan
    return found


@given(PIXELS, st.none() | st.sampled_from([0.0, 1.0, -7.5]), st.data())
def test_any_run_of_pixels(pixels: np.ndarray, nan: float | None, data: st.DataObject) -> None:
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(pixels))] * 2)))
    made = pixels[start:stop].copy()
    absorb(made, nan)
    assert same(made, expected(pixels, nan)[start:stop])


@pytest.mark.parametrize("nan", [None, 2.0])
def test_more_than_a_slice(nan: float | None) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.normal(0.5, 1, 2 * PIXELS_PER_SLICE + 11).astype(np.float32)
    made = pixels.copy()
    absorb(made, nan)
    assert same(made, expected(pixels, nan))
