"""`G.h5` through a mount, as h5py, silx and h5dump read it."""

import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import silx.io

from tests.support.errnos import errno_of
from tests.support.mounts import Mounted, MountFactory, mount_factory
from tests.support.view_files import growing, numbers, other_formats

DTYPES = ("u1", "<u2", ">u2", "<i4", ">f4", "<f8", ">i8", "<f2", "?", "<c8", "S5")
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (2, 3, 7)},
    "gzip": {"chunks": (2, 3, 7), "compression": "gzip", "shuffle": True},
    "bitshuffle": {"chunks": (1, 6, 7), **hdf5plugin.Bitshuffle()},
    "partly": {"chunks": (1, 6, 7), "maxshape": (None, 6, 7), "fillvalue": 3},
}


def values(dtype: str) -> np.ndarray:
    if dtype == "S5":
        return np.array([b"ab", b"", b"12345"] * 70, "S5").reshape(5, 6, 7)
    return numbers(dtype, (5, 6, 7))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hdf5_views") / "source"
    other_formats(folder)
    with h5py.File(folder / "other.h5", "w") as file:
        file["far"] = numbers("<u2", (3, 4))
    with h5py.File(folder / "all.h5", "w", track_order=True) as file:
        file.attrs["NX_class"] = "NXroot"
        for layout, how in LAYOUTS.items():
            group = file.create_group(f"entry/{layout}")
            group.attrs["list"] = np.arange(3, dtype=">i2")
            for number, dtype in enumerate(DTYPES):
                if layout == "partly" and dtype in ("?", "<c8", "S5"):
                    continue  # of other fill values
                made = group.create_dataset(f"d{number}", (5, 6, 7), dtype, **how)
                if layout != "partly":
                    made[...] = values(dtype)
                else:
                    made[2] = values(dtype)[2]
                made.attrs["units"] = "µm"
        file["title"] = "a title, µm"
        file["names"] = np.array(["a", "b,c", ""], object)
        file["empty"] = np.zeros((0, 3), "u2")
        file["null"] = h5py.Empty("f4")
        table = np.zeros(4, [("x", "<f8"), ("n", ">i2")])
        table["x"], table["n"] = np.arange(4) / 3, np.arange(4)
        file["table"] = table
        file["entry/same"] = file["entry/gzip/d1"]
        file["entry/soft"] = h5py.SoftLink("/entry/gzip/d1")
        file["dangling"] = h5py.SoftLink("/nothing")
        file["external"] = h5py.ExternalLink("other.h5", "/far")
    return folder


@pytest.fixture(scope="module")
def mounted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    for mount in mount_factory(tmp_path_factory.mktemp("hdf5_views_mount")):
        yield mount(source)


def text(value: Any) -> Any:
    """As silx gives it of a Spec file or image: `str`."""
    array = np.asarray(value)
    if array.dtype.kind in "SO":
        array = np.array(
            [one.decode() if isinstance(one, bytes) else one for one in array.reshape(-1)], str
        ).reshape(array.shape)
    return array


def assert_same(expected: Any, found: Any, where: str = "", *, types: bool = True) -> int:
    """The same members, values and types; how many datasets there were.

    Without `types`: silx reads the numbers of a Spec file as float32, esrffs as float64.
    """
    assert set(expected) == set(found), where
    count = 0
    for name in expected:
        path = f"{where}/{name}"
        try:
            one = expected[name]
        except KeyError:  # a link that leads nowhere
            assert name not in found or found.get(name) is None
            continue
        other = found[name]
        assert set(one.attrs) == set(other.attrs), path
        for key in one.attrs:
            np.testing.assert_array_equal(text(one.attrs[key]), text(other.attrs[key]), path)
        if hasattr(one, "keys"):
            count += assert_same(one, other, path, types=types)
            continue
        count += 1
        assert one.shape == other.shape, path
        if one.dtype.kind == "f" and not types:
            np.testing.assert_allclose(one[()], other[()], 1e-6, err_msg=path)
            continue
        if one.dtype.kind in "biufc":
            assert one.dtype == other.dtype, path
        if one.shape is not None:
            np.testing.assert_array_equal(text(one[()]), text(other[()]), path)
    return count


