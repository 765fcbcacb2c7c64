"""`corrected/` with darks and flats that another program has reduced, through a mount."""

import json
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.corrected_scans import counts, edf
from tests.support.flat_field import formula, mean, median
from tests.support.mounts import MountFactory

BRISK = ("-o", "attr_timeout=0.1,entry_timeout=0.1")
KEYS = np.array([2, 2, 2, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0])
DATA = counts("bone", len(KEYS))
INDEX = np.flatnonzero(KEYS == 0)
OWN = formula(DATA[INDEX], mean(DATA[:3]), (median(DATA[3:5]), median(DATA[9:12])), (3, 9), INDEX)
DARK, FLATS = counts("night dark").astype("f4"), counts("night flat", 2).astype("f4")
NIGHT = formula(DATA[INDEX], DARK, FLATS, (0, 6), INDEX)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    with h5py.File(folder / "bone.v2.nx", "w") as file:
        file["scan1/instrument/detector/data"] = DATA
        file["scan1/instrument/detector/image_key"] = KEYS
    return folder


def settle() -> None:
    """Longer than the kernel believes what it was told."""
    time.sleep(0.15)


def reduced(folder: Path, prefix: str = "bone.v2", entry: str = "scan1") -> None:
    with h5py.File(folder / f"{prefix}_darks.hdf5", "w") as file:
        file[f"{entry}/darks/0"], file[f"{entry}/darks/ud_flip"] = DARK, False
    with h5py.File(folder / f"{prefix}_flats.hdf5", "w") as file:
        file[f"{entry}/flats/6"], file[f"{entry}/flats/0"] = FLATS[1], FLATS[0]


def same(path: Path, array: np.ndarray) -> bool:
    return np.array_equal(np.load(path), array, equal_nan=True)


def test_they_serve_from_when_they_are_there(mount: MountFactory, source: Path) -> None:
    mounted = mount(source, *BRISK)
    shown = mounted / "bone.v2.nx/scan1/corrected"
    assert same(shown / "data.npy", OWN)
    reduced(source)
    settle()
    assert same(shown / "data.npy", NIGHT)
    told = json.loads((shown / "attrs.json").read_text())
    assert told["flats"][1]["frames"] == ["../bone.v2_flats.hdf5::scan1/flats/6"]
    with h5py.File(source / "bone.v2_flats.hdf5", "a") as file:
        file["scan1/flats/6"][...] = 5 * FLATS[1]
    settle()
    changed = formula(DATA[INDEX], DARK, (FLATS[0], 5 * FLATS[1]), (0, 6), INDEX)
    assert same(shown / "data.npy", changed)
    for role in ("darks", "flats"):
        (source / f"bone.v2_{role}.hdf5").unlink()
    settle()
    assert same(shown / "data.npy", OWN)


def test_of_a_scan_that_is_the_source_itself(mount: MountFactory, source: Path) -> None:
    reduced(source)
    mounted = mount(source / "bone.v2.nx")
    assert same(mounted / "scan1/corrected/data.npy", NIGHT)


def test_a_file_that_is_none_of_them(mount: MountFactory, source: Path) -> None:
    (source / "bone.v2_flats.hdf5").write_text("to be done")
    (source / "bone.v2_darks.hdf5").mkdir()
    mounted = mount(source)
    mounted.expect("bone.v2_flats.hdf5")
    assert same(mounted / "bone.v2.nx/scan1/corrected/data.npy", OWN)


def test_a_private_file_of_them_does_not_serve_everybody(mount: MountFactory, source: Path) -> None:
    reduced(source)
    (source / "bone.v2_flats.hdf5").chmod(0o600)
    mounted = mount(source, "-o", "allow_other")
    shown = mounted / "bone.v2.nx/scan1/corrected"
    flats = median(DATA[3:5]), median(DATA[9:12])
    assert same(shown / "data.npy", formula(DATA[INDEX], DARK, flats, (3, 9), INDEX))
    assert "flats.hdf5" not in (shown / "attrs.json").read_text()


@pytest.mark.parametrize("raw_flats", [True, False])
def test_of_a_folder_of_images(mount: MountFactory, source: Path, raw_flats: bool) -> None:
    folder = source / "wood"
    folder.mkdir()
    raw = counts("wood", 8)
    for number, frame in enumerate(raw):
        edf(folder / f"w{number:03d}.edf", frame)
    if raw_flats:
        edf(folder / "flat_3.edf", counts("raw flat"))
        edf(folder / "dark.edf", counts("raw dark"))
    reduced(folder, "wood", "entry")
    reduced(folder, "another", "entry")
    mounted = mount(source)
    shown = mounted / "wood/corrected"
    assert same(shown / "w###.npy", formula(raw, DARK, FLATS, (0.0, 6.0)))
    assert same(shown / "w007.npy", formula(raw[7], DARK, FLATS[1:]))
    told = json.loads((shown / "attrs.json").read_text())
    assert told["dark"]["frames"] == ["wood_darks.hdf5::entry/darks/0"]
    assert "reduced before" in told["flats"][0]["note"]


@pytest.mark.filterwarnings("ignore")
def test_what_tomoscan_writes_is_read(mount: MountFactory, tmp_path: Path) -> None:
    """Its own writer is the oracle of the layout."""
    pytest.importorskip("tomoscan")
    pint = pytest.importorskip("pint")
    nxtomo = pytest.importorskip("nxtomo.application.nxtomo")
    from tomoscan.esrf.scan.nxtomoscan import NXtomoScan

    source = tmp_path / "source"
    source.mkdir()
    path = str(source / "stone.nx")
    units = pint.get_application_registry()
    for entry, seed in (("entry0000", 1), ("entry0001", 2)):
        scan = nxtomo.NXtomo()
        scan.instrument.detector.data = DATA // seed
        scan.instrument.detector.image_key_control = KEYS
        scan.sample.rotation_angle = np.linspace(0, 180, len(KEYS)) * units.degree
        scan.control.data = np.linspace(200, 190, len(KEYS)) * units.mA
        scan.save(path, entry)
        opened = NXtomoScan(path, entry)
        darks, infos = opened.compute_reduced_darks(reduced_method="median", return_info=True)
        opened.save_reduced_darks(darks, darks_infos=infos, overwrite=True)
        flats, infos = opened.compute_reduced_flats(reduced_method="mean", return_info=True)
        opened.save_reduced_flats(flats, flats_infos=infos, overwrite=True)
    mounted = mount(source)
    for entry, seed in (("entry0000", 1), ("entry0001", 2)):
        data = DATA // seed
        flats = mean(data[3:5]), mean(data[9:12])  # the other way round than reduced here
        made = formula(data[INDEX], median(data[:3]), flats, (3, 9), INDEX)
        shown = np.load(mounted / f"stone.nx/{entry}/corrected/data.npy")
        np.testing.assert_allclose(shown, made, rtol=1e-5)
    assert sorted(os.listdir(source)) == ["stone.nx", "stone_darks.hdf5", "stone_flats.hdf5"]
