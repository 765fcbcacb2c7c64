"""`corrected/` of scans that are being written, that make no sense, and with other options."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.mount.test_corrected import identical
from tests.support.corrected_scans import SHAPE, counts, edf, f32, formula, mean, median
from tests.support.errnos import errno_of
from tests.support.mounts import Mounted, MountFactory, mount_factory
from tests.support.npy import npy_bytes
from tests.support.stopwatch import Stopwatch

BRISK = ("-o", "attr_timeout=0.1,entry_timeout=0.1")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


RAW, FLATS, DARK = counts("r", 8), counts("f", 2), counts("d")
FLATS[:, 0, :4] = DARK[0, :4]  # to divide by zero
RAW[3, 0, :2] = DARK[0, :2]


def scan(path: Path, raw: np.ndarray = RAW, flats: int = 1, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=raw, **options)
        file["dark"] = DARK
        for k in range(flats):
            file[f"flat/{8 * k}"] = FLATS[k]


def settle() -> None:
    """Longer than the kernel believes what it was told."""
    time.sleep(0.15)


def old(handle: int, array: np.ndarray) -> bool:
    """The handle gives what it gave when it was opened, or says that this is gone."""
    try:
        content = b"".join(os.pread(handle, 1 << 20, at << 20) for at in range(16))
    except OSError as error:
        return error.errno == errno.ESTALE
    return identical(content, array)


# --- change


def test_a_stack_that_grows(mount: MountFactory, source: Path) -> None:
    path = source / "live.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            "data", data=RAW[:1], maxshape=(None, *SHAPE), chunks=(1, *SHAPE), compression="gzip"
        )
        file["flat"], file["dark"] = FLATS[0], DARK
        file.swmr_mode = True
        shown = mount(source, *BRISK) / "live.h5/corrected/data.npy"
        whole = formula(RAW, DARK, FLATS[:1])
        first = os.open(shown, os.O_RDONLY)
        for length in range(1, 6):
            data.resize(length, axis=0)
            data[length - 1] = RAW[length - 1]
            data.flush()
            settle()
            assert identical(shown.read_bytes(), whole[:length])
            assert old(first, whole[:1])
        os.close(first)


def test_a_flat_that_comes_later(mount: MountFactory, source: Path) -> None:
    scan(source / "scan.h5")
    for name, image in (("dark_0", DARK), ("flat_0000", FLATS[0]), ("x_0004", RAW[0])):
        edf(source / f"{name}.edf", image)
    mounted = mount(source, *BRISK)
    shown = mounted / "scan.h5/corrected/data.npy", mounted / "corrected/x_0004.npy"
    assert identical(shown[0].read_bytes(), formula(RAW, DARK, FLATS[:1]))
    assert identical(shown[1].read_bytes(), formula(RAW[0], DARK, FLATS[:1]))
    with h5py.File(source / "scan.h5", "a") as file:
        file["flat/8"] = FLATS[1]
    edf(source / "flat_0008.edf", FLATS[1])
    settle()
    assert identical(shown[0].read_bytes(), formula(RAW, DARK, FLATS, (0.0, 8.0)))
    assert identical(shown[1].read_bytes(), formula(RAW[0], DARK, FLATS, (0.0, 8.0), 4))


def test_an_old_handle_of_what_was_rewritten(mount: MountFactory, source: Path) -> None:
    large = counts("large", 4, shape=(1000, 1000))
    for name in ("dark.edf", "flat.edf", "raw.edf"):
        edf(source / name, large)
    with h5py.File(source / "scan.h5", "w") as file:
        file["data"], file["flat"], file["dark"] = large, large[1], large[2]
    made = {
        "scan.h5/corrected/data.npy": formula(large, large[2], [large[1]]),
        "corrected/raw.npy": formula(large, mean(large), [median(large)]),
    }
    mounted = mount(source, *BRISK)
    for path, name, stale in (
        ("scan.h5/corrected/data.npy", "scan.h5", True),
        ("corrected/raw.npy", "raw.edf", True),
        ("corrected/raw.npy", "dark.edf", False),  # reduced before: still that of then
    ):
        with open(mounted / path, "rb", buffering=0) as handle:
            assert identical(handle.read(1000) + npy_bytes(made[path])[1000:], made[path])
            content = (source / name).read_bytes()
            (source / name).write_bytes(content[:5000] + content[5001:] + b"\0")
            assert old(handle.fileno(), made[path])
            if stale:
                end = made[path].nbytes
                assert errno_of(os.pread, handle.fileno(), 100, end) == errno.ESTALE
            settle()
            assert not identical((mounted / path).read_bytes(), made[path])
            (source / name).write_bytes(content)
            settle()
            assert identical((mounted / path).read_bytes(), made[path])


def test_a_series_that_grows(mount: MountFactory, source: Path) -> None:
    edf(source / "dark.edf", DARK)
    edf(source / "flat_0.edf", FLATS[0])
    edf(source / "flat_4.edf", FLATS[1])
    for k in range(2):
        edf(source / f"bone_{k:04d}.edf", RAW[k])
    mounted = mount(source, *BRISK)
    whole = formula(RAW, DARK, FLATS, (0.0, 4.0))
    number = (mounted / "corrected/bone_0001.npy").stat().st_ino
    for length in range(2, 7):
        settle()
        assert identical((mounted / "corrected/bone_####.npy").read_bytes(), whole[:length])
        assert (mounted / "corrected/bone_0001.npy").stat().st_ino == number
        edf(source / f"bone_{length:04d}.edf", RAW[length])


def test_a_file_behind_a_link_that_changes(mount: MountFactory, source: Path) -> None:
    (source / "lima").mkdir()
    raw = source / "lima" / "raw.h5"
    with h5py.File(raw, "w") as file:
        file["stack"] = RAW[:3]
    with h5py.File(source / "master.h5", "w") as file:
        file["data"] = h5py.ExternalLink("lima/raw.h5", "/stack")
        file["flat/0"], file["flat/8"], file["dark"] = *FLATS, DARK
    shown = mount(source, *BRISK) / "master.h5/corrected/data.npy"
    whole = formula(RAW, DARK, FLATS, (0.0, 8.0))
    assert identical(shown.read_bytes(), whole[:3])
    with h5py.File(raw, "w") as file:
        file["stack"] = RAW
    settle()
    assert identical(shown.read_bytes(), whole)
    with h5py.File(raw, "a") as file:
        file["stack"][2] = 7
    settle()
    changed = RAW.copy()
    changed[2] = 7
    assert identical(shown.read_bytes(), formula(changed, DARK, FLATS, (0.0, 8.0)))


def test_what_is_written_beside_the_images_counts(mount: MountFactory, source: Path) -> None:
    """The same images with another recipe are other bytes."""
    (source / "toml").mkdir()
    (source / "info").mkdir()
    for name, image in (("a", RAW[0]), ("b", RAW[1]), ("c", RAW[2])):
        edf(source / "toml" / f"{name}.edf", image)
    settings = source / "toml" / ".esrffs.toml"
    settings.write_text('[[corrected]]\nraw = "a.edf"\nflat = "b.edf"\ndark = "c.edf"\n')
    for name, image in (("darkend0000", DARK), ("refHST0000", FLATS[0]), ("x0001", RAW[0])):
        edf(source / "info" / f"{name}.edf", image)
    info = source / "info" / "x.info"
    info.write_text("DARK_N= 2\n")
    mounted = mount(source, *BRISK)
    one, two = mounted / "toml/corrected/a.npy", mounted / "info/corrected/x0001.npy"
    assert identical(one.read_bytes(), formula(RAW[0], RAW[2], [RAW[1]]))
    assert identical(two.read_bytes(), formula(RAW[0], f32(DARK) / np.float32(2), FLATS[:1]))
    settings.write_text('[[corrected]]\nraw = "a.edf"\nflat = "c.edf"\ndark = "b.edf"\n')
    info.write_text("DARK_N= 5\n")
    settle()
    assert identical(one.read_bytes(), formula(RAW[0], RAW[1], [RAW[2]]))
    assert identical(two.read_bytes(), formula(RAW[0], f32(DARK) / np.float32(5), FLATS[:1]))


def test_listing_a_file_that_is_being_written(mount: MountFactory, source: Path) -> None:
    """`corrected/` stays in the listing, whatever moment the lister meets."""
    with h5py.File(source / "live.h5", "w", libver="latest") as file:
        data = file.create_dataset("data", data=RAW, maxshape=(None, *SHAPE), chunks=(1, *SHAPE))
        file["flat"], file["dark"] = FLATS[0], DARK
        file.swmr_mode = True
        mounted = mount(source, "-o", "attr_timeout=0,entry_timeout=0")
        for length in range(9, 60):
            data.resize(length, axis=0)
            data[length - 1] = length
            data.flush()
            assert "corrected" in os.listdir(mounted / "live.h5")
            shown = np.load(mounted / "live.h5/corrected/data.npy", mmap_mode="r")
            assert shown.shape[0] == length


# --- refusals


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


# --- options


def tomo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([2, 1, 1, 0, 0, 0, 0, 1, 0])
    data, currents = counts("norm", len(values)), np.linspace(0.2, 0.1, len(values))
    with h5py.File(path, "w") as file:
        file["instrument/detector/data"] = data
        file["instrument/detector/image_key"] = values
        file["control/data"] = currents
    return data, currents


@pytest.mark.parametrize("method", ["nearest", "first"])
def test_options(mount: MountFactory, source: Path, method: str) -> None:
    with h5py.File(source / "scan.h5", "w") as file:
        file["data"], file["dark"] = RAW, DARK
        file["flat/0"], file["flat/7"] = FLATS
    mounted = mount(source, "-o", f"flat={method},nan=1.0")
    chosen = [0 if method == "first" or i <= 3 else 1 for i in range(8)]
    expected = np.stack([formula(RAW[i], DARK, [FLATS[k]]) for i, k in enumerate(chosen)])
    assert not np.isfinite(expected).all()
    expected[~np.isfinite(expected)] = 1
    assert identical((mounted / "scan.h5/corrected/data.npy").read_bytes(), expected)


def test_norm_current(mount: MountFactory, source: Path) -> None:
    data, currents = tomo(source / "tomo.h5")
    scan(source / "other.h5")
    mounted = mount(source, "-o", "norm=current")
    flats, at, index = [median(data[1:3]), f32(data[7])], (1, 7), np.array([3, 4, 5, 6, 8])
    expected = formula(data[index], data[0], flats, at, index)
    flat = np.interp(index, at, [np.median(currents[1:3]), currents[7]])
    for frame, ratio in zip(expected, flat / currents[index], strict=True):
        frame *= np.float32(ratio)
    assert identical((mounted / "tomo.h5/corrected/data.npy").read_bytes(), expected)
    assert "corrected" not in os.listdir(mounted / "other.h5")
    mounted.expect("no machine current")


def test_not_a_number(mount: MountFactory, source: Path) -> None:
    raw, flats, dark = f32(RAW), f32(FLATS), f32(DARK)
    flats[1, 2, 3], flats[0, 4, 5], dark[6, 7], raw[3, 8, 9] = np.nan, np.inf, -np.inf, np.nan
    with h5py.File(source / "scan.h5", "w") as file:
        file["data"], file["dark"], file["flat/1"], file["flat/5"] = raw, dark, *flats
    shown = mount(source) / "scan.h5/corrected/data.npy"
    assert identical(shown.read_bytes(), formula(raw, dark, flats, (1.0, 5.0)))


# --- cost


def bytes_read(mounted: Mounted) -> int:
    """By the daemon and all its processes, from files, since they began."""
    total, pids = 0, [mounted.status["pid"]]
    while pids:
        pid = pids.pop()
        try:
            total += int(Path(f"/proc/{pid}/io").read_text().split()[1])
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def test_a_hundred_gigabytes_open_at_once(mount: MountFactory, source: Path) -> None:
    """A sparse file: whoever read it as a whole would not come back."""
    frames, shape = 6000, (2000, 4200)
    with h5py.File(source / "huge.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((frames, *shape))
        data = h5py.Dataset(
            h5py.h5d.create(file.id, b"data", h5py.h5t.STD_U16LE, space, dcpl=plist)
        )
        data[4321, :3] = 500
        file["flat"], file["dark"] = np.full(shape, 1000, "u2"), np.zeros(shape, "u2")
    assert (source / "huge.h5").stat().st_size > 100e9
    mounted = mount(source)
    before = bytes_read(mounted)
    watch = Stopwatch()
    assert "corrected" in os.listdir(mounted / "huge.h5")
    assert bytes_read(mounted) - before < 1 << 20
    stack = np.load(mounted / "huge.h5/corrected/data.npy", mmap_mode="r")
    assert stack.shape == (frames, *shape)
    assert watch.seconds < 5
    frame = 2 * shape[0] * shape[1]
    first = bytes_read(mounted)
    assert first - before < 2 * frame + (8 << 20)  # flat, dark, and the raw beside the header
    assert stack[4321, :4, 0].tolist() == [0.5, 0.5, 0.5, 0]
    second = bytes_read(mounted)
    assert second - first < 2 * frame  # the pages under the pixels, and what is read ahead
    assert not np.asarray(stack[4322]).any()
    assert bytes_read(mounted) - second < 3 * frame
    del stack


def test_listing_reads_no_image(mount: MountFactory, source: Path) -> None:
    shape = (1500, 1500)
    for name in ("dark_0", "dark_1", "flat_0", "raw"):
        edf(source / f"{name}.edf", np.zeros(shape, "u2"))
    with h5py.File(source / "scan.h5", "w") as file:
        file["data"], file["flat"] = np.zeros((3, *shape), "u2"), np.zeros((3, *shape), "u2")
        file["dark"] = np.zeros(shape, "u2")
    mounted = mount(source)
    before = bytes_read(mounted)
    assert set(os.listdir(mounted / "corrected")) == {"raw.npy", "attrs.json"}
    assert set(os.listdir(mounted / "scan.h5/corrected")) == {"data.npy", "attrs.json"}
    assert (mounted / "corrected/raw.npy").stat().st_size == 128 + 4 * 1500 * 1500
    assert bytes_read(mounted) - before < 1 << 20


def test_who_may_not_read_all_may_not_read_the_result(mount: MountFactory, source: Path) -> None:
    for name, mode in (("dark", 0o644), ("flat", 0o640), ("open", 0o644), ("closed", 0o600)):
        edf(source / f"{name}.edf", counts(name))
        (source / f"{name}.edf").chmod(mode)
    scan(source / "scan.h5")
    (source / "scan.h5").chmod(0o440)
    mounted = mount(source)
    for path, mode in (
        ("corrected/open.npy", 0o640),
        ("corrected/closed.npy", 0o600),
        ("scan.h5/corrected/data.npy", 0o440),
        ("scan.h5/corrected/attrs.json", 0o440),
        ("scan.h5/corrected", 0o550),
    ):
        assert (mounted / path).stat().st_mode & 0o777 == mode
    newest = max((source / f"{name}.edf").stat().st_mtime_ns for name in ("open", "dark", "flat"))
    assert (mounted / "corrected/open.npy").stat().st_mtime_ns == newest


def test_a_folder_that_was_quiet_for_a_while(mount: MountFactory, source: Path) -> None:
    """What was found in it is believed again and again, but not after any change."""
    for name, image in (("dark", DARK), ("flat_0", FLATS[0]), ("x_4", RAW[0]), ("y_4", RAW[1])):
        edf(source / f"{name}.edf", image)
    mounted = mount(source, "-o", "attr_timeout=0,entry_timeout=0")
    shown = mounted / "corrected/x_4.npy"

    def check(raw: np.ndarray, dark: np.ndarray, *flats: np.ndarray) -> None:
        expected = formula(raw, dark, flats, (0.0, 8.0)[: len(flats)], 4)
        assert identical(shown.read_bytes(), expected)
        settle()
        for _ in range(3):
            assert identical(shown.read_bytes(), expected)

    check(RAW[0], DARK, FLATS[0])
    edf(source / "flat_8.edf", FLATS[1])
    check(RAW[0], DARK, *FLATS)
    edf(source / "dark.edf", RAW[5])
    check(RAW[0], RAW[5], *FLATS)
    edf(source / "x_4.edf", RAW[2])
    check(RAW[2], RAW[5], *FLATS)
    (source / "flat_8.edf").unlink()
    check(RAW[2], RAW[5], FLATS[0])
    toml = source / ".esrffs.toml"
    toml.write_text('[[corrected]]\nraw = "x_4.edf"\nflat = "y_4.edf"\ndark = "dark.edf"\n')
    check(RAW[2], RAW[5], RAW[1])
    toml.write_text('[[corrected]]\nraw = "x_4.edf"\nflat = "flat_0.edf"\ndark = "dark.edf"\n')
    check(RAW[2], RAW[5], FLATS[0])
    toml.unlink()
    (source / "flat_0.edf").unlink()
    assert errno_of(os.stat, shown) == errno.ENOENT
    mounted.expect("no corrected/")
