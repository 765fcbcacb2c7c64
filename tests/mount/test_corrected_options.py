"""Options of the correction, and what opening and listing corrected/ costs."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.changing_scans import DARK, FLATS, RAW, scan
from tests.support.corrected_scans import counts, edf, identical
from tests.support.flat_field import f32, formula, median
from tests.support.mounts import Mounted, MountFactory
from tests.support.stopwatch import Stopwatch


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


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
