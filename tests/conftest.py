"""Real mounts for tests: made in a moment, always taken away, their logs looked at."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from esrffs.formats import budget
from tests.support.stopwatch import Stopwatch

TESTS = Path(__file__).parent
DATA = TESTS.parent.parent / "shared" / "data"
ESRFFS = Path(sys.executable).with_name("esrffs")
FUSE = os.path.exists("/dev/fuse")

# The same examples in every run, however slow the machine: what fails is the change, not the draw.
# `pytest --hypothesis-profile=explore` draws others.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("explore"), derandomize=True)
settings.load_profile("steady")


# The folders of tests/ in the order in which they run: fast tests fail first.
FOLDERS = "unit workers repository mount program faults".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder, and sort the tests by `FOLDERS`."""

    def folder(item: pytest.Item) -> str:
        return next((name for name in FOLDERS if item.path.is_relative_to(TESTS / name)), "faults")

    for item in items:
        item.add_marker(folder(item))
    items.sort(key=lambda item: FOLDERS.index(folder(item)))


@pytest.fixture(autouse=True)
def no_time_limit() -> None:
    """What one test called of a reader's time leaves no limit for the next."""
    budget.begin(math.inf)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Until the condition holds; fails after so many seconds that count (`Stopwatch`)."""
    watch = Stopwatch()
    while not condition():
        assert watch.seconds < seconds, f"still not so after {seconds} s"
        time.sleep(0.02)


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """A program that ends by itself; the timeout is for one that does not, not for a slow one."""
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def esrffs(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return run(ESRFFS, *words, **options)


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


def _factory(folder: Path) -> Iterator[MountFactory]:
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


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountFactory]:
    """`mount(source, *options)` mounts a folder for the length of a test."""
    yield from _factory(tmp_path)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """The real data of `../shared/data`, mounted."""
    if not DATA.is_dir():
        pytest.skip("the real data are not here")
    factory = _factory(tmp_path_factory.mktemp("data"))
    yield next(factory)(DATA)
    next(factory, None)
