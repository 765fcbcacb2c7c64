"""Opening what lies below a folder, whatever links on the way say.

Decided here: how a path is resolved that may not lead out, without a race.  By openat2(2); where
that is missing (before Linux 5.6) or forbidden (by systemd's RestrictSUIDSGID= and by some
containers, with ENOSYS or EPERM, as its flags lie where a filter cannot see them), step by step
with the same answers.
"""

import ctypes
import errno
import os
import stat
from contextlib import ExitStack

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_BENEATH = 0x08  # <linux/openat2.h>
_RESOLVE_NO_MAGICLINKS = 0x02
_PLACE = os.O_PATH | os.O_CLOEXEC
_TRIES = 100
_LINKS = 40  # on the way: as many as the kernel follows
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(root: int, path: str, flags: int) -> int:
    """A descriptor of `path` below the folder `root`; OSError, EXDEV where it leads out."""
    how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    number = 0
    for _ in range(_TRIES):
        descriptor: int = _libc.syscall(
            _SYS_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
        )
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number in {errno.ENOSYS, errno.EPERM}:
            return walk_beneath(root, path, flags)
        if number != errno.EAGAIN:  # a folder on the way was moved just then
            break
    raise _error(number)


def walk_beneath(root: int, path: str, flags: int) -> int:
    """The same, by one open for each step: none follows a link, and ".." is where we came from."""
    with ExitStack() as opened:
        found = _walk(root, path, opened)
        if flags & os.O_DIRECTORY:
            _check_folder(found)
        if flags & os.O_PATH:
            return os.dup(found)
        return os.open(f"/proc/self/fd/{found}", flags)  # of what was found, wherever it is now


def _walk(root: int, path: str, opened: ExitStack) -> int:
    """A descriptor (O_PATH) of what the path leads to; all that were opened are to be closed."""
    way = [root]
    steps = _steps(path)
    links = 0
    while steps:
        step = steps.pop()
        _check_folder(way[-1])
        if step == "..":
            way.pop()
            if not way:
                raise _error(errno.EXDEV)
        if step in ("", ".", ".."):
            continue
        found = os.open(step, _PLACE | os.O_NOFOLLOW, dir_fd=way[-1])
        opened.callback(os.close, found)
        if not stat.S_ISLNK(os.fstat(found).st_mode):
            way.append(found)
            continue
        links += 1
        if links > _LINKS:
            raise _error(errno.ELOOP)
        steps += _steps(os.readlink("", dir_fd=found))
    return way[-1]


def _steps(path: str) -> list[str]:
    """The steps of a path, the first one last."""
    if path.startswith("/"):
        raise _error(errno.EXDEV)
    return path.split("/")[::-1]


def _check_folder(descriptor: int) -> None:
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise _error(errno.ENOTDIR)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
