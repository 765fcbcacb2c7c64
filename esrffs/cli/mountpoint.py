"""Mount points: check the given one, or make one beside the source.

Does not: unmount (`cli/unmounting`).
"""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator

from esrffs.cli.unmounting import (
    DIRECTORY,
    SUFFIX,
    mark_made,
    program,
    silent,
    state,
    take_away,
    was_made,
)
from esrffs.errors import MountError, OwnMountError, UsageError
from esrffs.linux import path_walk
from esrffs.linux.mountinfo import TYPE, Mount, mounts

log = logging.getLogger(__name__)

_FUSE_CONF = "/etc/fuse.conf"
_DEVICE = "/dev/fuse"
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def prepared(source: str, mountpoint: str | None, *, shared: bool) -> tuple[str, str, bool]:
    """The real paths of the source and of the mount point, and whether the mount point was made
    here.

    If no mount point is given, one is made.  A mount of a daemon that was killed is removed first.
    Raises MountError or UsageError, whose text says what to do.
    """
    found = _source(source)
    place, made = make_default_mountpoint(source) if mountpoint is None else (mountpoint, False)
    place = absolute(place)
    with removed_after(place, failure=True) if made else contextlib.nullcontext():
        place = check_mountpoint(place, found, shared=shared)
    return found, place, made or (mountpoint is None and _was_left(place))


def _was_left(mountpoint: str) -> bool:
    """Whether esrffs made this directory before, and it was left by a crash or a power failure."""
    with contextlib.suppress(OSError):
        directory = os.open(mountpoint, DIRECTORY)
        try:
            return was_made(directory)
        finally:
            os.close(directory)
    return False


