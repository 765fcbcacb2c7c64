"""A mount seen from outside: whether its daemon is alive, its status, and unmounting.

No request waits for a daemon for ever.  A mount counts as unmounted only when its daemon has ended,
too.  It is looked up once, and then identified by its open parent folder: its path may lead to
another mount by then, which must not be unmounted.
"""

import contextlib
import ctypes
import errno
import json
import logging
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, TypeVar

from esrffs.cli.daemon_processes import daemons, held
from esrffs.cli.deadline import SECONDS, OverdueError, gone, within
from esrffs.errors import MountError
from esrffs.linux.mountinfo import TYPE, Mount, mounts
from esrffs.linux.path_walk import MountPlace, esrffs_mount

T = TypeVar("T")
log = logging.getLogger(__name__)

SUFFIX = ".mnt"  # of the default mount point
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STATUS = "user.esrffs.status"
_MADE = "user.esrffs.made"  # extended attribute of a mount point that esrffs has made
_NOTICING = 3.0  # seconds within which a daemon notices that it was unmounted
_ENDING = 20.0  # seconds that a daemon gets to end if it has answered, …
_KILLING = 5.0  # … and if it was killed
_FORCE, _DETACH, _NOFOLLOW = 1, 2, 8  # <sys/mount.h>
_PLACES = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"  # where PATH may not lead
_ABORT = "/sys/fs/fuse/connections/{}/abort"

State = Literal["answers", "private", "dead", "silent"]


def program(name: str) -> str | None:
    """The path of a system program; PATH is not used."""
    return shutil.which(name) or shutil.which(name, path=_PLACES)


