"""Files that are written while they are read: writers never fail, readers see whole states."""

import errno
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.faults.live import Acquisition, events
from tests.support.mounts import MountFactory, is_mounted
from tests.support.programs import ESRFFS, wait_for

FAST = ("-o", "attr_timeout=0.1,entry_timeout=0.1")


@pytest.mark.parametrize("mode", ["swmr", "plain"])
def test_a_writer_with_locks_is_never_disturbed(
    mount: MountFactory, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    mounted = mount(source, *FAST)
    mounted.expect(f"{mode}.h5")  # without SWMR its writer is told of, while it is at work
    well = Acquisition(source, mounted.path, 60, mode).run()
    assert well, capsys.readouterr().out


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
    from tests.support.secrets import edf

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


def test_old_or_new_never_mixed(
    mount: MountFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random replacing, rewriting, truncating and appending; a new open sees the new state."""
    source = tmp_path / "source"
    source.mkdir()
    mounted = mount(source, "-o", "attr_timeout=0,entry_timeout=0")
    mounted.expect("file.h5")
    well = events(source, mounted.path, 300, seed=1, executor=0.5)
    assert well, capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace")
@pytest.mark.skipif(os.geteuid() != 0, reason="a user's strace takes fusermount3's rights")
@pytest.mark.parametrize("options", [(), ("-o", "allow_other")], ids=["private", "shared"])
def test_nothing_is_locked_and_nothing_opened_for_writing(
    tmp_path: Path, source: Path, options: tuple[str, ...]
) -> None:
    mountpoint, trace = tmp_path / "mnt", tmp_path / "trace"
    mountpoint.mkdir()
    process = subprocess.Popen(
        [
            *("strace", "-f", "-y", "-qq", "-o", trace),  # -y: descriptors with their paths
            *("-e", "trace=openat,openat2,open,creat,flock,fcntl"),
            *(ESRFFS, source, mountpoint, "-f", *options),
        ]
    )
    try:
        wait_for(lambda: is_mounted(mountpoint) or process.poll() is not None, 40)
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


@pytest.mark.parametrize("before", [0, 1 << 20])
def test_an_open_text_array_is_never_that_of_the_file_in_its_place(
    mount: MountFactory, tmp_path: Path, before: int
) -> None:
    """Strings come from a reader, which opens by name: what is there now may be another file."""

    def write(path: Path, letter: str) -> None:
        with h5py.File(path, "w") as file:
            file["words"] = np.array([letter * 9] * 100_000, dtype=h5py.string_dtype())

    source = tmp_path / "source"
    source.mkdir()
    write(source / "a.h5", "a")
    write(tmp_path / "new.h5", "b")
    mounted = mount(source, "-o", "cache_size=1")
    code = None
    with open(mounted / "a.h5/words.npy", "rb", buffering=0) as file:
        read = file.read(before)
        os.replace(tmp_path / "new.h5", source / "a.h5")
        try:
            while piece := file.read(1 << 20):
                read += piece
        except OSError as error:
            code = error.errno
    words = np.frombuffer(read[128 : 128 + len(read[128:]) // 36 * 36], "<U9")
    assert set(words) <= {"a" * 9}
    assert code == errno.ESTALE or len(read) == 128 + 100_000 * 36
    assert set(np.load(mounted / "a.h5/words.npy")) == {"b" * 9}
