"""`absorption/`: -ln of `corrected/`, found by name beside it."""

import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tests.support.corrected_scans import counts, edf, identical
from tests.support.errnos import errno_of
from tests.support.flat_field import formula
from tests.support.mounts import Mounted, MountFactory

RAW, FLATS, DARK = counts("absorbing", 6), counts("beam", 2), counts("closed")
RAW[2, 0, :3] = DARK[0, :3]  # nothing comes through: 0
FLATS[:, 1, :2] = DARK[1, :2]  # no beam: not finite
RAW[:, 5] = 0  # below the dark: negative


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A group of an HDF5 file, and a folder of images with a series."""
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    with h5py.File(folder / "wood.h5", "w") as file:
        file["run/data"], file["run/dark"] = RAW, DARK
        file["run/flat/0"], file["run/flat/6"] = FLATS
    for name, image in (("dark", DARK), ("flat_0", FLATS[0]), ("flat_6", FLATS[1])):
        edf(folder / "images" / f"{name}.edf", image)
    for at, image in enumerate(RAW):
        edf(folder / "images" / f"wood_{at:04d}.edf", image)
    return folder


CORRECTED = formula(RAW, DARK, FLATS, (0.0, 6.0))


def minus_log(corrected: np.ndarray, nan: float | None = None) -> np.ndarray:
    with np.errstate(all="ignore"):
        found = -np.log(corrected)
    if nan is not None:
        found[~(corrected > 0)] = nan
    return found


def test_it_is_minus_ln_of_what_is_corrected(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    for name in ("wood.h5/run/{}/data.npy", "images/{}/wood_####.npy"):
        assert identical((mounted / name.format("corrected")).read_bytes(), CORRECTED)
        assert identical((mounted / name.format("absorption")).read_bytes(), minus_log(CORRECTED))
    one = mounted / "images/absorption/wood_0003.npy"
    assert identical(one.read_bytes(), minus_log(CORRECTED)[3])
    told = json.loads((mounted / "wood.h5/run/absorption/attrs.json").read_text())
    assert told["formula"] == "-ln((raw - dark) / (flat - dark))"
    assert "absorption" in json.loads((mounted / "wood.h5/run/corrected/attrs.json").read_text())


def test_pixels_that_are_not_positive_are_what_the_option_says(
    mount: MountFactory, source: Path
) -> None:
    mounted = mount(source, "-o", "nan=0.25")
    shown = np.load(mounted / "wood.h5/run/corrected/data.npy")
    expected = CORRECTED.copy()
    expected[~np.isfinite(expected)] = 0.25
    assert identical((mounted / "wood.h5/run/corrected/data.npy").read_bytes(), expected)
    assert (shown <= 0).any()
    made = mounted / "wood.h5/run/absorption/data.npy"
    assert identical(made.read_bytes(), minus_log(shown, 0.25))


def test_it_is_found_and_not_listed(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    walked = [Path(folder).name for folder, _, _ in os.walk(mounted.path)]
    assert walked.count("corrected") == 2
    assert "absorption" not in walked
    for directory in (mounted / "wood.h5/run", mounted / "images"):
        assert "data.npy" in os.listdir(directory / "absorption") or directory.name == "images"
        assert set(os.listdir(directory / "absorption")) <= set(os.listdir(directory / "corrected"))
    assert errno_of(os.stat, mounted / "absorption") == errno.ENOENT
    assert errno_of(os.stat, mounted / "wood.h5/absorption") == errno.ENOENT


def test_what_has_its_name_keeps_it(mount: MountFactory, source: Path) -> None:
    (source / "images" / "absorption").mkdir()
    with h5py.File(source / "wood.h5", "a") as file:
        file["run/absorption/edge"] = 7.1
    mounted = mount(source)
    assert os.listdir(mounted / "images/absorption") == []
    assert os.listdir(mounted / "wood.h5/run/absorption") == ["edge.npy"]
    made = mounted / "wood.h5/run/absorption~1/data.npy"
    assert identical(made.read_bytes(), minus_log(CORRECTED))
    assert identical((mounted / "images/absorption~1/wood_0000.npy").read_bytes(),
                     minus_log(CORRECTED)[0])  # fmt: skip


def test_it_has_views(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    stack = tifffile.imread(mounted / "wood.h5/run/absorption/data.tif")
    assert np.array_equal(stack, minus_log(CORRECTED), equal_nan=True)
    with h5py.File(mounted / "images/absorption.h5", locking=False) as file:
        assert np.array_equal(file["wood_####"][:], minus_log(CORRECTED), equal_nan=True)
        assert file.attrs["formula"].startswith("-ln(")


def permissions(mounted: Mounted, name: str) -> int:
    return (mounted / name).stat().st_mode & 0o777


def test_who_may_not_read_all_may_not_read_it(mount: MountFactory, source: Path) -> None:
    (source / "wood.h5").chmod(0o640)
    (source / "images" / "dark.edf").chmod(0o600)
    mounted = mount(source)
    assert permissions(mounted, "wood.h5/run/absorption/data.npy") == 0o640
    assert permissions(mounted, "images/absorption/wood_0001.npy") == 0o600
