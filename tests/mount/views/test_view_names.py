"""Views are found by their names, and follow links; what the source has under such a name wins."""

import errno
import os
import subprocess
from pathlib import Path

import fabio
import h5py
import numpy as np
import tifffile

from tests.support.errnos import errno_of
from tests.support.image_files import image
from tests.support.mounts import Mounted, MountFactory
from tests.support.view_files import ARRAYS, cells, same_values


def test_real_entries_win(views: Path) -> None:
    assert os.listdir(views / "x.tif") == ["inner.npy"]
    assert (views / "y.tif").is_file()
    assert (views / "x.edf").is_file()


def test_links_have_the_views_of_their_targets(views: Path, mounted: Mounted) -> None:
    for name, target in (
        ("linked", "stack_1"),
        ("chain", "linked"),
        ("external", "../other.h5/far"),
    ):
        for suffix in ("tif", "edf", "tifs", "pngs"):
            assert os.readlink(views / f"{name}.{suffix}") == f"{target}.{suffix}"
        same_values(tifffile.imread(views / f"{name}.tif"), ARRAYS["stack_1"])
        same_values(tifffile.imread(views / f"{name}.tifs/0002.tif"), ARRAYS["stack_1"][2])
        assert errno_of(os.readlink, views / f"{name}.csv") == errno.ENOENT
    same_values(tifffile.imread(mounted / "alias.h5/far.tif"), ARRAYS["stack_1"])


def test_a_link_of_the_source(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source/sub").mkdir(parents=True)
    with h5py.File(tmp_path / "source/sub/a.h5", "w") as file:
        file["th"] = np.arange(3)
    os.symlink("sub/a.h5", tmp_path / "source/b.h5")
    os.symlink("nothing", tmp_path / "source/c.h5")
    mounted = mount(tmp_path / "source")
    assert os.readlink(mounted / "b.h5.csv") == "sub/a.h5.csv"
    assert cells(mounted / "b.h5.csv") == [["th"], ["0"], ["1"], ["2"]]
    assert errno_of(os.readlink, mounted / "c.h5.csv") == errno.ENOENT


def test_cut_names(views: Path) -> None:
    name = "l" * 249
    same_values(tifffile.imread(views / f"{name}.tif"), ARRAYS["stack_1"])
    [real] = [n for n in os.listdir(views) if n.startswith("lll")]
    assert len(real) == 253
    assert os.listdir(views / f"{name}.tifs")[0] == "0000.tif"


def test_a_series_and_corrected(mounted: Mounted) -> None:
    detector = mounted / "img_####.edf/scan_0/instrument/detector_0"
    same_values(tifffile.imread(detector / "data.tif"), np.array([image(k) for k in range(3)]))
    same_values(fabio.open(detector / "data.edfs/0001.edf").data, image(1))
    corrected = next((mounted / "scan").rglob("corrected"))
    columns = [path for path in corrected.glob("*.npy") if np.load(path).ndim == 1]
    table = corrected.with_name("corrected.csv")
    assert table.exists() == bool(columns)
    for path in corrected.glob("*.npy"):
        array = np.load(path)
        if array.ndim > 1:
            found = tifffile.imread(path.with_suffix(".tif"))
            assert np.array_equal(found.reshape(array.shape), array, equal_nan=True)
        if array.ndim == 3:
            frame = tifffile.imread(path.with_suffix(".tifs") / "0001.tif")
            assert np.array_equal(frame, array[1], equal_nan=True)


def test_numbers_are_met_once(views: Path) -> None:
    listed = {path.name for path in views.iterdir() if path.is_file()}
    shown = {name for name in listed if not name.endswith((".npy", ".json"))}
    assert shown == {"title.txt", "names.txt", "fixed.txt"}
    found = subprocess.run(
        ["grep", "-rl", "a title", views], capture_output=True, text=True, check=True
    )
    assert str(views / "title.txt") in found.stdout.split()


def test_what_is_listed_can_be_chosen(source: Path, mount: MountFactory) -> None:
    chosen = mount(source, "-o", "views=txt:csv:tif:tifs:edf:edfs:png:pngs") / "all.h5"
    listed = set(os.listdir(chosen))
    names = {name for name in listed if name.startswith(("stack_1.", "image_0.", "row_0."))}
    assert names == {
        *(f"stack_1.{suffix}" for suffix in ("npy", "tif", "tifs", "edf", "edfs", "pngs")),
        *(f"image_0.{suffix}" for suffix in ("npy", "csv", "tif", "edf", "png")),
        *("row_0.npy", "row_0.csv", "row_0.edf"),
    }
    assert {"colour.png", "title.txt", "table.csv", "empty.csv"} <= listed
    assert not {"names.csv", "number.txt", "x.csv.csv", "linked.tif"} & listed
    for path in chosen.iterdir():
        if path.is_file() and not path.name.startswith("x."):
            assert path.stat().st_size == len(path.read_bytes()), path
    assert os.listdir(chosen / "x.tif") == ["inner.npy"]
    with os.scandir(mount(source, "-o", "views=none") / "all.h5") as entries:
        assert not [entry.name for entry in entries if entry.name.endswith(".txt")]


def test_views_are_named(views: Path, mounted: Mounted) -> None:
    def named(path: Path) -> str | None:
        try:
            return os.getxattr(path, "user.esrffs.views").decode()
        except OSError:
            return None

    assert named(views / "stack_1.npy") == "tif:tifs:edf:edfs:pngs"
    assert named(views / "colour.npy") == "tif:edf:png"
    assert named(views / "title.npy") == "txt"
    assert named(views / "names.npy") == "txt:csv"
    assert named(views / "measurement") == "csv:h5"
    assert named(mounted / "other.h5") == "h5"
    for path in views.glob("*.npy"):
        for format_ in (named(path) or "").split(":"):
            assert not format_ or path.with_suffix(f".{format_}").exists()


def test_a_mount_of_one_file(tmp_path: Path, mount: MountFactory) -> None:
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["th"] = np.arange(2)
    mounted = mount(tmp_path / "one.h5")
    assert cells(mounted / "one.h5.csv") == [["th"], ["0"], ["1"]]
    assert cells(mounted / "th.csv") == [["th"], ["0"], ["1"]]
