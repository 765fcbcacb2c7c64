"""The corrected stack of a mounted NXtomo scan is that of nabu."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.flat_field import formula, mean, median
from tests.support.nabu_scans import KEYS, nabus, nxtomo_scan


@pytest.fixture(params=["<u2", "<f4"])
def scan(request, tmp_path):
    """An NXtomo file: its path and its raw frames."""
    return nxtomo_scan(tmp_path, request.param)


def test_nabu_through_a_mount(scan, mount):
    """nabu to 2 ulp, the contract's formula to the bit."""
    path, data = scan
    mounted = mount(Path(path).parent)
    made = np.load(mounted / "scan.nx/entry/corrected/data.npy")
    np.testing.assert_array_max_ulp(made, nabus(path, data), 2)
    index = np.flatnonzero(np.array(KEYS) == 0)
    flats = [median(data[a:b]) for a, b in ((3, 7), (11, 14), (17, 19))]
    np.testing.assert_array_equal(
        made, formula(data[index], mean(data[:3]), flats, (3, 11, 17), index)
    )
    angles = np.linspace(0, 180, len(KEYS))[index]
    np.testing.assert_allclose(
        np.load(mounted / "scan.nx/entry/corrected/rotation_angle.npy"), angles
    )