@contextlib.contextmanager
def located(mountpoint: str) -> Iterator[MountPlace | None]:
    """A context with the mount of esrffs at this path, or None, and its open parent folder;
    MountError.

    The path is resolved in a child process, because a file system on it may not answer.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = _in_time(mountpoint, partial(_look, mountpoint, theirs))
        place = found and MountPlace(found[0], socket.recv_fds(ours, 1, 1)[1][0], found[1])
    try:
        yield place
    finally:
        if place is not None:
            os.close(place.parent)


def _look(mountpoint: str, sender: socket.socket) -> tuple[Mount, str] | None:
    with esrffs_mount(mountpoint) as place:
        if place is None:
            return None
        socket.send_fds(sender, [b"."], [place.parent])
        return place.mount, place.name


def _in_time(mountpoint: str, work: Callable[[], T]) -> T:
    """The result of work that resolves the path of a mount point, with a time limit; MountError."""
    try:
        return within(SECONDS, work)
    except OverdueError:
        raise MountError(
            f"{mountpoint}: a file system on the way to it gives no answer; "
            "`findmnt` lists what is mounted, and root takes that one away with `umount -f`"
        ) from None
    except OSError as error:
        raise MountError(f"{mountpoint}: cannot be looked at: {error.strerror}") from error


def state(place: MountPlace) -> tuple[State, dict[str, object]]:
    """Whether the daemon answers, and its status; `private`: only the user who mounted it may ask.

    The status may be anything: any program can call its mount esrffs.
    """
    try:
        told = json.loads(within(SECONDS, partial(_told, place)))
    except OverdueError:
        return "silent", {}
    except (OSError, ValueError, RecursionError) as error:
        dead = isinstance(error, OSError) and error.errno == errno.ENOTCONN
        return "dead" if dead else "private", {}
    return "answers", told if isinstance(told, dict) else {}


def _told(place: MountPlace) -> bytes:
    """The status, asked in a child process as the user who mounted it: others, even root, may
    not ask.
    """
    mount, found = place.mount, place.open()
    if os.geteuid() == 0 and mount.user:
        os.setgroups([])
        os.setresgid(*3 * [mount.group or 0])
        os.setresuid(*3 * [mount.user])
    return os.getxattr(f"/proc/self/fd/{found}", _STATUS)


def silent(mount: Mount) -> MountError:
    """The text for a daemon that does not answer."""
    numbers = ", ".join(map(str, daemons(mount))) or "unknown"
    return MountError(
        f"{mount.target}: its daemon (process {numbers}) gives no answer: it was stopped, or waits "
        "for a disk or file server; as root, `esrffs -u --force` takes the mount away"
    )


def status(mountpoint: str) -> str:
    """The status of this mount as JSON; MountError if there is none, or if it does not answer."""
    with _mount_at(mountpoint) as place:
        how, told = state(place)
        match how:
            case "silent":
                raise silent(place.mount)
            case "dead":
                text = "its daemon is dead; `esrffs -u` takes the mount away"
                raise MountError(f"{mountpoint}: {text}")
            case "private":
                raise MountError(f"{mountpoint}: only the user who mounted it may ask")
    if not told:
        raise MountError(f"{mountpoint}: what its daemon tells is no status: is it esrffs?")
    text = json.dumps(told, indent=2, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def unmount(mountpoint: str, *, force: bool = False) -> None:
    """Unmount this mount and wait until its daemon has ended; MountError says why this failed."""
    with _mount_at(mountpoint) as place:
        _check_user(place.mount)
        if force:
            _take_by_force(place)
        else:
            _unmount(place)
        with contextlib.suppress(MountError):  # a daemon that was killed could not
            _in_time(mountpoint, partial(remove_made, place.parent, place.name))


def _unmount(place: MountPlace) -> None:
    mount = place.mount
    how, told = state(place)
    if how == "silent":
        raise silent(mount)
    with held(mount, told.get("pid")) as processes:
        take_away_in_time(place, dead=how == "dead")
        if not gone(processes, _NOTICING):
            _send(processes, signal.SIGTERM)  # a copy of the mount in a container keeps it serving
            if not gone(processes, _ENDING):
                raise _not_gone(mount, processes)


def _send(processes: dict[int, int], number: signal.Signals) -> None:
    for descriptor in processes.values():
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)


@contextlib.contextmanager
def _mount_at(mountpoint: str) -> Iterator[MountPlace]:
    with located(mountpoint) as place:
        if place is None:
            raise MountError(
                f"{mountpoint}: no esrffs is mounted there; "
                f"`findmnt -t {TYPE}` lists those that are"
            )
        yield place


def _check_user(mount: Mount) -> None:
    if os.geteuid() in (0, mount.user) or mount.user is None:
        return
    try:
        name = pwd.getpwuid(mount.user).pw_name
    except KeyError:
        name = f"user {mount.user}"
    target = shlex.quote(mount.target)
    raise MountError(f"{mount.target}: mounted by {name}: `sudo umount {target}`")


def _not_gone(mount: Mount, processes: dict[int, int]) -> MountError:
    numbers = ", ".join(str(pid) for pid in processes)
    return MountError(
        f"{mount.target}: is unmounted, but its daemon (process {numbers}) has not ended: it waits "
        f"for the disk or file server of {mount.source}, which is busy until that answers"
    )


def mark_made(directory: int) -> None:
    """Mark an open directory as a mount point made by esrffs; only such a directory is removed by
    `-u`.

    On a file system without extended attributes it stays if the daemon is killed.
    """
    with contextlib.suppress(OSError):
        os.setxattr(directory, _MADE, b"")


def was_made(directory: int) -> bool:
    """Whether esrffs has made this directory as a mount point, at any time."""
    try:
        os.getxattr(directory, _MADE)
    except OSError:
        return False
    return True


def remove_made(parent: int, name: str) -> None:
    """Remove an empty directory that esrffs has made; anything else stays."""
    with contextlib.suppress(OSError):
        directory = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            made = was_made(directory)
        finally:
            os.close(directory)
        if made:
            os.rmdir(name, dir_fd=parent)


def clean_up_aborted_mount(mountpoint: str) -> None:
    """Unmount the daemon's own mount at its end, if its connection was aborted: libfuse does
    not.
    """
    with contextlib.suppress(OSError), esrffs_mount(mountpoint) as place:
        if place is None or not _was_cut(place):
            return
        log.warning(
            "%s: the connection to the kernel was cut (by `umount -f`, or `abort` in /sys/fs/fuse)",
            mountpoint,
        )
        try:
            take_away(place, dead=True)
        except MountError as error:
            log.warning("%s; `esrffs -u` takes the dead mount away", error)


def _was_cut(place: MountPlace) -> bool:
    """Whether a mount has lost its connection; the kernel answers such a question at once."""
    found = place.open()
    try:
        os.getxattr(f"/proc/self/fd/{found}", _STATUS)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    finally:
        os.close(found)
    return False


def take_away_in_time(place: MountPlace, *, dead: bool) -> None:
    """`take_away` with a time limit; MountError if a file system on the path does not answer."""
    try:
        _in_time(place.mount.target, partial(take_away, place, dead=dead))
    except MountError:
        if _is_mounted(place.mount):
            raise


def take_away(place: MountPlace, *, dead: bool) -> None:
    """Unmount a mount; a dead one even if it is in use.  Never another mount at the same path.

    `fusermount3` goes by the path, but unmounts only mounts of its user.
    """
    mount = place.mount
    if os.geteuid() == 0:
        _umount2(place, _DETACH if dead else 0)
        return
    _check_there(place)
    failures = []
    for name, *options in (
        ("fusermount3", "-u", *(["-z"] if dead else [])),
        ("umount", *(["-l"] if dead else [])),  # does without /etc/mtab
    ):
        command = program(name)
        if command is None:
            failures.append(f"{name} is missing")
            continue
        done = subprocess.run(
            [command, *options, "--", mount.target],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return
        failures.append((done.stderr.strip().splitlines() or [f"{name} failed"])[-1])
        if "busy" in failures[-1]:
            raise _busy(mount)
    raise MountError(failures[0])


def _is_mounted(mount: Mount) -> bool:
    return any(one.id == mount.id for one in mounts())


def _check_there(place: MountPlace) -> None:
    try:
        os.close(place.open())  # an open descriptor would keep it busy
    except OSError as error:
        text = f"{place.mount.target}: is not mounted there any more ({error.strerror})"
        raise MountError(text) from error


def _umount2(place: MountPlace, flags: int) -> None:
    """Unmount by the open parent folder, in which nobody can exchange the mount point."""
    _check_there(place)
    target, path = place.mount.target, f"/proc/self/fd/{place.parent}/{place.name}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), flags | _NOFOLLOW) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        raise _busy(place.mount)
    raise MountError(f"{target}: cannot be unmounted: {os.strerror(number)}")


def _busy(mount: Mount) -> MountError:
    return MountError(
        f"{mount.target}: target is busy; close what uses it (`fuser -vm {mount.target}` tells)"
    )


def _take_by_force(place: MountPlace) -> None:
    """Abort the connection, so that waiting programs get an error, and then end the daemon."""
    mount = place.mount
    with held(mount) as processes:
        with contextlib.suppress(OSError, MountError):
            _in_time(mount.target, partial(_abort, place))
        if os.geteuid() == 0:
            with contextlib.suppress(MountError):  # it is busy, but the connection is aborted
                _in_time(mount.target, partial(_umount2, place, _FORCE))
        if _is_mounted(mount):
            take_away_in_time(place, dead=True)
        _send(processes, signal.SIGKILL)
        if not gone(processes, _KILLING):
            raise _not_gone(mount, processes)


def _abort(place: MountPlace) -> None:
    """Abort the connection by its number, which is not used again while the mount is held open."""
    found = place.open()
    try:
        with open(_abort_file(place.mount), "w") as file:
            file.write("1")
    finally:
        os.close(found)


def _abort_file(mount: Mount) -> str:
    major, minor = (int(word) for word in mount.device.split(":"))
    return _ABORT.format(minor | major << 20)
