"""Views through a mount: the same arrays in other formats, as the usual readers see them."""

import csv
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fabio
import h5py
import numpy as np
import pandas
import pytest
import silx.io
import tifffile
from PIL import Image

from tests.support.corrected_scans import training
from tests.support.errnos import errno_of
from tests.support.image_files import edf, image
from tests.support.marks import as_root
from tests.support.mounts import Mounted, MountFactory, mount_factory
from tests.support.processes import as_nobody

Array = np.ndarray

SPEC = """#F some.dat
#E 1
#D Sat Jan 01 00:00:00 2022
#O0 th  tth

#S 1 ascan th 0 2 2 1
#D Sat Jan 01 00:00:01 2022
#N 3
#L th  det/a  mon
0 10 1e5
1 11.5 2e5
2 12 -3e-7
"""


def numbers(dtype: str, shape: tuple[int, ...]) -> Array:
    values = np.random.default_rng(sum(shape)).normal(100, 50, shape)
    return (values > 90) if dtype == "?" else np.abs(values).astype(dtype)


ARRAYS = {
    **{f"stack_{k}": numbers(d, (5, 6, 7)) for k, d in enumerate(("u1", "<u2", ">u2", "<f4"))},
    **{f"image_{k}": numbers(d, (6, 7)) for k, d in enumerate((">f8", "<i4", "?", "<f2", ">i8"))},
    **{f"row_{k}": numbers(d, (9,)) for k, d in enumerate(("<f8", "u1", "<f4", ">i2"))},
    "deep": numbers("<u2", (2, 3, 6, 7)),
    "single": numbers("<u2", (1, 6, 7)),
    "name~1": numbers("<u2", (6, 7)),
    "name.with.dots": numbers("<u2", (6, 7)),
}


def other_formats(folder: Path) -> None:
    """A Spec file, a series of EDF files, and a folder of a scan, which is made too."""
    (folder / "scan").mkdir(parents=True)
    (folder / "spec.dat").write_text(SPEC)
    for number in range(3):
        edf(folder / f"img_{number:04d}.edf", image(number))
    training(folder / "scan")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views") / "source"
    other_formats(folder)
    with h5py.File(folder / "other.h5", "w") as file:
        file["far"] = ARRAYS["stack_1"]
    os.symlink("other.h5", folder / "alias.h5")
    with h5py.File(folder / "all.h5", "w", track_order=True) as file:
        for name, array in ARRAYS.items():
            file[name] = array
        file.create_dataset("packed", data=ARRAYS["stack_1"], chunks=(2, 3, 7), compression="gzip")
        file["colour"] = numbers("u1", (6, 7, 3))
        file["colour"].attrs["interpretation"] = "rgba-image"
        file["complex"] = numbers("<f4", (6, 7)) + 1j
        file["title"] = "a title, µm"
        file["names"] = np.array(["a", "b,c", ' "d"', ""], object)
        file["fixed"] = np.array([[b"ab", b"c"], [b"", b"\xb5"]], "S2")
        file["number"] = np.float32(1.1)
        file["empty"] = np.zeros((0, 3), "u2")
        table = np.zeros(4, [("x", "<f8"), ("n", ">i2")])
        table["x"], table["n"] = np.arange(4) / 3, np.arange(4)
        file["table"] = table
        file["linked"] = h5py.SoftLink("/stack_1")
        file["chain"] = h5py.SoftLink("/linked")
        file["external"] = h5py.ExternalLink("other.h5", "/far")
        file["dangling"] = h5py.SoftLink("/nothing")
        group = file.create_group("measurement", track_order=True)
        group["th"], group["det"] = np.arange(3.0), np.arange(3, dtype="i4")
        group["longer"], group["longest"] = np.arange(4), np.arange(5)
        group["soft"] = h5py.SoftLink("/measurement/th")
        group["image"] = ARRAYS["image_0"]
        file["same"] = h5py.SoftLink("/measurement")
        file.create_group("measurement/tie", track_order=True)
        file["measurement/tie/a"], file["measurement/tie/b"] = np.arange(2), np.arange(3)
        file["x"], file["y"] = ARRAYS["image_0"], ARRAYS["image_0"]
        file["x.tif/inner"] = 1
        file["l" * 249] = ARRAYS["stack_1"]
    return folder


@pytest.fixture(scope="module")
def mounted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    factory = mount_factory(tmp_path_factory.mktemp("mount"))
    yield next(factory)(source)
    next(factory, None)


@pytest.fixture
def views(mounted: Mounted) -> Path:
    return mounted / "all.h5"


def widened(array: Array) -> Array:
    kinds = {"?": "u1", "e": "f4"}
    return array.astype(kinds.get(array.dtype.char, array.dtype.newbyteorder("=")))