def test_a_file_is_what_h5py_reads_of_the_source(
    source: Path, mounted: Mounted, tmp_path: Path
) -> None:
    subprocess.run(["cp", mounted / "all.h5.h5", tmp_path / "copy.h5"], check=True)
    subprocess.run(["cp", source / "other.h5", tmp_path / "other.h5.h5"], check=True)
    with h5py.File(source / "all.h5") as file, h5py.File(tmp_path / "copy.h5") as copy:
        assert assert_same(file, copy) > 50
        for layout in LAYOUTS:
            for name, dataset in copy[f"entry/{layout}"].items():
                original = file[f"entry/{layout}/{name}"]
                assert dataset.chunks is None
                assert dataset.id.get_type().equal(original.id.get_type()), (layout, name)
                if dataset.id.get_offset() is not None:
                    assert dataset.id.get_offset() % 4096 == 0
        assert copy["entry/soft"] == copy["entry/gzip/d1"] == copy["entry/same"]
        assert isinstance(copy.get("dangling", getlink=True), h5py.SoftLink)
    told = subprocess.run(
        ["h5dump", "-d", "/entry/gzip/d1", tmp_path / "copy.h5"], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr


def test_it_is_read_in_place(source: Path, mounted: Mounted) -> None:
    """Without a copy, external links too: they lead to the other file's own view."""
    with h5py.File(source / "all.h5") as file, h5py.File(mounted / "all.h5.h5") as view:
        assert assert_same(file["entry"], view["entry"]) > 50
        np.testing.assert_array_equal(view["external"][()], numbers("<u2", (3, 4)))
        assert view.get("external", getlink=True).filename == "other.h5.h5"


def test_a_group(source: Path, mounted: Mounted) -> None:
    with (
        h5py.File(source / "all.h5") as file,
        h5py.File(mounted / "all.h5/entry/gzip.h5") as one,
        h5py.File(mounted / "all.h5/entry.h5") as entry,
    ):
        assert_same(file["entry/gzip"], one)
        assert_same(file["entry"], entry)
        assert entry.get("soft", getlink=True).path == "/gzip/d1"
    assert errno_of((mounted / "all.h5/title.h5").stat) == errno.ENOENT


@pytest.mark.parametrize("name", ["spec.dat", "img_0001.edf"])
def test_what_silx_shows_of_other_formats(source: Path, mounted: Mounted, name: str) -> None:
    with silx.io.open(str(source / name)) as file, h5py.File(mounted / f"{name}.h5") as view:
        assert assert_same(file, view, types=name.endswith(".edf")) > 5


def test_a_scan_and_a_series(source: Path, mounted: Mounted) -> None:
    with (
        silx.io.open(str(source / "spec.dat")) as file,
        h5py.File(mounted / "spec.dat/1.1.h5") as scan,
        h5py.File(mounted / "img_####.edf.h5") as stack,
    ):
        assert_same(file["1.1/measurement"], scan["measurement"], types=False)
        shown = np.load(mounted / "img_####.edf/scan_0/instrument/detector_0/data.npy")
        np.testing.assert_array_equal(stack["scan_0/instrument/detector_0/data"][()], shown)


def test_corrected(mounted: Mounted) -> None:
    directory = next((mounted / "scan").rglob("corrected"))
    names = {path.stem for path in directory.glob("*.npy")}
    with h5py.File(directory.with_suffix(".h5")) as view:
        assert {name for name in view if isinstance(view[name], h5py.Dataset)} == names
        assert names
        for name in names:
            array = np.load(directory / f"{name}.npy")
            assert view[name].dtype == array.dtype
            np.testing.assert_array_equal(view[name][()], array)
        assert view.attrs


def test_any_range_is_what_the_whole_file_has_there(mounted: Mounted) -> None:
    path = mounted / "all.h5.h5"
    whole, chance = path.read_bytes(), random.Random(14)
    assert path.stat().st_size == len(whole)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        for _ in range(200):
            start = chance.randrange(len(whole) + 10)
            count = chance.choice((1, 7, 511, 4096, 70_000))
            assert os.pread(handle, count, start) == whole[start : start + count]
    finally:
        os.close(handle)


def test_it_is_found_by_its_name_only(mounted: Mounted) -> None:
    assert "all.h5.h5" not in os.listdir(mounted.path)
    assert "entry.h5" not in os.listdir(mounted / "all.h5")
    assert errno_of((mounted / "scan.h5").stat) == errno.ENOENT  # a folder has none
    assert os.getxattr(mounted / "all.h5/entry", "user.esrffs.views") == b"h5"


def test_a_broken_array_spoils_no_other(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source/damaged.h5"
    # Frames are larger than HDF5's sieve buffer (64 KiB), which reads more than is asked for.
    array = numbers("<u2", (4, 256, 256))
    with h5py.File(path, "w") as file:
        for name in ("a", "b", "c"):
            file.create_dataset(name, data=array, chunks=(1, 256, 256), compression="gzip")
        place = file["b"].id.get_chunk_info(2).byte_offset
        file["lost"] = h5py.SoftLink("/nowhere")
    with open(path, "r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 32)
    mounted = mount(tmp_path / "source")
    mounted.expect("damaged.h5")
    with h5py.File(mounted / "damaged.h5.h5") as view:
        np.testing.assert_array_equal(view["a"][()], array)
        np.testing.assert_array_equal(view["c"][()], array)
        np.testing.assert_array_equal(view["b"][:2], array[:2])
        np.testing.assert_array_equal(view["b"][3], array[3])
        with pytest.raises(OSError):
            view["b"][2]
    assert b"/b" in os.getxattr(mounted / "damaged.h5/b.npy", "user.esrffs.error")


def test_too_much_structure(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/large.h5", "w") as file:
        file["group/texts"] = np.array(["x" * 40] * 60_000, object)
        file["few"] = np.arange(3)
    mounted = mount(tmp_path / "source", "-o", "view_limit=1")
    mounted.expect("view_limit")
    assert errno_of((mounted / "large.h5/group.h5").stat) == errno.EFBIG
    told = os.getxattr(mounted / "large.h5/group", "user.esrffs.error").decode()
    assert "view_limit" in told
    assert "take a smaller group" in told


def test_a_mount_of_one_file(source: Path, mount: MountFactory) -> None:
    mounted = mount(source / "spec.dat")
    with silx.io.open(str(source / "spec.dat")) as file, h5py.File(mounted / "spec.dat.h5") as view:
        assert_same(file, view, types=False)


def test_rewritten_is_stale_and_a_new_open_sees_it(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source/a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = numbers("<u2", (50, 64, 64))
    mounted = mount(tmp_path / "source", "-o", "attr_timeout=0,entry_timeout=0")
    view = os.open(mounted / "a.h5.h5", os.O_RDONLY | os.O_DIRECT)
    assert os.pread(view, 8, 0) == b"\x89HDF\r\n\x1a\n"
    with h5py.File(path, "w") as file:
        file["b"] = np.full((60, 64, 64), 7, "<u2")
    assert errno_of(lambda: os.pread(view, 4096, 2 * 48 * 64 * 64)) == errno.ESTALE
    os.close(view)
    with h5py.File(mounted / "a.h5.h5") as again:
        assert (again["b"][()] == 7).all()


def test_an_open_view_keeps_its_shape_while_the_file_grows(
    tmp_path: Path, mount: MountFactory
) -> None:
    """Also of arrays that nobody has read before the file grew."""
    (tmp_path / "source").mkdir()
    with growing(tmp_path / "source") as grow:
        mounted = mount(tmp_path / "source", "-o", "attr_timeout=0,entry_timeout=0")
        views = [mounted / name for name in ("growing.h5.h5", "growing.dat.h5")]
        before = [view.read_bytes() for view in views]
        opened = [os.open(view, os.O_RDONLY | os.O_DIRECT) for view in views]
        grow()
        for handle, content in zip(opened, before, strict=True):
            assert os.pread(handle, len(content) + 999, 0) == content
            os.close(handle)
        with h5py.File(views[0]) as again:
            assert again["a"].shape == (9, 64, 64)
            assert again["b"].shape == (9,)


def test_many_datasets_and_a_frame_of_33_gb(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/large.h5", "w") as file:
        data = file.create_dataset("a", (4000, 2048, 2048), "<u2", chunks=(1, 2048, 2048))
        data[3999] = 7
        for number in range(500):
            file[f"many/d{number}"] = np.arange(number + 1)
    mounted = mount(tmp_path / "source")
    began = time.monotonic()
    with h5py.File(mounted / "large.h5.h5") as view:
        assert (view["a"][3999] == 7).all()
        assert time.monotonic() - began < 3
        for number in range(500):
            assert view[f"many/d{number}"][-1] == number
    status = Path(f"/proc/{mounted.process.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    assert peak < (512 + 200) << 10
