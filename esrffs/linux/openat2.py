"""Open files below a folder so that no symlink leads out of it, without a race.

openat2(2) does this in one call.  Where it is missing (before Linux 5.6) or forbidden (systemd's
RestrictSUIDSGID= and some containers forbid it, with ENOSYS or EPERM), the path is walked step by
step, with the same results.  Other file systems below the folder are also entered step by step, so
that a mount of esrffs is noticed before any request is made to it.
"""

import ctypes
import errno
import functools
import os
import stat
from typing import Self

from esrffs.errors import OwnMountError
from esrffs.linux.mountinfo import OWN

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_BENEATH = 0x08  # <linux/openat2.h>
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_XDEV = 0x01
PLACE = os.O_PATH | os.O_CLOEXEC
_TRIES = 100  # calls of openat2(2) that may fail with EAGAIN
LINKS = 40  # symlinks in one path: as many as the kernel follows
STEPS = 4096  # steps of one walk, those of its symlinks included; PATH_MAX allows fewer
BY_STEPS = frozenset({errno.EXDEV, errno.ENOSYS, errno.EPERM})
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@functools.cache
def _how(flags: int, resolve: int) -> tuple[object, int]:
    how = _OpenHow(flags, 0, resolve)
    return ctypes.byref(how), ctypes.sizeof(how)


def open_beneath(root: int, path: str, flags: int) -> int:
    """A descriptor of `path`, which is relative to the open folder `root`.

    Raises OSError (EXDEV if the path leads out of the folder), and OwnMountError if it leads into a
    mount of esrffs.
    """
    try:
        return open_within(root, path, flags, _RESOLVE_BENEATH)
    except OSError as error:
        if error.errno not in BY_STEPS:
            raise
    return open_stepwise(root, path, flags)


def open_within(root: int, path: str, flags: int, resolve: int = 0) -> int:
    """A descriptor of `path`, opened by openat2(2) without leaving the mount of the folder `root`.

    Raises OSError: EXDEV if the path leaves the mount; any error in `BY_STEPS` means that the path
    has to be walked step by step.
    """
    how, size = _how(flags, resolve | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV)
    number = 0
    for _ in range(_TRIES):
        descriptor: int = _libc.syscall(_SYS_OPENAT2, root, os.fsencode(path), how, size)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EAGAIN:  # a folder of the path was moved at that moment
            break
    raise _error(number)


def open_stepwise(root: int, path: str, flags: int) -> int:
    """`open_beneath`, by one open(2) for each step.

    No open follows a symlink, and ".." goes back to the folder that was left open.
    """
    with WalkedPath(root) as walked:
        _walk(walked, path)
        return reopen(walked.descriptor, flags)


def reopen(found: int, flags: int) -> int:
    """Open the file of an O_PATH descriptor again with these flags, even if it was moved."""
    if flags & os.O_DIRECTORY:
        check_folder(found)
    return os.dup(found) if flags & os.O_PATH else os.open(f"/proc/self/fd/{found}", flags)


class WalkedPath:
    """The folders on a path, each held open (O_PATH) until the walk goes back from it.

    A walk has at most `STEPS` steps, as each may need a descriptor.
    """

    def __init__(self, root: int) -> None:
        self._root = root  # closed by the caller
        self._steps: list[tuple[str, int]] = []
        self._walked = 0

    def __repr__(self) -> str:
        return f"<WalkedPath: /{'/'.join(self.names)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restart()

    @property
    def descriptor(self) -> int:
        return self._steps[-1][1] if self._steps else self._root

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._steps)

    def count(self) -> None:
        """To be called before each step; OSError (ELOOP) after too many."""
        self._walked += 1
        if self._walked > STEPS:
            raise _error(errno.ELOOP)

    def enter(self, name: str, descriptor: int) -> None:
        self._steps.append((name, descriptor))

    def leave(self) -> bool:
        """Go back by one step and close its descriptor; False at the root."""
        if not self._steps:
            return False
        os.close(self._steps.pop()[1])
        return True

    def restart(self) -> None:
        while self.leave():
            pass


def _walk(walked: WalkedPath, path: str) -> None:
    """Walk to the file or folder at `path`; OSError, OwnMountError."""
    steps = _steps(path)
    links = 0
    while steps:
        step = steps.pop()
        walked.count()
        check_folder(walked.descriptor)
        if step == ".." and not walked.leave():
            raise _error(errno.EXDEV)
        if step in ("", ".", ".."):
            continue
        walked.enter(step, open_step(step, walked.descriptor))
        if OWN.holds(walked.descriptor):
            raise OwnMountError(path)
        if not stat.S_ISLNK(os.fstat(walked.descriptor).st_mode):
            continue
        links += 1
        if links > LINKS:
            raise _error(errno.ELOOP)
        steps += _steps(os.readlink("", dir_fd=walked.descriptor))
        walked.leave()


def open_step(name: str, folder: int) -> int:
    """An O_PATH descriptor of this entry.  Symlinks are not followed; an automount is triggered."""
    try:
        return os.open(name, PLACE | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=folder)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
    return os.open(name, PLACE | os.O_NOFOLLOW, dir_fd=folder)


def _steps(path: str) -> list[str]:
    """The steps of a relative path in reverse order; OSError (EXDEV) for an absolute one."""
    if path.startswith("/"):
        raise _error(errno.EXDEV)
    return path.split("/")[::-1]


def check_folder(descriptor: int) -> None:
    """Raise OSError (ENOTDIR) if this is no folder."""
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise _error(errno.ENOTDIR)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
