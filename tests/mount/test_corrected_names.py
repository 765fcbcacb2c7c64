"""`corrected/` through a mount where names mislead: numbers, words, counts in words, colours."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest

from tests.support.corrected_scans import counts, edf
from tests.support.flat_field import f32, formula
from tests.support.mounts import MountFactory

DARK, ONE, TWO = counts("dark"), counts("one"), counts("two")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def same(path: Path, array: np.ndarray) -> bool:
    return np.array_equal(np.load(path), array, equal_nan=True)


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("{}_{}_bin2", ("0000", "0050", "0200")),
        ("{}_{}", ("000.0", "000.5", "002.0")),
        ("{}2024_{}_12keV_1", ("7", "8", "11")),
    ],
)
def test_numbers(mount: MountFactory, source: Path, pattern: str, numbers: tuple[str, ...]) -> None:
    edf(source / "dark.edf", DARK)
    at = [float(number) for number in numbers]
    for number, flat in ((numbers[0], ONE), (numbers[2], TWO)):
        edf(source / f"{pattern.format('flat', number)}.edf", flat)
    for number in numbers:
        edf(source / f"{pattern.format('wood', number)}.edf", counts(number))
    mounted = mount(source)
    for number in numbers:
        made = formula(counts(number), DARK, (ONE, TWO), (at[0], at[2]), float(number))
        assert same(mounted / f"corrected/{pattern.format('wood', number)}.npy", made)


def test_words(mount: MountFactory, source: Path) -> None:
    for name, image in {
        "dark": DARK,
        "flat_0000": ONE,
        "flatworm_0000": TWO,
        "darkwood": TWO,
    }.items():
        edf(source / f"{name}.edf", image)
    mounted = mount(source)
    shown = mounted / "corrected"
    assert sorted(os.listdir(shown)) == ["attrs.json", "darkwood.npy", "flatworm_0000.npy"]
    assert same(shown / "flatworm_0000.npy", formula(TWO, DARK, [ONE]))
    told = json.loads((shown / "attrs.json").read_text())
    assert [flat["frames"] for flat in told["flats"]] == [["flat_0000.edf"]]


def test_one_number_for_all_is_logged(mount: MountFactory, source: Path) -> None:
    for name in ("dark", "flat_a2", "flat_b2", "x_2", "y_2"):
        edf(source / f"{name}.edf", counts(name))
    mounted = mount(source)
    assert "corrected" in os.listdir(mounted.path)
    log = mounted.log.read_text()
    assert "one number, 2, in the names of x_2.edf, y_2.edf" in log
    assert "one number, 2, in the names of flat_a2.edf, flat_b2.edf" in log


@pytest.mark.parametrize("text", ["DARK_N= 5.0", "dark_n=5 \t# summed"])
def test_counts(mount: MountFactory, source: Path, text: str) -> None:
    for name in ("darkend0000", "refHST0000", "ab_0000", "ab_0001"):
        edf(source / f"{name}.edf", counts(name, dtype="<u4"))
    (source / "ab_.info").write_text(text)
    mounted = mount(source)
    dark = f32(counts("darkend0000", dtype="<u4")) / np.float32(5)
    made = formula(counts("ab_0000", dtype="<u4"), dark, [counts("refHST0000", dtype="<u4")])
    assert same(mounted / "corrected/ab_0000.npy", made)


def test_counts_that_are_none(mount: MountFactory, source: Path) -> None:
    for name in ("darkend0000", "refHST0000", "ab_0000"):
        edf(source / f"{name}.edf", counts(name))
    (source / "ab_.info").write_text("DARK_N= five\n")
    mounted = mount(source)
    mounted.expect("DARK_N is 'five', which is no number")
    assert "corrected" not in os.listdir(mounted.path)
    text = os.getxattr(mounted.path, "user.esrffs.error").decode()
    assert "ab_.info: DARK_N is 'five', which is no number" in text


@pytest.mark.parametrize("kind", ["tif", "h5", "many attributes"])
def test_colours(mount: MountFactory, source: Path, kind: str) -> None:
    images = {name: counts(name, dtype="u1", shape=(8, 9, 3)) for name in ("dark", "flat", "data")}
    if kind == "tif":
        for name, image in images.items():
            PIL.Image.fromarray(image).save(source / f"{name}.{kind}")
        place = ""
    else:
        with h5py.File(source / "scan.h5", "w") as file:
            for name, image in images.items():
                file[name] = image
                if kind == "many attributes":
                    file[name].attrs["remark"] = "x" * 5000
                file[name].attrs["interpretation"] = "rgba-image"
        place = "scan.h5"
    mounted = mount(source)
    mounted.expect("is a colour image")
    assert "corrected" not in os.listdir(mounted / place)
    assert (
        "is a colour image, (8, 9, 3)" in os.getxattr(mounted / place, "user.esrffs.error").decode()
    )
