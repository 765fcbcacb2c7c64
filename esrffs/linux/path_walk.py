"""Following a path, and looking at what is there, without ever entering a mount of this program.

Decided here: how an absolute path is resolved.  One that leads into a mount of esrffs, by
whatever way, ends there: what is asked of it would have to be answered by its daemon, which may
be the process that asks, or one that waits for it.  So each step is opened by itself (O_PATH, which
asks no file system for anything), and told by the number of its mount before it is looked at.

A path below a folder that is known to lie elsewhere is cheaper: openat2(2) says when it leaves the
mount of that folder.  Links of /proc to other processes' places are taken by their texts.
"""

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass

from esrffs.errors import OwnMountError
from esrffs.linux.mountinfo import OWN, TYPE, Mount, mount_id, mounts
from esrffs.linux.openat2 import BY_STEPS, LINKS, PLACE, open_step, open_within, reopen


@dataclass(frozen=True, slots=True)
class _End:
    """How far a path was followed: `rest` is what is beyond, as nothing is there or `own` is ours.

    `descriptor` is closed with the others of the walk.
    """

    names: tuple[str, ...]
    rest: tuple[str, ...]
    descriptor: int
    own: bool = False
    error: OSError | None = None

    @property
    def path(self) -> str:
        """As os.path.realpath has it."""
        return os.path.normpath("/" + "/".join(self.names + self.rest))


def resolve(path: str) -> str:
    """The real path, as os.path.realpath tells it; OwnMountError."""
    with ExitStack() as opened:
        end = _walk(path, opened)
        if end.own:
            raise OwnMountError(path)
        return end.path


def status(path: str) -> os.stat_result:
    """Of the file or folder that this absolute path leads to; OSError, OwnMountError."""
    with ExitStack() as opened:
        return os.fstat(_found(path, opened))


def open_file(path: str, flags: int) -> int:
    """A descriptor of what this absolute path leads to; OSError, OwnMountError."""
    with ExitStack() as opened:
        return reopen(_found(path, opened), flags)


def open_from(folder: str, path: str, flags: int) -> int:
    """`open_file` of a path that starts at a folder, whose own path is real."""
    if OWN.cover(folder):
        raise OwnMountError(folder)
    if not path.startswith("/"):
        root = os.open(folder, PLACE | os.O_DIRECTORY)
        try:
            return open_within(root, path or ".", flags)
        except OSError as error:
            if error.errno not in BY_STEPS:
                raise
        finally:
            os.close(root)
    return open_file(os.path.join(folder, path), flags)


def find_esrffs_mount(mountpoint: str) -> Mount | None:
    """The mount of ours at this path; it is not asked for anything."""
    with ExitStack() as opened:
        end = _walk(os.path.abspath(mountpoint), opened)
        if not end.own or end.rest:
            return None
        number = mount_id(end.descriptor)
    return next((mount for mount in mounts() if mount.id == number and mount.type == TYPE), None)


def _found(path: str, opened: ExitStack) -> int:
    end = _walk(path, opened)
    if end.own:
        raise OwnMountError(path)
    if end.error is not None:
        raise end.error
    return end.descriptor


def _walk(path: str, opened: ExitStack) -> _End:
    """To where the path leads, or as far as it does."""
    if not path.startswith("/"):
        raise ValueError(f"{path}: is not absolute")
    root = os.open("/", PLACE | os.O_DIRECTORY)
    opened.callback(os.close, root)
    way: list[tuple[str, int]] = [("", root)]
    steps = path.split("/")[::-1]
    links, is_folder = 0, True
    while steps:
        step = steps.pop()
        try:
            if not is_folder:
                raise _error(errno.ENOTDIR)
            if step in ("", ".", ".."):
                del way[max(1, len(way) - 1 if step == ".." else len(way)) :]
                continue
            found = open_step(step, way[-1][1])
            opened.callback(os.close, found)
            if OWN.holds(found):
                rest = tuple(name for name in steps[::-1] if name not in ("", "."))
                return _End((*_names(way), step), rest, found, own=True)
            mode = os.fstat(found).st_mode
            if not stat.S_ISLNK(mode):
                way.append((step, found))
                is_folder = stat.S_ISDIR(mode)
                continue
            links += 1
            if links > LINKS:
                raise _error(errno.ELOOP)
            text = os.readlink("", dir_fd=found)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            missing = OSError(errno.ENOENT, str(error)) if isinstance(error, ValueError) else error
            rest = (step, *(name for name in steps[::-1] if name not in ("", ".")))
            return _End(_names(way), rest, way[-1][1], error=missing)
        if text.startswith("/"):
            del way[1:]
        steps += text.split("/")[::-1]
    return _End(_names(way), (), way[-1][1])


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _names(way: list[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(name for name, _ in way[1:])
