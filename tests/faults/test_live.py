"""Files that are written while they are read: writers never fail, readers see whole states."""

import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ESRFFS, MountFactory, is_mounted, wait_for

FAST = ("-o", "attr_timeout=0.1,entry_timeout=0.1")
# As BLISS does: one file, a group for each scan, opened for appending each time, locking on.
WRITER = """
import os, sys, time
os.environ["HDF5_USE_FILE_LOCKING"] = "TRUE"
import h5py, numpy as np
path, scans, swmr = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "swmr"
for number in range(1, scans + 1):
    with h5py.File(path, "a", libver="latest", locking=True) as file:
        scan = file.create_group(f"{number}.1")
        scan["title"] = f"scan {number}"
        data = scan.create_dataset("data", (0, 64), "i4", maxshape=(None, 64), chunks=(1, 64))
        if swmr:
            file.swmr_mode = True
        for frame in range(5):
            data.resize(frame + 1, axis=0)
            data[frame] = number * 10 + frame
            data.flush()
            time.sleep(0.01)
    time.sleep(0.05)
"""


@pytest.mark.parametrize("mode", ["swmr", "plain"])
def test_a_writer_with_locks_is_never_disturbed(
    mount: MountFactory, tmp_path: Path, mode: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = source / "live.h5"
    with h5py.File(path, "w", libver="latest"):
        pass
    mounted = mount(source, *FAST)
    mounted.expect("live.h5")  # without SWMR its writer is told of, while it is at work
    scans = 100
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(scans), mode], stderr=subprocess.PIPE, text=True
    )
    bad: list[str] = []
    read = 0

    def reader(seed: int) -> None:
        nonlocal read
        chance = random.Random(seed)
        while writer.poll() is None:
            try:
                names = [name for name in os.listdir(mounted / "live.h5") if name.endswith(".1")]
                if not names:
                    continue
                name = chance.choice(names)
                shown = np.load(mounted / "live.h5" / name / "data.npy")
                expected = int(float(name)) * 10 + np.arange(len(shown))
                if not (shown == expected[:, None]).all():
                    bad.append(f"{name}: {shown[:, 0]}")
                read += 1
            except OSError:
                time.sleep(0.005)
            except ValueError as error:  # np.load of less than was promised
                bad.append(f"{name}: {error}")

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.communicate()[1] == ""
    assert writer.returncode == 0
    assert bad == []
    assert read > 20
    wait_for(lambda: len(os.listdir(mounted / "live.h5")) == scans, 3)
    for number in range(1, scans + 1):
        shown = np.load(mounted / f"live.h5/{number}.1/data.npy")
        np.testing.assert_array_equal(shown, (number * 10 + np.arange(5))[:, None].repeat(64, 1))


