"""The NXtomo entries of `corrected.h5`, read with h5py."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.corrected_scans import counts, edf
from tests.support.mounts import MountFactory

KEYS = np.array([2, 1, 0, 0, 1, 0, 3])
DATA = counts("entry", len(KEYS))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    with h5py.File(folder / "leaf.nx", "w") as file:
        scan = file.create_group("scan")
        scan["definition"], scan["title"] = "NXtomo", "a leaf, twice"
        scan["instrument/detector/data"] = DATA
        scan["instrument/detector/image_key"] = KEYS
        scan["instrument/detector/x_pixel_size"] = 6.5
        scan["instrument/detector/x_pixel_size"].attrs["units"] = "um"
        scan["instrument/detector/count_time"] = np.arange(7) / 10
        scan["instrument/detector/distance"] = [1.0, 2.0]  # of nothing that is known
        scan["sample/rotation_angle"] = 30.0 * np.arange(7)
        scan["sample/rotation_angle"].attrs["units"] = "deg"
        scan["sample/x_translation"] = np.arange(7) ** 2
    with h5py.File(folder / "bliss.h5", "w") as file:
        for name, title, frames in (("1.1", "dark images", 2), ("2.1", "flat", 3),
                                    ("3.1", "projections 0 - 4", 4)):  # fmt: skip
            file[f"{name}/title"] = title
            for detector in ("near", "far"):
                data = counts((name, detector), frames)
                file[f"{name}/instrument/{detector}/data"] = data
    for name in ("dark", "flat", "alone", "w_01", "w_02", "w_05"):
        edf(folder / "images" / f"{name}.edf", counts(name))
    return folder


def test_an_entry_of_an_nxtomo(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    with h5py.File(mounted / "leaf.nx/scan/corrected.h5", locking=False) as file:
        assert next(iter(file)) == "entry0000"  # nabu takes it for the entry
        entry = file["entry0000"]
        assert (entry.attrs["NX_class"], entry.attrs["definition"]) == ("NXentry", "NXtomo")
        assert entry["definition"].asstr()[()] == "NXtomo"
        assert entry["title"].asstr()[()] == "a leaf, twice"
        detector = entry["instrument/detector"]
        assert detector["data"].shape == (3, *DATA.shape[1:])
        assert detector["image_key"][:].tolist() == [0, 0, 0]
        assert detector["image_key_control"][:].tolist() == [0, 0, 0]
        assert (detector["x_pixel_size"][()], detector["x_pixel_size"].attrs["units"]) == (
            6.5,
            "um",
        )
        assert detector["count_time"][:].tolist() == [0.2, 0.3, 0.5]
        assert "distance" not in detector
        angles = entry["sample/rotation_angle"]
        assert (angles[:].tolist(), angles.attrs["units"]) == ([60, 90, 150], "deg")
        assert entry["sample/x_translation"][:].tolist() == [4, 9, 25]
        assert entry["process"].attrs["NX_class"] == "NXprocess"
        assert entry["process/program"].asstr()[()] == "esrffs"
        assert list(entry["process/dark"].asstr()) == ["scan/instrument/detector/data[0:1]"]
        assert entry["data"].attrs["signal"] == "data"
        shown = np.load(mounted / "leaf.nx/scan/corrected/data.npy")
        np.testing.assert_array_equal(entry["data/data"][:], shown)


def test_the_directory_names_its_views(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    for name, formats in (("leaf.nx/scan", b"csv:h5"), ("images", b"h5")):
        for directory in ("corrected", "absorption"):
            path = mounted / name / directory
            assert os.getxattr(path, "user.esrffs.views") == formats
            assert path.with_name(f"{directory}.h5").exists()


def test_entries_of_two_detectors(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    with h5py.File(mounted / "bliss.h5/3.1/absorption.h5", locking=False) as file:
        assert set(file) == {"entry0000", "entry0001", "near", "far"}
        for number in range(2):
            entry = file[f"entry{number:04d}"]
            name = entry["title"].asstr()[()]
            shown = np.load(mounted / f"bliss.h5/3.1/absorption/{name}.npy")
            np.testing.assert_array_equal(entry["instrument/detector/data"][:], shown)
            assert entry["process/formula"].asstr()[()].startswith("-ln(")
            assert list(entry["process/raw"].asstr()) == [f"3.1/instrument/{name}/data[0:4]"]


def test_an_entry_of_a_series(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    with h5py.File(mounted / "images/corrected.h5", locking=False) as file:
        entry = file["entry0000"]
        assert "entry0001" not in file  # single images have none
        assert entry["title"].asstr()[()] == "w_##"
        assert entry["instrument/detector/data"].shape[0] == 3
        assert "sample" not in entry
        told = json.loads(entry["process/provenance"].asstr()[()])
        assert told["convention"] == "folder of images"
