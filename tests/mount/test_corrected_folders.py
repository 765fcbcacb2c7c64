"""`corrected/` through a mount, made of files of several folders, and with `-o dark=none`."""

import json
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.corrected_scans import counts, edf
from tests.support.flat_field import f32, formula, mean, median
from tests.support.mounts import MountFactory

BRISK = ("-o", "attr_timeout=0.1,entry_timeout=0.1")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def settle() -> None:
    """Longer than the kernel believes what it was told."""
    time.sleep(0.15)


RAW, BEFORE, AFTER, DARK = counts("r", 3), counts("b", 3), counts("a", 3), counts("d", 2)


def scan(folder: Path) -> None:
    for name, frames in (("Tomo/w", RAW), ("Flat_Before/f", BEFORE), ("Flat_After/f", AFTER),
                         ("Dark_Before/d", DARK)):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames):
            edf(path.with_name(f"{path.name}_{10 * number:04d}.edf"), frame)


def same(path: Path, array: np.ndarray) -> bool:
    return np.array_equal(np.load(path), array, equal_nan=True)


def test_folders_of_a_scan(mount: MountFactory, source: Path) -> None:
    scan(source / "scan")
    mounted = mount(source, *BRISK)
    mounted.expect("nothing|no image to correct")
    shown = mounted / "scan/corrected"
    flats = median(BEFORE), median(AFTER)
    made = formula(RAW, mean(DARK), flats, (0.0, 20.0), (0, 10, 20))
    assert sorted(os.listdir(shown)) == [
        "attrs.json", "w_####.npy", "w_0000.npy", "w_0010.npy", "w_0020.npy",
    ]  # fmt: skip
    assert same(shown / "w_####.npy", made)
    assert same(shown / "w_0010.npy", made[1])
    told = json.loads((shown / "attrs.json").read_text())
    assert told["convention"] == "folders of a scan"
    assert told["flats"][1]["frames"][0] == "Flat_After/f_0000.edf"

    edf(source / "scan/Tomo/w_0030.edf", RAW[0])  # the last one moves the flats after it
    settle()
    at = (0, 10, 20, 30)
    made = formula(np.concatenate([RAW, RAW[:1]]), mean(DARK), flats, (0.0, 30.0), at)
    assert same(shown / "w_####.npy", made)
    edf(source / "scan/Dark_Before/d_0000.edf", DARK[1])
    settle()
    made = formula(RAW, DARK[1], flats, (0.0, 30.0), (0, 10, 20))
    assert same(shown / "w_0020.npy", made[2])
    for name in os.listdir(source / "scan/Flat_After"):
        (source / "scan/Flat_After" / name).unlink()
    settle()
    assert same(shown / "w_0020.npy", formula(RAW[2], DARK[1], [median(BEFORE)]))


TOML = """
[[corrected]]
raw = "../Tomo/w_*.edf"
flat = [
    { from = "../Flat_Before/f_*.edf", at = 0 },
    { from = "deep/er/../er/after.h5::/2.1/instrument/pco/data", at = 20 },
]
dark = "../Dark_Before/d_*.edf"
flat_dark = 7
leave_out = 10
"""


def test_toml_of_other_folders(mount: MountFactory, source: Path) -> None:
    scan(source)
    (source / "here/deep/er").mkdir(parents=True)
    with h5py.File(source / "here/deep/er/after.h5", "w") as file:
        file["2.1/instrument/pco/data"] = AFTER
    (source / "here/.esrffs.toml").write_text(TOML)
    mounted = mount(source, *BRISK)
    mounted.expect("nothing|no image to correct|no corrected/")
    shown = mounted / "here/corrected"
    assert sorted(os.listdir(shown)) == ["attrs.json", "w_0000.npy", "w_0020.npy"]

    def made(k: int, flat: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return (f32(RAW[k]) - mean(DARK)) / (f32(flat) - np.float32(7))

    assert same(shown / "w_0000.npy", made(0, median(BEFORE)))
    assert same(shown / "w_0020.npy", made(2, median(AFTER)))
    with h5py.File(source / "here/deep/er/after.h5", "w") as file:
        file["2.1/instrument/pco/data"] = AFTER[:1]
    settle()
    assert same(shown / "w_0020.npy", made(2, AFTER[0]))
    with h5py.File(source / "here/deep/er/after.h5", "w") as file:
        file["2.1/instrument/frelon/data"] = AFTER[:1]
    settle()
    assert "corrected" not in os.listdir(mounted / "here")
    text = os.getxattr(mounted / "here", "user.esrffs.error").decode()
    assert "no image or stack of numbers at 'deep/er/after.h5::2.1/instrument/pco/data'" in text
    assert "'deep/er/after.h5::/2.1/instrument' has frelon" in text


def test_folders_behind_links(mount: MountFactory, source: Path) -> None:
    scan(source / "night")
    (source / "day").mkdir()
    (source / "day/Tomo").mkdir()
    edf(source / "day/Tomo/w_0000.edf", RAW[0])
    for name in ("Flat_Before", "Dark_Before"):
        (source / "day" / name).symlink_to(f"../night/{name}")
    (source / "day/loop").symlink_to("loop")
    (source / "day/dark_out").symlink_to("../../elsewhere")
    mounted = mount(source)
    mounted.expect("nothing|no image to correct")
    made = formula(RAW[0], mean(DARK), [median(BEFORE)])
    assert same(mounted / "day/corrected/w_0000.npy", made)


def test_without_a_dark(mount: MountFactory, source: Path) -> None:
    edf(source / "wood.edf", RAW)
    edf(source / "flat.edf", BEFORE)
    with h5py.File(source / "scan.h5", "w") as file:
        file["data"], file["flat"] = RAW, BEFORE
    with h5py.File(source / "dark.h5", "w") as file:
        file["data"], file["flat"], file["dark"] = RAW, BEFORE, DARK
    mounted = mount(source, "-o", "dark=none")
    zero = formula(RAW, np.zeros_like(RAW[0]), [median(BEFORE)])
    assert same(mounted / "corrected/wood.npy", zero)
    assert same(mounted / "scan.h5/corrected/data.npy", zero)
    told = json.loads((mounted / "scan.h5/corrected/attrs.json").read_text())
    assert told["dark"] == {"constant": 0.0}
    made = formula(RAW, mean(DARK), [median(BEFORE)])
    assert same(mounted / "dark.h5/corrected/data.npy", made)


def test_a_scan_that_was_stopped_warns(mount: MountFactory, source: Path) -> None:
    keys = [2, 1, 0, 0, 0, 0]
    with h5py.File(source / "scan.h5", "w") as file:
        detector = file.create_group("entry/instrument/detector")
        detector["data"], detector["image_key"] = (
            np.concatenate([DARK[:1], BEFORE[:1], RAW[:2]]),
            keys,
        )
        file["entry/sample/rotation_angle"] = np.arange(6.0)
    mounted = mount(source)
    mounted.expect("was the scan stopped")
    shown = mounted / "scan.h5/entry/corrected"
    assert same(shown / "data.npy", formula(RAW[:2], DARK[0], BEFORE[:1]))
    assert np.load(shown / "rotation_angle.npy").tolist() == [2, 3]
    assert any("4 frames" in line and "6 keys" in line for line in mounted.warnings)