def test_spec_line_by_line(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = source / "live.dat"
    path.write_text("#F live.dat\n#E 1\n#D Thu Feb 11 09:54:35 2016\n\n")
    mounted = mount(source, *FAST)
    mounted.expect("live.dat")
    with path.open("a", buffering=1) as file:
        for number in range(1, 6):
            file.write(f"#S {number} ascan x 0 1 9 1\n#D Thu Feb 11 09:54:35 2016\n#N 2\n#L x  y\n")
            for row in range(10):
                file.write(f"{row} {number * 100}")
                file.flush()
                time.sleep(0.02)
                shown = mounted / f"live.dat/{number}.1/measurement/y.npy"
                try:
                    values = np.load(shown)
                except OSError:
                    values = np.zeros(0)
                assert len(values) <= row + 1
                assert set(values.tolist()) <= {number * 100.0}, "no half line"
                file.write("\n")
            file.write("\n")
    for number in range(1, 6):
        shown = mounted / f"live.dat/{number}.1/measurement/y.npy"
        wait_for(lambda shown=shown: shown.exists() and len(np.load(shown)) == 10, 3)


def test_a_series_that_grows(mount: MountFactory, tmp_path: Path) -> None:
    from tests.test_security import edf

    source = tmp_path / "source"
    source.mkdir()
    mounted = mount(source, *FAST)
    mounted.expect("f_")
    shown = "scan_0/instrument/detector_0/data.npy"
    for number in range(12):
        path = source / f"f_{number:04}.edf"
        whole = edf() + bytes([number]) * 512
        with path.open("wb") as file:
            for at in range(0, len(whole), 500):
                file.write(whole[at : at + 500])
                file.flush()
                try:
                    stack = np.load(mounted / "f_####.edf" / shown)
                except OSError:
                    continue
                for frame, image in enumerate(stack):
                    assert (image == frame).all(), "a half-written frame"
    wait_for(lambda: len(np.load(mounted / "f_####.edf" / shown)) == 12, 3)


class Changing:
    """A file whose arrays hold the number of its state, and readers that compare."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wrong: list[str] = []
        self.read = 0
        self.end = threading.Event()
        self._states: set[bytes] = set()
        self.write(path, 0)

    def write(self, target: Path, state: int) -> None:
        values = np.full((64, 500), state, "i4")
        self._states.add(values.tobytes())  # before it can be seen
        with h5py.File(target, "w") as file:
            file["x"] = values
            file.create_dataset("z", data=values, chunks=(8, 500), compression="gzip")

    def change(self, state: int, chance: random.Random) -> None:
        match chance.randrange(4):
            case 0 | 1:
                new = self.path.parent.with_name("new.h5")
                self.write(new, state)
                os.replace(new, self.path)
            case 2:
                self.write(self.path, state)
            case 3:
                os.truncate(self.path, chance.randrange(self.path.stat().st_size))
                self.write(self.path, state)
                with self.path.open("ab") as file:
                    file.write(b"more")

    def reader(self, shown: Path, seed: int) -> None:
        chance = random.Random(seed)
        while not self.end.is_set():
            try:
                with open(shown / f"{chance.choice('xz')}.npy", "rb", 0) as file:
                    size = chance.choice((777, 40_000, 1 << 20))
                    read = b"".join(iter(lambda file=file, size=size: file.read(size), b""))
            except OSError:
                continue
            self.read += 1
            if read[128:] not in self._states:
                values = sorted(set(read[128:][:: 4 * 500]))
                self.wrong.append(f"{len(read)} bytes, of the states {values}")


def test_old_or_new_never_mixed(mount: MountFactory, tmp_path: Path) -> None:
    """Random replacing, rewriting, truncating and appending; a new open sees the new state."""
    source = tmp_path / "source"
    source.mkdir()
    file = Changing(source / "file.h5")
    mounted = mount(source, "-o", "attr_timeout=0,entry_timeout=0")
    mounted.expect("file.h5")
    shown = mounted / "file.h5"
    threads = [threading.Thread(target=file.reader, args=(shown, seed)) for seed in range(3)]
    for thread in threads:
        thread.start()
    chance = random.Random(1)
    try:
        for state in range(1, 300):
            time.sleep(0.005)
            file.change(state, chance)
            if state % 20 == 0:
                assert (np.load(shown / "x.npy") == state).all(), "not the new state"
    finally:
        file.end.set()
        for thread in threads:
            thread.join()
    assert file.wrong == []
    assert file.read > 20


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace")
def test_nothing_is_locked_and_nothing_opened_for_writing(tmp_path: Path, source: Path) -> None:
    mountpoint, trace = tmp_path / "mnt", tmp_path / "trace"
    mountpoint.mkdir()
    process = subprocess.Popen(
        [
            *("strace", "-f", "-qq", "-o", trace),
            *("-e", "trace=openat,openat2,open,creat,flock,fcntl"),
            *(ESRFFS, source, mountpoint, "-f"),
        ]
    )
    try:
        wait_for(lambda: is_mounted(mountpoint), 40)
        for path in mountpoint.glob("*/*"):
            path.read_bytes()
    finally:
        subprocess.run(["umount", "-l", mountpoint], check=True)
        process.wait(40)
    lines = trace.read_text().splitlines()
    ours = [line for line in lines if str(source) in line]
    assert len(ours) > 10
    assert not [line for line in ours if re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", line)]
    assert not [line for line in lines if re.search(r"\bflock\(|F_(OFD_)?(SETLK|GETLK)", line)]
