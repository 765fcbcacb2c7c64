"""Where a call on the source runs, which may wait for a file server: here, or in a thread.

Decided here: which file systems may keep a caller waiting, and that nobody waits for longer than
`time_limit`.  A call on a local disk costs a microsecond or two, a thread a hundred, so what
is local is called at once.  A server that does not answer would stop the whole mount at such a
call; so what lies on one is called in a thread, which is left behind when it does not come back.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import trio

from esrffs.errors import BusyError
from esrffs.mountinfo import mounts

T = TypeVar("T")

_LOCAL = frozenset(
    "bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs fuseblk hfsplus iso9660 jfs msdos nilfs2 ntfs "
    "ntfs3 overlay ramfs reiserfs rootfs squashfs tmpfs udf ufs vfat xfs zfs".split()
)
_THREADS = 256  # that may wait for a server at a time, those included that were left behind


def is_remote(path: str) -> bool:
    """Does this path lie on a file system that is not known to answer at once?"""
    path = os.path.realpath(path)
    above = [m for m in mounts() if os.path.commonpath((m.target, path)) == m.target]
    above.sort(key=lambda mount: len(mount.target))  # of two at one place, the later one is seen
    return bool(above) and above[-1].type not in _LOCAL


class Patience:
    """How long calls on one source may take, in `seconds`, and where they run."""

    def __init__(self, seconds: float = 30.0, *, remote: bool = False) -> None:
        self.remote = remote
        self._seconds = seconds
        self._threads = trio.CapacityLimiter(_THREADS)

    def __repr__(self) -> str:
        return f"<Patience of {self._seconds:g} s{', remote' if self.remote else ''}>"

    async def call(self, work: Callable[[], T], unused: Callable[[T], object] = id) -> T:
        """What this gives, without stopping the mount; BusyError after the time limit.

        `unused` puts away what comes after that.
        """
        return await self.in_thread(work, unused=unused) if self.remote else work()

    async def in_thread(
        self,
        work: Callable[[], T],
        *,
        turn: trio.CapacityLimiter | None = None,
        unused: Callable[[T], object] = id,
    ) -> T:
        """The same for what may wait for a disk; `turn` is for taking turns before it begins."""
        given_up = False

        def run() -> T:
            result = work()
            if given_up:
                unused(result)
            return result

        async with turn or nullcontext():
            try:
                with trio.fail_after(self._seconds):
                    return await trio.to_thread.run_sync(
                        run, abandon_on_cancel=True, limiter=self._threads
                    )
            except trio.TooSlowError:
                raise BusyError(
                    f"the disk or file server of the source gave no answer within"
                    f" {self._seconds:g} s (time_limit)"
                ) from None
            finally:
                given_up = True