def cells(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return [[cell.strip(" ") for cell in row] for row in csv.reader(file)]


def same_values(found: Array, array: Array) -> None:
    assert found.dtype.newbyteorder("=") == widened(array).dtype
    assert np.array_equal(found.reshape(array.shape), widened(array))


@pytest.mark.parametrize("name", [*ARRAYS, "packed"])
def test_tiff_and_edf_give_the_array_back(views: Path, name: str) -> None:
    array = np.load(views / f"{name}.npy")
    if array.ndim > 1:
        same_values(tifffile.imread(views / f"{name}.tif"), array)
        same_values(np.asarray(tifffile.memmap(views / f"{name}.tif", mode="r")), array)
    else:
        assert not (views / f"{name}.tif").exists()
    if array.ndim > 3:
        assert not (views / f"{name}.edf").exists()
        return
    with fabio.open(views / f"{name}.edf") as file:
        frames = [file.get_frame(number).data for number in range(file.nframes)]
    same_values(np.array(frames), array)


@pytest.mark.parametrize("name", ["stack_1", "stack_3", "deep", "packed"])
def test_a_file_for_each_frame(views: Path, name: str) -> None:
    array = np.load(views / f"{name}.npy")
    frames = array.reshape(-1, *array.shape[-2:])
    for format_, suffix in (("tifs", "tif"), ("edfs", "edf"), ("pngs", "png")):
        names = [f"{number:04}.{suffix}" for number in range(len(frames))]
        folder = views / f"{name}.{format_}"
        assert os.listdir(folder) == names
        for number, frame in enumerate(frames):
            path = folder / names[number]
            assert path.stat().st_size == len(path.read_bytes())
            if suffix == "tif":
                same_values(tifffile.imread(path), frame)
            elif suffix == "edf":
                same_values(fabio.open(path).data, frame)
            else:
                with Image.open(path) as picture:
                    assert picture.size == frame.shape[::-1]
        assert not (folder / f"{len(frames):04}.{suffix}").exists()
        assert not (folder / f"0.{suffix}").exists()


def test_one_image_as_png(views: Path) -> None:
    array = np.load(views / "image_0.npy")
    low, high = np.percentile(array, (0.5, 99.5))
    with Image.open(views / "image_0.png") as picture:
        expected = np.rint(np.clip((array - low) * 255 / (high - low), 0, 255))
        assert np.array_equal(np.asarray(picture), expected)
        assert repr(float(low)) in picture.text["Comment"]
    with Image.open(views / "single.png") as picture:
        assert picture.size == (7, 6)
    assert not (views / "stack_1.png").exists()
    assert not (views / "image_0.pngs").exists()
    assert not (views / "single.tifs").exists()


def test_colour(views: Path) -> None:
    array = np.load(views / "colour.npy")
    assert np.array_equal(tifffile.imread(views / "colour.tif"), array)
    with Image.open(views / "colour.png") as picture:
        assert np.array_equal(np.asarray(picture), array)
    assert not (views / "colour.tifs").exists()


def test_numbers_as_csv(views: Path) -> None:
    for name in ("row_0", "row_1", "row_2", "row_3"):
        array = np.load(views / f"{name}.npy")
        frame = pandas.read_csv(views / f"{name}.csv", skipinitialspace=True)
        assert list(frame.columns) == [name]
        assert np.array_equal(frame[name].to_numpy().astype(array.dtype), array)
    for name in ("image_0", "image_1", "image_4"):
        array = np.load(views / f"{name}.npy")
        assert np.array_equal(np.genfromtxt(views / f"{name}.csv", delimiter=","), array)
    assert cells(views / "table.csv")[:3] == [
        ["x", "n"],
        ["0.0", "0"],
        ["0.3333333333333333", "1"],
    ]
    assert (views / "empty.csv").read_bytes() == b""
    assert not (views / "stack_1.csv").exists()


def test_texts(views: Path) -> None:
    assert (views / "title.txt").read_text() == "a title, µm\n"
    assert (views / "names.txt").read_text() == 'a\nb,c\n "d"\n\n'
    assert (views / "fixed.txt").read_text() == "ab\nc\n\nµ\n"
    assert (views / "number.txt").read_text() == "1.1\n"
    with open(views / "names.csv", newline="") as file:
        assert list(csv.reader(file)) == [["names"], ["a"], ["b,c"], [' "d"'], [""]]
    assert cells(views / "fixed.csv") == [["ab", "c"], ["", "µ"]]
    assert not (views / "image_0.txt").exists()
    for name in ("title.txt", "names.txt", "fixed.txt", "number.txt", "names.csv"):
        assert (views / name).stat().st_size == len((views / name).read_bytes())


def test_no_view_where_a_format_has_no_such_type(views: Path) -> None:
    for suffix in ("tif", "edf", "png", "txt"):
        assert not (views / f"complex.{suffix}").exists()
    assert cells(views / "complex.csv")[0][0].endswith("+1.0j")
    for name in ("dangling.tif", "nothing.tif", "stack_1.tif.tif", ".tif", "tif", "stack_1.h4"):
        assert not (views / name).exists()


def test_the_table_of_a_group(views: Path, mounted: Mounted) -> None:
    assert cells(views / "measurement.csv") == [
        ["th", "det", "soft"],
        ["0.0", "0", "0.0"],
        ["1.0", "1", "1.0"],
        ["2.0", "2", "2.0"],
    ]
    assert cells(views / "measurement/tie.csv") == [["a"], ["0"], ["1"]]
    assert cells(mounted / "spec.dat/1.1/measurement.csv") == [
        ["th", "det/a", "mon"],
        ["0.0", "10.0", "100000.0"],
        ["1.0", "11.5", "200000.0"],
        ["2.0", "12.0", "-3e-07"],
    ]
    assert cells(mounted / "all.h5.csv")[0] == ["row_0", "row_1", "row_2", "row_3"]
    assert not (mounted / "other.h5.csv").exists()
    assert os.readlink(views / "same.csv") == "measurement.csv"
    assert cells(views / "same.csv") == cells(views / "measurement.csv")


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


@contextmanager
def growing(folder: Path) -> Iterator[Callable[[], None]]:
    """`growing.h5`, whose writer is at work, and `growing.dat`; calling makes both grow."""
    spec, shape = folder / "growing.dat", (5, 64, 64)
    spec.write_text(SPEC)
    with h5py.File(folder / "growing.h5", "w", libver="latest") as file:
        chunks, largest = (1, 64, 64), (None, 64, 64)
        data = file.create_dataset("a", shape, "<u2", chunks=chunks, maxshape=largest)
        data[...] = numbers("<u2", shape)
        small = file.create_dataset("b", (5,), "<f8", chunks=(1,), maxshape=(None,))
        small[...] = np.arange(5)
        file.swmr_mode = True
        file.flush()

        def grow() -> None:
            for dataset in (data, small):
                dataset.resize(9, axis=0)
                dataset[5:] = 7
                dataset.flush()
            spec.write_text(SPEC + "3 13 1\n")

        yield grow


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


def test_headers_go_back(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    told = [
        {
            "motor_mne": "srot sy",
            "motor_pos": f"{0.5 * k} -1",
            "counter_mne": "mon",
            "counter_pos": str(100 + k),
            "title": "x" * 400 * k + "a title",
            "Dim_1": "99",
        }
        for k in range(3)
    ]
    file = fabio.edfimage.EdfImage(image(0), told[0])
    for number in (1, 2):
        file.append_frame(data=image(number), header=told[number])
    file.write(str(tmp_path / "source/stack.edf"))
    fabio.edfimage.EdfImage(image(0), told[1]).write(str(tmp_path / "source/one.edf"))
    mounted = mount(tmp_path / "source")
    detector = mounted / "stack.edf/scan_0/instrument/detector_0"
    paths = [(detector / "data.edf", k, k) for k in range(3)]
    paths += [(detector / f"data.edfs/{k:04}.edf", 0, k) for k in range(3)]
    paths.append((mounted / "one.edf/scan_0/instrument/detector_0/data.edf", 0, 1))
    assert len(os.listdir(detector / "data.edfs")) == 3
    for path, frame, number in paths:
        assert path.stat().st_size == len(path.read_bytes())
        with fabio.open(path) as view:
            header = view.get_frame(frame).header
            for key in ("motor_mne", "motor_pos", "counter_mne", "counter_pos", "title"):
                assert header[key].split() == told[number][key].split()
            assert header["Dim_1"] == str(image(0).shape[1])
    with silx.io.open(str(detector / "data.edf")) as view:
        assert view["scan_0/instrument/positioners/srot"][()].tolist() == [0, 0.5, 1]
        assert view["scan_0/measurement/mon"][()].tolist() == [100, 101, 102]


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


def test_copies(views: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", views / "stack_1.tifs", tmp_path / "frames"], check=True)
    same_values(tifffile.imread(tmp_path / "frames/0004.tif"), ARRAYS["stack_1"][4])


def test_a_mount_of_one_file(tmp_path: Path, mount: MountFactory) -> None:
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["th"] = np.arange(2)
    mounted = mount(tmp_path / "one.h5")
    assert cells(mounted / "one.h5.csv") == [["th"], ["0"], ["1"]]
    assert cells(mounted / "th.csv") == [["th"], ["0"], ["1"]]
