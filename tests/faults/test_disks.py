"""A disk that goes away under a mount, and comes back; daemons and readers that are killed."""

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.faults.conftest import sound
from tests.support.errnos import errno_of
from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import MountFactory, is_mounted
from tests.support.processes import family, gone, parents, workers
from tests.support.programs import ESRFFS, esrffs, wait_for
from tests.support.stopwatch import Stopwatch

pytestmark = needs_fuse
NO_CACHE = ("-o", "attr_timeout=0,entry_timeout=0")


class Disk:
    """A file system at `path`: as made, it holds `good.h5` and 100 kB of text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def put_in(self) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "none", self.path], check=True)
        sound(self.path / "good.h5", 7)
        (self.path / "notes.txt").write_bytes(b"0123456789" * 10_000)

    def pull_out(self) -> None:
        subprocess.run(["umount", "-l", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    source = tmp_path / "source"
    source.mkdir()
    made = Disk(source / "disk")
    yield made
    subprocess.run(["umount", "-l", made.path], check=False, stderr=subprocess.DEVNULL)


@as_root
@pytest.mark.parametrize("options", [(), ("-o", "allow_other")], ids=["private", "shared"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_disk_that_comes_back(
    mount: MountFactory, disk: Disk, options: tuple[str, ...], whole: bool
) -> None:
    """`whole`: the disk is all of the source; else a folder of it."""
    disk.put_in()
    mounted = mount(disk.path if whole else disk.path.parent, *NO_CACHE, *options)
    mounted.expect("good.h5", "notes.txt")
    shown = mounted.path if whole else mounted / "disk"

    def check() -> None:
        assert np.load(shown / "good.h5/words.npy").tolist() == ["a", "bc", "7"]
        assert np.load(shown / "good.h5/x.npy")[0] == 7
        assert (shown / "notes.txt").stat().st_size == 100_000

    for _ in range(3):
        check()
        with open(shown / "notes.txt", "rb", buffering=0) as held:
            assert held.read(10) == b"0123456789"
            disk.pull_out()
            assert os.listdir(shown) == []
            for name in ("good.h5", "good.h5/words.npy", "notes.txt"):
                watch = Stopwatch()
                assert errno_of((shown / name).stat) == errno.ENOENT, name
                assert watch.seconds < 1
            assert os.statvfs(mounted.path).f_namemax == 255, "and the mount answers"
            disk.put_in()
            check()
            found: list[bytes] = []
            code = errno_of(
                lambda to=found, file=held: to.append(os.pread(file.fileno(), 10, 90_000))
            )
            # a lazy unmount leaves an open file as it is; that it has gone is right as well
            assert (code, found) in [(0, [b"0123456789"]), (errno.ESTALE, [])]
    assert mounted.process.poll() is None


def test_a_source_that_is_renamed_away_and_back(mount: MountFactory, source: Path) -> None:
    mounted = mount(source, *NO_CACHE)
    mounted.expect("source")
    assert len(os.listdir(mounted.path)) == 10
    away = source.with_name("away")
    source.rename(away)
    assert errno_of(lambda: os.listdir(mounted.path)) == errno.ENOENT
    assert errno_of((mounted / "good0.h5").stat) == errno.ENOENT
    away.rename(source)
    wait_for(lambda: errno_of(lambda: os.listdir(mounted.path)) == 0, 2)
    assert np.load(mounted / "good0.h5/words.npy").tolist() == ["a", "bc", "0"]


def test_what_a_killed_daemon_leaves_is_dead_at_once(mount: MountFactory, source: Path) -> None:
    """Programs that read hear of it at once; no reader process is left after a second."""
    for number in range(4):
        sound(source / f"more{number}.h5", number)
    mounted = mount(source)
    processes = family(mounted.process.pid)
    codes: list[int] = []
    took: list[float] = []
    at: list[Stopwatch] = []

    def read(number: int) -> None:
        code = 0
        while not code:
            os.utime(source / f"more{number}.h5")
            code = errno_of((mounted / f"more{number}.h5/words.npy").read_bytes)
        took.append(at[0].seconds if at else -1)
        codes.append(code)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    with open(mounted / "good1.h5/x.npy", "rb", buffering=0) as held:
        time.sleep(0.3)
        at.append(Stopwatch())
        os.kill(mounted.process.pid, signal.SIGKILL)
        mounted.process.wait()
        wait_for(lambda: gone(processes), 1)
        for thread in threads:
            thread.join()
        assert 0 <= min(took) <= max(took) < 1
        assert set(codes) <= {errno.ENOTCONN, errno.ECONNABORTED}
        assert errno_of(lambda: os.listdir(mounted.path)) == errno.ENOTCONN
        assert errno_of(lambda: os.pread(held.fileno(), 10, 5000)) == errno.ENOTCONN
        assert esrffs("-u", mounted.path).returncode == 0, "with a file of it open"
    assert os.listdir(mounted.path) == []
    assert esrffs(source, mounted.path).returncode == 0
    os.kill(int(esrffs_pid(mounted.path)), signal.SIGKILL)
    wait_for(lambda: errno_of(lambda: os.listdir(mounted.path)) == errno.ENOTCONN, 2)
    assert esrffs(source, mounted.path).returncode == 0, "a new mount over the dead one"
    assert np.load(mounted / "good0.h5/x.npy").shape == (1000,)
    assert esrffs("-u", mounted.path).returncode == 0
    mounted.process.returncode = 0  # that it was killed is no failure of this test


def esrffs_pid(mountpoint: Path) -> int:
    import json

    return int(json.loads(os.getxattr(mountpoint, "user.esrffs.status"))["pid"])


def test_sigterm_ends_it_with_files_open_and_readers_at_work(
    mount: MountFactory, source: Path
) -> None:
    mounted = mount(source)
    processes = family(mounted.process.pid)
    held = [os.open(mounted / f"good{n}.h5/x.npy", os.O_RDONLY) for n in range(5)]
    for file in held:
        os.read(file, 100)
    os.kill(mounted.process.pid, signal.SIGTERM)
    wait_for(lambda: gone(processes), 5)
    assert not os.path.ismount(mounted.path)
    for file in held:
        with contextlib.suppress(OSError):  # the mount is not there any more
            os.close(file)


def test_a_killed_reader_is_one_line_in_the_log(mount: MountFactory, source: Path) -> None:
    """One for each that was asked by then; one that dies unasked is none."""
    mounted = mount(source)
    np.load(mounted / "good0.h5/words.npy")
    for round_ in range(3):
        killed = workers(mounted)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        os.utime(source / "good0.h5")
        before = mounted.log.read_text().count("asking again")
        assert np.load(mounted / "good0.h5/words.npy").tolist() == ["a", "bc", "0"]
        told = mounted.log.read_text().count("asking again") - before
        assert told <= len(killed), f"round {round_}"
    assert mounted.warnings == []
    assert len(workers(mounted)) >= 1


def test_readers_and_the_fork_server_killed_at_any_time(mount: MountFactory, source: Path) -> None:
    """Also while the mount is made, and the process that makes the readers."""
    number = 0
    for _ in range(3):
        mounted = mount(source)
        stop = time.monotonic() + 2
        while time.monotonic() < stop:
            below = sorted(family(mounted.process.pid) - {mounted.process.pid})
            for pid in below[number % 2 :: 2]:
                # a user's fusermount3, which is root's, is below as well
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            number += 1
            sound(source / "fresh.h5", number)
            words = np.load(mounted / "fresh.h5/words.npy")
            assert words.tolist() == ["a", "bc", str(number)]
            time.sleep(0.2)


def test_a_reader_killed_while_the_mount_is_made(source: Path, tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    for delay in (0.5, 0.7, 0.9, 1.1):
        command = [ESRFFS, source, mountpoint, "-f"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        everyone = parents()
        below = family(process.pid) - {process.pid}
        for pid in [pid for pid in below if everyone.get(pid) in below]:  # not the fork server
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda started=process: is_mounted(mountpoint) or started.poll() is not None)
        assert process.poll() is None, process.communicate()[1]
        assert np.load(mountpoint / "good0.h5/words.npy").tolist() == ["a", "bc", "0"]
        process.terminate()
        process.communicate(timeout=60)
