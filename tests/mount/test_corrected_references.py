"""`corrected/dark.npy` and `flats.npy`: darks and flats as they are used, found by name."""

import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tests.support.corrected_scans import counts, edf
from tests.support.errnos import errno_of
from tests.support.flat_field import f32, mean, median
from tests.support.mounts import MountFactory
from tests.support.npy import npy_bytes

DATA, KEYS = counts("refs", 11), np.array([1, 1, 1, 0, 2, 2, 0, 0, 1, 1, 0])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    with h5py.File(folder / "shell.nx", "w") as file:
        file["e/instrument/detector/data"] = DATA
        file["e/instrument/detector/image_key"] = KEYS
    for name, image in (("a", DATA[0]), ("b", DATA[1]), ("c", DATA[2]), ("d", DATA[3])):
        edf(folder / "images" / f"{name}.edf", image)
    return folder


def test_they_are_the_mean_and_the_medians(mount: MountFactory, source: Path) -> None:
    shown = mount(source) / "shell.nx/e/corrected"
    flats = np.stack([median(DATA[:3]), median(DATA[8:10])])
    assert (shown / "dark.npy").read_bytes() == npy_bytes(mean(DATA[4:6]))
    assert (shown / "flats.npy").read_bytes() == npy_bytes(flats)
    assert (shown / "flats.npy").stat().st_size == len(npy_bytes(flats))
    assert np.array_equal(np.load(shown / "flats.npy", mmap_mode="r")[1, 3:5], flats[1, 3:5])
    assert np.array_equal(tifffile.imread(shown / "flats.tif"), flats)
    told = json.loads((shown / "flats.attrs.json").read_text())
    assert told["abscissae"] == [0, 8]
    assert [flat["reduction"] for flat in told["flats"]] == ["median", "median"]
    assert json.loads((shown / "dark.attrs.json").read_text()) == {
        "frames": ["e/instrument/detector/data[4:6]"],
        "reduction": "mean",
    }
    told = json.loads((shown / "attrs.json").read_text())
    assert told["files"] == {"dark": "dark.npy", "flats": "flats.npy"}
    assert [flat["abscissa"] for flat in told["flats"]] == [0, 8]


def test_they_are_found_and_not_listed(mount: MountFactory, source: Path) -> None:
    entry = mount(source) / "shell.nx/e"
    assert set(os.listdir(entry / "corrected")) == {"data.npy", "frame_index.npy", "attrs.json"}
    assert errno_of(os.stat, entry / "corrected/flat_dark.npy") == errno.ENOENT
    assert errno_of(os.stat, entry / "absorption/dark.npy") == errno.ENOENT
    assert os.getxattr(entry / "corrected/dark.npy", "user.esrffs.source") == b"shell.nx"


TOML = """
[[corrected]]
raw = "a.edf"
flat = "b.edf"
dark = 40
flat_dark = "c.edf"

[[corrected]]
name = "dark_1"
raw = "d.edf"
flat = [{ from = "c.edf", at = -2.5 }, { from = "a.edf", at = 7 }]
dark = ["a.edf", "b.edf"]
"""


def test_those_of_several_corrections_have_numbers(mount: MountFactory, source: Path) -> None:
    (source / "images" / ".esrffs.toml").write_text(TOML)
    (source / "images" / "b.edf").chmod(0o600)
    shown = mount(source) / "images/corrected"
    assert set(os.listdir(shown)) == {"a.npy", "dark_1.npy", "attrs.json"}
    assert np.array_equal(np.load(shown / "dark_0.npy"), np.full(DATA.shape[1:], 40, "f4"))
    assert np.array_equal(np.load(shown / "flat_dark_0.npy"), f32(DATA[2]))
    assert np.array_equal(np.load(shown / "flats_0.npy"), f32(DATA[1:2]))
    assert np.array_equal(np.load(shown / "flats_1.npy"), f32(DATA[[2, 0]]))
    assert json.loads((shown / "flats_1.attrs.json").read_text())["abscissae"] == [-2.5, 7]
    modes = [(shown / f"flats_{k}.npy").stat().st_mode & 0o777 for k in (0, 1)]
    assert modes == [0o600, 0o644]
    made = np.load(shown / "dark_1.npy")  # a result has its name
    assert not np.array_equal(made, mean(DATA[:2]))
