"""Resolve absolute paths without entering a mount of esrffs.

A request to a mount of esrffs would have to be answered by its daemon, which may be the process
that is asking, or one that waits for it: both would wait for ever.  Therefore each step is opened
by itself with O_PATH, which makes no request to the file system, and its mount is identified before
the next step.  A path that leads into a mount of esrffs ends with OwnMountError.

A path to something that does not exist can be resolved.  If a step cannot be examined (permission
denied, a failing server, too many symlinks), the caller gets the OSError.

Paths below a folder outside of all these mounts are cheaper: openat2(2) fails when a path leaves
the mount of the folder.  Magic links in /proc are followed by their texts.
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
    WalkedPath,
    check_folder,
    open_step,
    open_within,
    reopen,
)


@dataclass(frozen=True, slots=True)
class _End:
    """How a walk ended: `rest` are the steps that were not walked.

    `error`: the next step does not exist.  `own`: the walk arrived at a mount of esrffs.
    """

    rest: tuple[str, ...] = ()
    own: bool = False
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class MountPlace:
    """A mount of esrffs and where it is: `name` in the folder `parent`, an O_PATH descriptor.

    With it the mount is found again, even if its path leads elsewhere by then.
    """

    mount: Mount
    parent: int
    name: str

    def open(self) -> int:
        """An O_PATH descriptor of the mount; FileNotFoundError if something else is there now."""
        found = os.open(self.name, PLACE | os.O_NOFOLLOW, dir_fd=self.parent)
        if mount_id(found) == self.mount.id:
            return found
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "is not mounted there any more", self.mount.target)


def resolve(path: str) -> str:
    """The real path, as os.path.realpath returns it; OwnMountError.

    Raises OSError if a step cannot be examined.  Steps that do not exist are taken as they are
    written.
    """
    with _from_root() as walked:
        end = _walk(path, walked)
        if end.own:
            raise OwnMountError(path)
        return os.path.normpath("/" + "/".join(walked.names + end.rest))


def status(path: str) -> os.stat_result:
    """The status of the file or folder at this absolute path; OSError, OwnMountError."""
    with _from_root() as walked:
        return os.fstat(_found(path, walked))


def open_file(path: str, flags: int) -> int:
    """A descriptor of the file or folder at this absolute path; OSError, OwnMountError."""
    with _from_root() as walked:
        return reopen(_found(path, walked), flags)


def open_from(folder: str, path: str, flags: int) -> int:
    """`open_file` of a path that starts at `folder`, a real path."""
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
    """The mount of esrffs at this path, or None; no request is made to it.  OSError."""
    with _from_root() as walked:
        end = _walk(os.path.abspath(mountpoint), walked)
        if not end.own or end.rest:
            yield None
            return
        number, name = mount_id(walked.descriptor), walked.names[-1]
        walked.leave()  # an open descriptor would keep the mount busy
        mount = next((one for one in mounts() if one.id == number and one.type == TYPE), None)
        yield None if mount is None else MountPlace(mount, walked.descriptor, name)


def find_esrffs_mount(mountpoint: str) -> Mount | None:
    """The mount of esrffs at this path, or None; no request is made to it.  OSError."""
    with esrffs_mount(mountpoint) as place:
        return None if place is None else place.mount


@contextmanager
def _from_root() -> Iterator[WalkedPath]:
    root = os.open("/", PLACE | os.O_DIRECTORY)
    try:
        with WalkedPath(root) as walked:
            yield walked
    finally:
        os.close(root)


def _found(path: str, walked: WalkedPath) -> int:
    end = _walk(path, walked)
    if end.own:
        raise OwnMountError(path)
    if end.error is not None:
        raise end.error
    return walked.descriptor


def _walk(path: str, walked: WalkedPath) -> _End:
    """Walk to the end of the path, or to the last step that exists; OSError."""
    if not path.startswith("/"):
        raise ValueError(f"{path}: is not absolute")
    steps = path.split("/")[::-1]
    links = 0
    while steps:
        step = steps.pop()
        walked.count()
        try:
            if not _enter(step, walked):
                continue
        except (FileNotFoundError, NotADirectoryError) as error:
            return _End((step, *_named(steps)), error=error)
        except ValueError as error:  # a NUL in the name
            return _End((step, *_named(steps)), error=FileNotFoundError(errno.ENOENT, str(error)))
        if OWN.holds(walked.descriptor):
            return _End(_named(steps), own=True)
        if not stat.S_ISLNK(os.fstat(walked.descriptor).st_mode):
            continue
        links += 1
        if links > LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        text = os.readlink("", dir_fd=walked.descriptor)
        walked.leave()
        if text.startswith("/"):
            walked.restart()
        steps += text.split("/")[::-1]
    return _End()


def _enter(step: str, walked: WalkedPath) -> bool:
    """Take this step; False if it is "", "." or "..", which need no further look."""
    if step not in ("", ".", ".."):
        walked.enter(step, open_step(step, walked.descriptor))
        return True
    check_folder(walked.descriptor)
    if step == "..":
        walked.leave()
    return False


def _named(steps: list[str]) -> tuple[str, ...]:
    """The remaining steps, first one first."""
    return tuple(name for name in steps[::-1] if name not in ("", "."))
