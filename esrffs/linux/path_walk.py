"""Following a path, and looking at what is there, without ever entering a mount of this program.

Decided here: how an absolute path is resolved.  One that leads into a mount of esrffs, by
whatever way, ends there: what is asked of it would have to be answered by its daemon, which may
be the process that asks, or one that waits for it.  So each step is opened by itself (O_PATH, which
asks no file system for anything), and told by the number of its mount before it is looked at.

What is not there is known by its name; what cannot be looked at (no right, a server that fails,
links without end) is not known at all, and whoever asks gets the error.

A path below a folder that is known to lie elsewhere is cheaper: openat2(2) says when it leaves the
mount of that folder.  Links of /proc to other processes' places are taken by their texts.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from esrffs.errors import OwnMountError
from esrffs.linux.mountinfo import OWN, TYPE, Mount, mount_id, mounts
from esrffs.linux.openat2 import (
    BY_STEPS,
    LINKS,
    PLACE,
    Way,
    check_folder,
    open_step,
    open_within,
    reopen,
)


@dataclass(frozen=True, slots=True)
class _End:
    """What is beyond the end of a walk: `rest`, as nothing is there (`error`) or `own` is ours."""

    rest: tuple[str, ...] = ()
    own: bool = False
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class MountPlace:
    """A mount of ours and its place: `name` in the folder `parent`, a descriptor (O_PATH).

    By it the mount is found again, whatever the path leads to meanwhile.
    """

    mount: Mount
    parent: int
    name: str

    def open(self) -> int:
        """A descriptor (O_PATH) of the mount; FileNotFoundError where something else is now."""
        found = os.open(self.name, PLACE | os.O_NOFOLLOW, dir_fd=self.parent)
        if mount_id(found) == self.mount.id:
            return found
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "is not mounted there any more", self.mount.target)


def resolve(path: str) -> str:
    """The real path, as os.path.realpath tells it; OwnMountError.

    OSError where it cannot be known, as a folder may not be entered or a server fails: only what is
    not there is taken by its name.
    """
    with _from_root() as way:
        end = _walk(path, way)
        if end.own:
            raise OwnMountError(path)
        return os.path.normpath("/" + "/".join(way.names + end.rest))


def status(path: str) -> os.stat_result:
    """Of the file or folder that this absolute path leads to; OSError, OwnMountError."""
    with _from_root() as way:
        return os.fstat(_found(path, way))


def open_file(path: str, flags: int) -> int:
    """A descriptor of what this absolute path leads to; OSError, OwnMountError."""
    with _from_root() as way:
        return reopen(_found(path, way), flags)


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


@contextmanager
def esrffs_mount(mountpoint: str) -> Iterator[MountPlace | None]:
    """The mount of ours at this path, with its place; it is not asked for anything.  OSError."""
    with _from_root() as way:
        end = _walk(os.path.abspath(mountpoint), way)
        if not end.own or end.rest:
            yield None
            return
        number, name = mount_id(way.here), way.names[-1]
        way.leave()  # what is held open is busy
        mount = next((one for one in mounts() if one.id == number and one.type == TYPE), None)
        yield None if mount is None else MountPlace(mount, way.here, name)


def find_esrffs_mount(mountpoint: str) -> Mount | None:
    """The mount of ours at this path; it is not asked for anything.  OSError."""
    with esrffs_mount(mountpoint) as place:
        return None if place is None else place.mount


@contextmanager
def _from_root() -> Iterator[Way]:
    root = os.open("/", PLACE | os.O_DIRECTORY)
    try:
        with Way(root) as way:
            yield way
    finally:
        os.close(root)


def _found(path: str, way: Way) -> int:
    end = _walk(path, way)
    if end.own:
        raise OwnMountError(path)
    if end.error is not None:
        raise end.error
    return way.here


def _walk(path: str, way: Way) -> _End:
    """To where the path leads, or as far as something is there; OSError where that is unknown."""
    if not path.startswith("/"):
        raise ValueError(f"{path}: is not absolute")
    steps = path.split("/")[::-1]
    links = 0
    while steps:
        step = steps.pop()
        way.count()
        try:
            if not _enter(step, way):
                continue
        except (FileNotFoundError, NotADirectoryError) as error:
            return _End((step, *_named(steps)), error=error)
        except ValueError as error:  # a NUL in the name
            return _End((step, *_named(steps)), error=FileNotFoundError(errno.ENOENT, str(error)))
        if OWN.holds(way.here):
            return _End(_named(steps), own=True)
        if not stat.S_ISLNK(os.fstat(way.here).st_mode):
            continue
        links += 1
        if links > LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        text = os.readlink("", dir_fd=way.here)
        way.leave()
        if text.startswith("/"):
            way.restart()
        steps += text.split("/")[::-1]
    return _End()


def _enter(step: str, way: Way) -> bool:
    """Whether this step leads to another place than where we were, or came from."""
    if step not in ("", ".", ".."):
        way.enter(step, open_step(step, way.here))
        return True
    check_folder(way.here)
    if step == "..":
        way.leave()
    return False


def _named(steps: list[str]) -> tuple[str, ...]:
    """The steps that are left, in their order."""
    return tuple(name for name in steps[::-1] if name not in ("", "."))
