"""corrected/ of scans and folders that change while they are mounted."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.changing_scans import BRISK, DARK, FLATS, RAW, old, scan, settle
from tests.support.corrected_scans import SHAPE, counts, edf, identical
from tests.support.errnos import errno_of
from tests.support.flat_field import f32, formula, mean, median
from tests.support.mounts import MountFactory
from tests.support.npy import npy_bytes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


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
    """The same images with another plan are other bytes."""
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
