"""Where a call on the source runs, and how long it may take: in place, or in a thread.

A call on a local disk costs a microsecond or two, a thread a hundred: so a local source is called
in place.  A file server that does not answer would stop the whole mount at such a call: so a source
on one is called in a thread, which is left behind when it has not returned after `time_limit`.

The choice is made once per mount.  For a path outside the source, `check_paths` determines its file
system in a thread; if that is a network file system, all later calls take threads.  (To choose for
each call would need a call that tells on which file system its path ends, and that may wait.)

Reads on a remote file system are measured (`source/speed`): where they are slow, callers make them
long, and many at a time.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from typing import TypeVar

import trio

from esrffs.errors import OwnMountError, UnavailableError, no_answer
from esrffs.linux import path_walk
from esrffs.linux.mountinfo import TYPE, Mount, mounts
from esrffs.source.speed import FileSystemSpeed

T = TypeVar("T")
_LOCAL = frozenset(
    "bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs fuseblk hfsplus iso9660 jfs msdos nilfs2 ntfs "
    "ntfs3 overlay ramfs reiserfs rootfs squashfs tmpfs udf ufs vfat xfs zfs".split()
)
_WITHIN = frozenset(  # the kernel's own, which lie below "/" on every machine
    "bpf binfmt_misc cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs "
    "mqueue nsfs proc pstore rpc_pipefs securityfs selinuxfs sysfs tracefs".split()
)
MAX_KNOWN_PATHS = 10_000  # paths outside the source that were looked at
MAX_WAITING_THREADS = 256  # for a server at a time, those included that were left behind
PARALLEL = 32  # reads in flight on a slow file system
MAX_FILE_SYSTEMS = 64  # whose speed is remembered


def is_remote(path: str) -> bool:
    """Whether this path lies on a file system that may let a caller wait, or above one."""
    return _is_remote(path, list(mounts()))


def _is_remote(path: str, mounted: Sequence[Mount]) -> bool:
    try:
        path = path_walk.resolve(os.path.abspath(path))
    except OSError:  # it is not known where it leads
        return True
    above = [mount for mount in mounted if os.path.commonpath((mount.target, path)) == mount.target]
    above.sort(key=lambda mount: len(mount.target))  # of two at one place, the later one is seen
    below = [mount for mount in mounted if mount.target.startswith(path.rstrip("/") + "/")]
    return any(mount.type not in _LOCAL | _WITHIN | {TYPE} for mount in (*above[-1:], *below))


class SourceExecutor:
    """Runs the calls on one source, each for at most `seconds`.

    `remote`: the source may keep a caller waiting.  `parallel`: reads in flight on one file system
    of it.
    """

    def __init__(
        self, seconds: float = 30.0, *, remote: bool = False, parallel: int = PARALLEL
    ) -> None:
        self.remote = remote
        self.seconds = seconds
        self.parallel = parallel
        self.in_flight = 0  # calls that run in threads, and are waited for
        self._overdue: set[object] = set()  # calls that were given up, and have not returned
        self.reads = trio.CapacityLimiter(parallel)
        self._threads = trio.CapacityLimiter(MAX_WAITING_THREADS)
        self._local: set[str] = set()
        self._speeds: OrderedDict[int, FileSystemSpeed] = OrderedDict()  # by device

    def __repr__(self) -> str:
        return f"<SourceExecutor of {self.seconds:g} s{', remote' if self.remote else ''}>"

    def threads_to_spare(self) -> int:
        """How many threads one piece of work may use at a time, at least one.

        A quarter of those that are free: a server that stops answering holds those that it has,
        and must leave some to what lies elsewhere.
        """
        return max(1, int(self._threads.available_tokens) // 4)

    def speed(self, device: int) -> FileSystemSpeed:
        """What was measured of the file system with this device number."""
        if device not in self._speeds:
            self._speeds[device] = FileSystemSpeed()
            while len(self._speeds) > MAX_FILE_SYSTEMS:
                self._speeds.popitem(last=False)
        return self._speeds[device]

    def is_slow(self, device: int) -> bool:
        """Whether reads on this file system should be few and long, and many in flight."""
        return self.remote and self.speed(device).is_slow

    def read_ahead_nbytes(self, device: int) -> int:
        """How many bytes of this file system are worth reading ahead, by latency × throughput.

        0 while a call is overdue: what may be silent is not asked for more than is wanted.
        """
        if self._overdue:
            return 0
        return self.speed(device).window_nbytes(self.parallel)

    def status(self) -> dict[str, object]:
        """What was measured, for `user.esrffs.status`."""
        speeds = list(self._speeds.values())
        known = [one.latency for one in speeds if one.latency is not None]
        return {
            "remote": self.remote,
            "parallel": self.parallel,
            "calls_in_flight": self.in_flight,
            "calls_overdue": len(self._overdue),
            "latency_ms": round(1000 * max(known), 2) if known else None,
            "reads": sum(one.reads for one in speeds),
            "bytes_read": sum(one.nbytes for one in speeds),
        }

    async def run(self, work: Callable[[], T], unused: Callable[[T], object] = id) -> T:
        """The result of this call on the source, made in a thread if the source is remote.

        `unused` disposes of a result that comes after the time limit, when UnavailableError was
        raised.
        """
        return await self.run_in_thread(work, unused=unused) if self.remote else work()

    async def read(
        self,
        work: Callable[[], T],
        device: int,
        nbytes: int,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        """The result of this read of so many bytes, made in a thread, and measured.

        `limiter` bounds how many run at a time; the wait for it counts against the time limit.
        """
        speed, clock = self.speed(device), time.perf_counter
        took = 0.0

        def measured() -> T:
            nonlocal took
            start = clock()
            result = work()
            took = clock() - start
            return result

        try:
            with trio.fail_after(self.seconds):
                async with limiter or nullcontext():
                    speed.begin(clock())
                    try:
                        result = await self.run_in_thread(measured)
                    except BaseException:
                        speed.give_up()
                        raise
        except trio.TooSlowError:
            raise UnavailableError(no_answer(self.seconds)) from None
        speed.end(clock(), took, nbytes)
        return result

    async def check_paths(self, paths: Iterable[str]) -> None:
        """Find out where these paths lead, before anything there is looked at.

        They may lie outside the source, on a file server.  UnavailableError after the time limit.
        """
        new = [] if self.remote else [path for path in paths if path not in self._local]
        if new:
            await self.run_in_thread(lambda: self.check_paths_in_thread(new))

    def check_paths_in_thread(self, paths: Iterable[str]) -> None:
        """`check_paths`, for a caller that is in a thread already."""
        new = [] if self.remote else [path for path in paths if path not in self._local]
        mounted = list(mounts()) if new else []
        with suppress(OwnMountError):  # is never looked at
            if any(_is_remote(path, mounted) for path in new):
                self.remote = True
        if len(self._local) >= MAX_KNOWN_PATHS:
            self._local.clear()
        self._local.update(new)

    async def run_in_thread(
        self,
        work: Callable[[], T],
        *,
        limiter: trio.CapacityLimiter | None = None,
        unused: Callable[[T], object] = id,
        overdue: Callable[[float], str] = no_answer,
    ) -> T:
        """The result of this call, which may wait for a disk; UnavailableError after `seconds`.

        `limiter` bounds how many such calls run at a time; waiting for it is not limited in time.
        `overdue` makes the text of the error, for a call that may be late for other reasons.
        """
        given_up = started = finished = False
        token = trio.lowlevel.current_trio_token()

        def run() -> T:
            nonlocal started, finished
            started = True
            try:
                result = work()
            finally:
                finished = True
                if given_up:
                    with suppress(trio.RunFinishedError):
                        token.run_sync_soon(self._overdue.discard, run)
            if given_up:
                unused(result)
            return result

        async with limiter or nullcontext():
            self.in_flight += 1
            try:
                with trio.fail_after(self.seconds):
                    return await trio.to_thread.run_sync(
                        run, abandon_on_cancel=True, limiter=self._threads
                    )
            except trio.TooSlowError:
                raise UnavailableError(overdue(self.seconds)) from None
            finally:
                self.in_flight -= 1
                given_up = True
                if started and not finished:
                    self._overdue.add(run)
