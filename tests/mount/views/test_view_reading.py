"""Views are read as their arrays: any range, large ones, growing ones, damaged ones."""

import errno
import os
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.support.errnos import errno_of
from tests.support.marks import as_root
from tests.support.mounts import Mounted, MountFactory
from tests.support.processes import as_nobody
from tests.support.view_files import ARRAYS, cells, growing, numbers, same_values


@pytest.mark.parametrize(
    "name",
    ["packed.tif", "stack_3.edf", "image_0.csv", "image_0.png", "measurement.csv", "names.csv"],
)
def test_any_range_is_what_the_whole_file_has_there(views: Path, name: str) -> None:
    whole = (views / name).read_bytes()
    assert len(whole) == (views / name).stat().st_size
    rng = np.random.default_rng(1)
    for start, stop in np.sort(rng.integers(0, len(whole) + 20, (20, 2))):
        with open(views / name, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file.fileno(), int(stop - start), int(start)) == whole[start:stop]


def test_views_are_as_their_arrays(views: Path) -> None:
    array = (views / "stack_1.npy").stat()
    for name in ("stack_1.tif", "stack_1.tifs/0000.tif", "title.txt", "measurement.csv"):
        view = (views / name).stat()
        for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
            assert getattr(view, field) == getattr(array, field)
    directory = (views / "stack_1.tifs").stat()
    assert directory.st_mode == (views / "measurement").stat().st_mode
    assert errno_of(open, views / "stack_1.tif", "r+b") == errno.EROFS


@as_root
def test_who_may_not_read_the_array_may_not_read_its_views() -> None:
    place = Path(f"/tmp/esrffs-views-{os.getpid()}")  # which everybody may enter
    folder = place / "source"
    folder.mkdir(parents=True)
    for name in ("open", "secret"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["x"] = ARRAYS["stack_1"]
            file["group/th"] = file["th"] = np.arange(3)
    with h5py.File(folder / "mixed.h5", "w") as file:
        file["group/own"] = np.arange(3)
        file["group/other"] = h5py.ExternalLink("secret.h5", "/group/th")
    (folder / "secret.h5").chmod(0o600)
    for path in (place, folder):
        path.chmod(0o755)
    mounted = Mounted(folder, place / "mnt", place / "log", "-o", "allow_other")
    try:
        assert as_nobody("cat", mounted / "open.h5/x.tif").returncode == 0
        assert as_nobody("cat", mounted / "open.h5/x.tifs/0001.tif").returncode == 0
        assert as_nobody("cat", mounted / "open.h5/group.csv").returncode == 0
        for name in ("secret.h5/x.tif", "secret.h5/x.tifs/0001.tif", "secret.h5.csv"):
            refused = as_nobody("cat", mounted / name)
            assert refused.returncode != 0
            assert "Permission denied" in refused.stderr
        assert cells(mounted / "mixed.h5/group.csv")[0] == ["own"], "no link out of what all read"
    finally:
        mounted.unmount()
        shutil.rmtree(place)


def test_what_text_is_too_large(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/large.h5", "w") as file:
        file["texts"] = np.full(30_000, "x" * 40, "S40")
        file["few"] = np.full(20_000, "x" * 40, "S40")
        file["padded"] = np.full(20_000, "x", "S1000")
        file["image"] = np.zeros((1500, 1500), "u1")
        file["group/a"] = np.full(30_000, "x" * 40, "S40")
    mounted = mount(tmp_path / "source", "-o", "view_limit=1")
    mounted.expect("view_limit=1")
    shown = mounted / "large.h5"
    assert (shown / "few.txt").stat().st_size == len((shown / "few.txt").read_bytes()) == 820_000
    assert not {name for name in os.listdir(shown) if name.endswith(".txt")}
    for name, owner in (
        ("texts.txt", "texts.npy"),
        ("texts.csv", "texts.npy"),
        ("padded.txt", "padded.npy"),
        ("group.csv", "group"),
    ):
        assert errno_of(os.stat, shown / name) == errno.EFBIG
        told = os.getxattr(shown / owner, "user.esrffs.error").decode()
        assert "view_limit=1" in told
        assert "take a part" in told
    assert errno_of((shown / "image.png").read_bytes) == errno.EFBIG


def test_an_open_view_keeps_its_shape_and_a_new_open_sees_growth(
    tmp_path: Path, mount: MountFactory
) -> None:
    (tmp_path / "source").mkdir()
    with growing(tmp_path / "source") as grow:
        mounted = mount(tmp_path / "source", "-o", "attr_timeout=0,entry_timeout=0")
        views = [mounted / f"growing.h5/{name}" for name in ("a.tif", "a.edf")]
        views.append(mounted / "growing.dat/1.1/measurement.csv")
        before = [view.read_bytes() for view in views]
        opened = [os.open(view, os.O_RDONLY) for view in views]
        grow()
        assert len(tifffile.imread(views[0])) == 9
        assert len(os.listdir(views[0].with_suffix(".tifs"))) == 9
        assert len(cells(views[2])) == 5
        for handle, content in zip(opened, before, strict=True):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(handle, len(content) + 999, 0) == content
            os.close(handle)


def test_a_damaged_chunk_costs_its_frames(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source/damaged.h5"
    array = numbers("<u2", (4, 64, 64))
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=array, chunks=(1, 64, 64), compression="gzip")
        place = file["a"].id.get_chunk_info(2).byte_offset
    with open(path, "r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 32)
    mounted = mount(tmp_path / "source")
    mounted.expect("damaged.h5")
    shown = mounted / "damaged.h5"
    for number in (0, 1, 3):
        same_values(tifffile.imread(shown / f"a.tifs/{number:04}.tif"), array[number])
        with Image.open(shown / f"a.pngs/{number:04}.png") as picture:
            picture.load()
    for name in ("a.tifs/0002.tif", "a.pngs/0002.png", "a.edfs/0002.edf", "a.tif"):
        assert errno_of((shown / name).read_bytes) == errno.EIO
    assert b"/a" in os.getxattr(shown / "a.tif", "user.esrffs.error")
    assert b"/a" in os.getxattr(shown / "a.npy", "user.esrffs.error")


def test_a_page_of_33_gb(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source/large.h5", "w") as file:
        data = file.create_dataset("a", (4000, 2048, 2048), "<u2", chunks=(1, 2048, 2048))
        data[3999] = 7
    mounted = mount(tmp_path / "source")
    began = time.monotonic()
    with tifffile.TiffFile(mounted / "large.h5/a.tif") as file:
        pages = file.pages
        pages.cache = False
        pages.useframes = True
        page = file.filehandle
        page.seek(-2048 * 2048 * 2, os.SEEK_END)
        assert set(np.frombuffer(page.read(), "<u2")) == {7}
        assert file.is_bigtiff
    assert (tifffile.imread(mounted / "large.h5/a.tifs/3999.tif") == 7).all()
    assert tifffile.imread(mounted / "large.h5/a.tif", key=3999)[5, 5] == 7
    names = os.listdir(mounted / "large.h5/a.tifs")
    assert len(names) == 4000
    assert time.monotonic() - began < 3
    status = Path(f"/proc/{mounted.process.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    assert peak < (512 + 200) << 10