def absolute(path: str) -> str:
    """The absolute path; the working directory may not exist any more."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: the working directory is gone; `cd` to another, or name an absolute path"
        ) from None


def _source(path: str) -> str:
    try:
        real = path_walk.resolve(absolute(path))
        path_walk.status(real)
    except OwnMountError:
        raise UsageError(
            f"{path}: lies in a mount of esrffs; mount what that one shows (`findmnt -t {TYPE}`)"
        ) from None
    except FileNotFoundError:
        text = f"{path}: there is no such file or folder; look at its spelling"
        raise UsageError(text) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be reached: {error.strerror}") from error
    return real


def check_mountpoint(mountpoint: str, source: str, *, shared: bool) -> str:
    """The real path of the mount point; MountError if `source` cannot be mounted there."""
    _check_rights(shared=shared)
    _take_dead_mount_away(mountpoint, source)
    try:
        mountpoint = path_walk.resolve(mountpoint)
        entries = os.listdir(mountpoint)
        itself = os.path.samestat(os.stat(mountpoint), os.stat(source))
    except OwnMountError:
        raise MountError(
            f"{mountpoint}: lies in a mount of esrffs; choose another directory"
        ) from None
    except OSError as error:
        raise MountError(_explain_error(mountpoint, error)) from error
    if itself:
        raise MountError(f"{mountpoint}: cannot be mounted on itself; choose another directory")
    there = [mount for mount in mounts() if mount.target == mountpoint]
    if there:
        raise MountError(_taken(there[-1], source))
    if entries:
        raise MountError(f"{mountpoint}: is not empty; choose an empty directory")
    if os.geteuid() and not os.access(mountpoint, os.W_OK):
        raise MountError(f"{mountpoint}: you may not write there; choose a directory that is yours")
    return mountpoint


def _take_dead_mount_away(mountpoint: str, source: str) -> None:
    """Unmount a mount of a daemon that ended; MountError if its daemon is alive."""
    try:
        with path_walk.esrffs_mount(mountpoint) as place:
            if place is None:
                return
            match state(place)[0]:
                case "dead":
                    take_away(place, dead=True)
                case "silent":
                    raise silent(place.mount)
                case _:
                    raise MountError(_taken(place.mount, source))
    except OSError as error:
        raise MountError(_explain_error(mountpoint, error)) from error


def _check_rights(*, shared: bool) -> None:
    if not os.path.exists(_DEVICE):
        raise MountError(f"{_DEVICE} is missing: load the fuse module (`modprobe fuse`) as root")
    if os.geteuid() == 0:
        return
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        raise MountError(f"{_DEVICE}: you may not use it; ask the administrator for the right")
    helper = program("fusermount3")
    if helper is None:
        raise MountError("fusermount3 is missing: install the package fuse3")
    if not (os.stat(helper).st_mode & stat.S_ISUID or _has_capabilities(helper)):
        raise MountError(f"{helper} is not setuid root: install the package fuse3 again")
    if shared and not _user_allow_other():
        raise MountError(
            f"allow_other and allow_root need a line `user_allow_other` in {_FUSE_CONF} (root)"
        )


def _has_capabilities(helper: str) -> bool:
    """Whether the file has capabilities: hardened systems use them instead of the setuid bit."""
    with contextlib.suppress(OSError):
        return "security.capability" in os.listxattr(helper)
    return False


def _taken(mount: Mount, source: str) -> str:
    if mount.type != TYPE:
        return f"{mount.target}: {mount.type} is mounted there already; choose another directory"
    what = "it" if mount.source == source else mount.source
    return f"{mount.target}: {what} is mounted there already; `esrffs -u` unmounts it"


def _explain_error(mountpoint: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{mountpoint}: there is no such directory; make it with `mkdir`"
    if isinstance(error, NotADirectoryError):
        return f"{mountpoint}: is not a directory; choose an empty directory"
    if isinstance(error, PermissionError):
        return f"{mountpoint}: you may not enter it; choose a directory that is yours"
    if error.errno == errno.ENOTCONN:
        return f"{mountpoint}: a dead mount of another program is there; `umount -l` takes it away"
    return f"{mountpoint}: {error.strerror}; choose another directory"


def make_default_mountpoint(source: str) -> tuple[str, bool]:
    """The default mount point, SOURCE.mnt, and whether it was made by this call.

    One that was left by a crash is used again.
    """
    path = absolute(source)
    name = _name(path)
    mountpoint = os.path.join(os.path.dirname(path), name)
    try:
        folder = path_walk.resolve(os.path.dirname(path))
        parent = path_walk.open_file(folder, _PLACE)
        try:
            return os.path.join(folder, name), _make(parent, name)
        finally:
            os.close(parent)
    except OSError as error:
        raise MountError(
            f"{mountpoint}: cannot be made ({error.strerror}); "
            "name a mount point: `esrffs SOURCE MOUNTPOINT`"
        ) from error


def _make(parent: int, name: str) -> bool:
    """Make the directory and mark it as made by esrffs; False if something exists there."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return False
    with contextlib.suppress(OSError):
        directory = os.open(name, DIRECTORY, dir_fd=parent)
        mark_made(directory)
        os.close(directory)
    return True


def _name(path: str) -> str:
    if path == "/":
        raise UsageError("/ has no place beside it; name a mount point: `esrffs / MOUNTPOINT`")
    return os.path.basename(path) + SUFFIX


@contextlib.contextmanager
def removed_after(mountpoint: str, *, failure: bool = False) -> Iterator[None]:
    """A context that removes the directory at its end, if it is empty and nothing is mounted there.

    The directory is found in the folder where it was at the beginning, even if the path leads
    elsewhere by then.  `failure`: it is removed only if an exception is raised.
    """
    try:
        parent = path_walk.open_file(os.path.dirname(mountpoint), _PLACE)
    except OSError as error:
        raise MountError(_explain_error(mountpoint, error)) from error
    done = False
    try:
        yield
        done = True
    finally:
        if not (done and failure):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.basename(mountpoint), dir_fd=parent)
        os.close(parent)


def _user_allow_other() -> bool:
    try:
        with open(_FUSE_CONF) as lines:
            return any(line.strip() == "user_allow_other" for line in lines)
    except OSError:
        return False


def set_read_ahead(mountpoint: str, kib: int) -> None:
    """Set how far the kernel reads ahead in this mount.  Only root may do this; others have 128
    KiB.

    Measured in docs/performance.md.  Makes no request to the mount: the process that sets it is the
    one that would have to answer.
    """
    for mount in mounts():
        if mount.target == mountpoint:
            with (
                contextlib.suppress(OSError),
                open(f"/sys/class/bdi/{mount.device}/read_ahead_kb", "w") as file,
            ):
                file.write(str(kib))
