"""Where a call on the source runs, which may wait for a file server: here, or in a thread.

Decided here: which file systems may keep a caller waiting, and that nobody waits for longer than
`time_limit`.  A call on a local disk costs a microsecond or two, a thread a hundred, so what
is local is called at once.  A server that does not answer would stop the whole mount at such a
call; so what lies on one is called in a thread, which is left behind when it does not come back.

That is decided for a mount as a whole, and anew when a link leads out of its source: who meets one
looks in a thread where it leads (`toward`), and once any leads to a server, all calls take threads.
To decide for each call would need to know on which file system its path ends, which only a call
tells that may wait.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from typing import TypeVar

import trio

from esrffs.errors import OwnMountError, UnavailableError, no_answer
from esrffs.linux import path_walk
from esrffs.linux.mountinfo import TYPE, Mount, mounts

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
MAX_WAITING_THREADS = (
    256  # that may wait for a server at a time, those included that were left behind
)


def is_remote(path: str) -> bool:
    """Does this path lie on a file system that is not known to answer at once, or one below it?"""
    return _is_remote(path, list(mounts()))


def _is_remote(path: str, mounted: Sequence[Mount]) -> bool:
    try:
        path = path_walk.resolve(os.path.abspath(path))
    except OSError:  # nobody knows where it leads
        return True
    above = [mount for mount in mounted if os.path.commonpath((mount.target, path)) == mount.target]
    above.sort(key=lambda mount: len(mount.target))  # of two at one place, the later one is seen
    below = [mount for mount in mounted if mount.target.startswith(path.rstrip("/") + "/")]
    return any(mount.type not in _LOCAL | _WITHIN | {TYPE} for mount in (*above[-1:], *below))


class SourceExecutor:
    """How long calls on one source may take, in `seconds`, and where they run."""

    def __init__(self, seconds: float = 30.0, *, remote: bool = False) -> None:
        self.remote = remote
        self.seconds = seconds
        self._threads = trio.CapacityLimiter(MAX_WAITING_THREADS)
        self._local: set[str] = set()

    def __repr__(self) -> str:
        return f"<SourceExecutor of {self.seconds:g} s{', remote' if self.remote else ''}>"

    def threads_to_spare(self) -> int:
        """How many threads one piece of work may use at a time, at least one.

        A quarter of those that are free: a server that stops answering holds those that it has,
        and must leave some to what lies elsewhere.
        """
        return max(1, int(self._threads.available_tokens) // 4)

    async def run(self, work: Callable[[], T], unused: Callable[[T], object] = id) -> T:
        """What this gives, without stopping the mount; UnavailableError after the time limit.

        `unused` puts away what comes after that.
        """
        return await self.run_in_thread(work, unused=unused) if self.remote else work()

    async def check_paths(self, paths: Iterable[str]) -> None:
        """Before these, which may lie anywhere, are looked at; UnavailableError where not."""
        new = [] if self.remote else [path for path in paths if path not in self._local]
        if new:
            await self.run_in_thread(lambda: self.check_paths_in_thread(new))

    def check_paths_in_thread(self, paths: Iterable[str]) -> None:
        """The same, where somebody waits already."""
        new = [] if self.remote else [path for path in paths if path not in self._local]
        mounted = list(mounts()) if new else []
        with suppress(OwnMountError):  # is not looked at, whoever asks
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
        """The same for what may wait for a disk; `limiter` is for taking turns before it begins.

        `overdue`: what is said of it after so many seconds, if it may be no disk's fault.
        """
        given_up = False

        def run() -> T:
            result = work()
            if given_up:
                unused(result)
            return result

        async with limiter or nullcontext():
            try:
                with trio.fail_after(self.seconds):
                    return await trio.to_thread.run_sync(
                        run, abandon_on_cancel=True, limiter=self._threads
                    )
            except trio.TooSlowError:
                raise UnavailableError(overdue(self.seconds)) from None
            finally:
                given_up = True
