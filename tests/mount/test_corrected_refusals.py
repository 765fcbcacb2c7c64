"""Why a folder or group has no corrected/: the reason is in the log, once."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from tests.support.changing_scans import BRISK, DARK, FLATS, RAW, settle
from tests.support.corrected_scans import edf
from tests.support.errnos import errno_of
from tests.support.mounts import Mounted, MountFactory, mount_factory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def group_without(missing: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with h5py.File(folder / "scan.h5", "w") as file:
            file["data"], file["flat"], file["dark"] = RAW, FLATS[0], DARK
            del file[missing]

    return write


def group_of_other_shape(folder: Path) -> None:
    with h5py.File(folder / "scan.h5", "w") as file:
        file["data"], file["flat"], file["dark"] = RAW, FLATS[0], DARK[1:]


def keys(values: list[int], frames: int = 4) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with h5py.File(folder / "scan.h5", "w") as file:
            file["instrument/detector/data"] = RAW[:frames]
            file["instrument/detector/image_key"] = values

    return write


def folder_of(*names: str, small: str = "", toml: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in names:
            edf(folder / f"{name}.edf", DARK[1:] if name == small else DARK)
        if toml:
            (folder / ".esrffs.toml").write_text(toml)

    return write


TOML = '[[corrected]]\nraw = "x.edf"\nflat = "y.edf"\ndark = "z.edf"\n'


REFUSALS = {
    "no dark": (group_without("dark"), "no dark image"),
    "no flat": (group_without("flat"), "no flat image"),
    "shape of dark": (group_of_other_shape, "shapes do not agree"),
    "length of keys": (keys([2, 1, 0]), "image_key has shape"),
    "keys without flats": (keys([2, 0, 0, 0]), "no flat"),
    "keys without darks": (keys([1, 0, 0, 0]), "no dark"),
    "folder without flats": (folder_of("dark", "x"), "no flat image"),
    "folder without darks": (folder_of("flat", "x"), "no dark image"),
    "shape of a flat": (folder_of("dark", "flat", "x", small="flat"), "shapes do not agree"),
    "ID19 without projections": (folder_of("dark", "refHST0000"), "no projection"),
    "key": (folder_of("x", toml=TOML + "darks = 1\n"), "`darks`: unknown key; did you mean `dark`"),
    "no file": (folder_of("x", "y", toml=TOML), "`dark`: no image .* at 'z.edf'"),
    "no TOML": (folder_of("x", toml="[[corrected]\n"), "not TOML"),
    "out": (folder_of("x", toml=TOML.replace("z.edf", "/z.edf")), "leads out of the folder"),
    "above": (folder_of("x", toml=TOML.replace("z", "../../z")), "nothing can be found in '../..'"),
    "names": (folder_of("x", "y", "w", toml=TOML), "'this folder' has w.edf, x.edf, y.edf"),
    "no raw images": (
        folder_of("dark_1", "flat_1", "flat_2"),
        "darks and flats were found, but no",
    ),
    "empty": (folder_of("x", toml="# nothing yet\n"), r"expected one or more tables"),
}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory):
    source = tmp_path_factory.mktemp("refusals")
    for name, (write, _) in REFUSALS.items():
        (source / name).mkdir()
        write(source / name)
    factory = mount_factory(tmp_path_factory.mktemp("mount"))
    mounted = next(factory)(source)
    mounted.expect("no corrected/")
    yield mounted
    next(factory, None)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_once(refusing: Mounted, name: str) -> None:
    directory = refusing / name
    if (directory / "scan.h5").exists():
        directory /= "scan.h5"
    for _ in range(3):
        assert "corrected" not in os.listdir(directory)
        assert errno_of(os.stat, directory / "corrected") == errno.ENOENT
        (refusing.source / name / "beside.txt").write_text(str(time.monotonic()))
    text = os.getxattr(directory, "user.esrffs.error").decode()
    assert re.search(REFUSALS[name][1], text), text
    lines = [line for line in refusing.warnings if re.search(rf" {name}(/|:)", line)]
    assert len(lines) == 1
    assert re.search(REFUSALS[name][1], lines[0])


def test_a_mistake_that_was_mended(mount: MountFactory, source: Path) -> None:
    folder_of("x", "y", toml=TOML)(source)
    mounted = mount(source, *BRISK)
    mounted.expect("no corrected/")
    assert "corrected" not in os.listdir(mounted.path)
    assert "z.edf" in os.getxattr(mounted.path, "user.esrffs.error").decode()
    edf(source / "z.edf", FLATS[0])
    settle()
    assert "corrected" in os.listdir(mounted.path)
    assert errno_of(os.getxattr, mounted.path, "user.esrffs.error") == errno.ENODATA
