"""Opening what lies below a folder, whatever links on the way say.

Decided here: how a path is resolved that may not lead out, without a race.  By openat2(2); where
that is missing (before Linux 5.6) or forbidden (by systemd's RestrictSUIDSGID= and by some
containers, with ENOSYS or EPERM, as its flags lie where a filter cannot see them), step by step
with the same answers.  Another file system below the folder is entered step by step too, so that a
mount of this program is noticed before it is asked for anything.
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
_TRIES = 100
LINKS = 40  # on the way: as many as the kernel follows
STEPS = 4096  # of a walk, those of links included: more than the longest path has
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
    """A descriptor of `path` below the folder `root`; OSError, EXDEV where it leads out.

    OwnMountError where it leads into a mount of this program.
    """
    try:
        return open_within(root, path, flags, _RESOLVE_BENEATH)
    except OSError as error:
        if error.errno not in BY_STEPS:
            raise
    return open_stepwise(root, path, flags)


def open_within(root: int, path: str, flags: int, resolve: int = 0) -> int:
    """A descriptor of `path`, by openat2(2); EXDEV where it leaves the mount of the folder `root`.

    Other errors of `BY_STEPS` say that the kernel does not do so.
    """
    how, size = _how(flags, resolve | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV)
    number = 0
    for _ in range(_TRIES):
        descriptor: int = _libc.syscall(_SYS_OPENAT2, root, os.fsencode(path), how, size)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EAGAIN:  # a folder on the way was moved just then
            break
    raise _error(number)


def open_stepwise(root: int, path: str, flags: int) -> int:
    """The same, by one open for each step: none follows a link, and ".." is where we came from."""
    with Way(root) as way:
        _walk(way, path)
        return reopen(way.here, flags)


def reopen(found: int, flags: int) -> int:
    """A descriptor with these flags of what one with O_PATH is of, wherever that is now."""
    if flags & os.O_DIRECTORY:
        check_folder(found)
    return os.dup(found) if flags & os.O_PATH else os.open(f"/proc/self/fd/{found}", flags)


class Way:
    """The steps from a folder to where a path leads, each held open (O_PATH) until it is left.

    As many steps are walked as `STEPS`, whatever links add: each may hold a descriptor.
    """

    def __init__(self, root: int) -> None:
        self._root = root  # the caller's
        self._steps: list[tuple[str, int]] = []
        self._walked = 0

    def __repr__(self) -> str:
        return f"<Way: /{'/'.join(self.names)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restart()

    @property
    def here(self) -> int:
        return self._steps[-1][1] if self._steps else self._root

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._steps)

    def count(self) -> None:
        """Before each step, whatever it is; OSError (ELOOP)."""
        self._walked += 1
        if self._walked > STEPS:
            raise _error(errno.ELOOP)

    def enter(self, name: str, descriptor: int) -> None:
        self._steps.append((name, descriptor))

    def leave(self) -> bool:
        """Back to where the last step came from; False at the root."""
        if not self._steps:
            return False
        os.close(self._steps.pop()[1])
        return True

    def restart(self) -> None:
        while self.leave():
            pass


def _walk(way: Way, path: str) -> None:
    """To what the path leads to."""
    steps = _steps(path)
    links = 0
    while steps:
        step = steps.pop()
        way.count()
        check_folder(way.here)
        if step == ".." and not way.leave():
            raise _error(errno.EXDEV)
        if step in ("", ".", ".."):
            continue
        way.enter(step, open_step(step, way.here))
        if OWN.holds(way.here):
            raise OwnMountError(path)
        if not stat.S_ISLNK(os.fstat(way.here).st_mode):
            continue
        links += 1
        if links > LINKS:
            raise _error(errno.ELOOP)
        steps += _steps(os.readlink("", dir_fd=way.here))
        way.leave()


def open_step(name: str, folder: int) -> int:
    """A descriptor (O_PATH) of this entry; a link is not followed, an automount is mounted."""
    try:
        return os.open(name, PLACE | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=folder)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
    return os.open(name, PLACE | os.O_NOFOLLOW, dir_fd=folder)


def _steps(path: str) -> list[str]:
    """The steps of a path, the first one last."""
    if path.startswith("/"):
        raise _error(errno.EXDEV)
    return path.split("/")[::-1]


def check_folder(descriptor: int) -> None:
    """OSError (ENOTDIR) where this is no folder."""
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise _error(errno.ENOTDIR)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
