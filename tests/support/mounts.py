"""Real mounts: quickly made, always removed, their logs checked."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.programs import ESRFFS, wait_for

FUSE = os.path.exists("/dev/fuse")


def is_mounted(path: Path) -> bool:
    with open("/proc/self/mountinfo", "rb") as lines:
        return any(os.fsencode(path) == line.split()[4] for line in lines)


def shared_mounts_allowed() -> bool:
    """May this user say `allow_other`?"""
    if os.geteuid() == 0:
        return True
    try:
        lines = Path("/etc/fuse.conf").read_text().splitlines()
    except OSError:
        return False
    return "user_allow_other" in (line.strip() for line in lines)


def drop_caches(what: int) -> None:
    """Let the kernel forget, as /proc/sys/vm/drop_caches explains: 1 pages, 2 names, 3 both."""
    if os.geteuid() != 0:
        pytest.skip("only root can tell the kernel to drop its caches")
    Path("/proc/sys/vm/drop_caches").write_text(str(what))


def device_of(path: Path) -> bytes:
    """The number of the mount's file system, as mountinfo has it."""
    with open("/proc/self/mountinfo", "rb") as lines:
        fields = [line.split() for line in lines]
    return [field[2] for field in fields if field[4] == os.fsencode(path)][-1]


def seen_elsewhere(device: bytes) -> bool:
    """Has a container, or whatever else got its own copy of all mounts meanwhile, this one as well?

    Of the processes of others only root is told that.
    """
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            if any(line.split()[2] == device for line in mounts.read_bytes().splitlines()):
                return True
    return False


class Mounted:
    """A mount of `source`; `expect` names the warnings that its log may hold."""

    def __init__(self, source: Path, path: Path, log: Path, *options: str) -> None:
        self.source = source
        self.path = path
        self.log = log
        self._expected: list[str] = []
        self._killed = False
        if "allow_other" in ",".join(options).split(",") and not shared_mounts_allowed():
            pytest.skip("allow_other needs a line user_allow_other in /etc/fuse.conf")
        path.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [ESRFFS, source, path, "-f", "--log-file", log, *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(lambda: is_mounted(path) or self.process.poll() is not None)
        except BaseException:
            self.process.kill()
            raise
        if self.process.poll() is not None:
            pytest.fail(f"esrffs did not mount: {self.process.communicate()[1]}")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def expect(self, *patterns: str) -> None:
        self._expected += patterns

    @property
    def warnings(self) -> list[str]:
        lines = self.log.read_text().splitlines()
        return [line for line in lines if re.search(r" (WARNING|ERROR|CRITICAL) ", line)]

    @property
    def status(self) -> dict:
        return json.loads(os.getxattr(self.path, "user.esrffs.status"))

    def kill(self) -> None:
        """The daemon, by SIGKILL: nothing is asked of it at the end."""
        self._killed = True
        self.process.kill()

    def unmount(self) -> None:
        if self._killed:
            self.abandon()
            return
        ends = {0}
        if is_mounted(self.path):
            device = device_of(self.path)
            subprocess.run(["umount", "-l", self.path], check=True)
            if seen_elsewhere(device):  # so its daemon is right to stay
                self.process.terminate()
                ends.add(-signal.SIGTERM)  # the other one went too, and the daemon is just ending
        _, text = self.process.communicate(timeout=60)
        assert self.process.returncode in ends, text
        unexpected = [
            line
            for line in self.warnings
            if not any(re.search(pattern, line) for pattern in self._expected)
        ]
        assert not unexpected, "\n".join(unexpected)
        told = [line.partition(" WARNING ")[2] for line in self.warnings if line.endswith("(EIO)")]
        assert len(told) == len(set(told)), "one line for each thing that is wrong"

    def abandon(self) -> None:
        """After a test killed the daemon."""
        self.process.kill()
        self.process.communicate()
        subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)


MountFactory = Callable[..., Mounted]


def mount_factory(folder: Path) -> Iterator[MountFactory]:
    mounts: list[Mounted] = []

    def mount(source: Path, *options: str) -> Mounted:
        if not FUSE:
            pytest.skip("there is no /dev/fuse")
        number = len(mounts)
        mounted = Mounted(source, folder / f"mnt{number}", folder / f"log{number}", *options)
        mounts.append(mounted)
        return mounted

    try:
        yield mount
        while mounts:
            mounts.pop().unmount()
    finally:
        for mounted in mounts:
            mounted.abandon()
