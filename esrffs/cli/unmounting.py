"""A mount seen from outside: is its daemon alive, what does it tell, how is it taken away.

Decided here: how a daemon is asked without waiting for it for ever, that a mount counts as
unmounted only when its daemon has gone too, which directory goes with it, and what is done by
force.  A mount is found once, and from then on by the folder in which it lies: its path may lead
elsewhere meanwhile, and what is mounted there is not to be taken away.
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

SUFFIX = ".mnt"  # of a mount point that we make
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STATUS = "user.esrffs.status"
_MADE = "user.esrffs.made"  # of a mount point
_NOTICING = 3.0  # seconds in which a daemon notices that it is unmounted
_ENDING = 20.0  # seconds that a daemon which answered may take to end
_KILLING = 5.0  # … that one which was killed may take
_FORCE, _DETACH, _NOFOLLOW = 1, 2, 8  # <sys/mount.h>
_PLACES = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"  # where PATH may not lead
_ABORT = "/sys/fs/fuse/connections/{}/abort"

State = Literal["answers", "private", "dead", "silent"]


def program(name: str) -> str | None:
    """The path of a program of the system, whatever PATH says."""
    return shutil.which(name) or shutil.which(name, path=_PLACES)


@contextlib.contextmanager
def located(mountpoint: str) -> Iterator[MountPlace | None]:
    """The mount of ours at this path, if any, and its place, held open; MountError.

    Found by a process of its own: a file system on the way may not answer.
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
    """What may wait for file systems on the way to the mount point; MountError."""
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
    """How its daemon does, and what it tells; `private`: only the user who mounted it may ask.

    What is told comes from anybody's program, which may call itself esrffs: it may be nothing.
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
    """In a process of its own, as the user who mounted it: not even root may ask otherwise."""
    mount, found = place.mount, place.open()
    if os.geteuid() == 0 and mount.user:
        os.setgroups([])
        os.setresgid(*3 * [mount.group or 0])
        os.setresuid(*3 * [mount.user])
    return os.getxattr(f"/proc/self/fd/{found}", _STATUS)


def silent(mount: Mount) -> MountError:
    """What to say of a daemon that does not answer."""
    numbers = ", ".join(map(str, daemons(mount))) or "unknown"
    return MountError(
        f"{mount.target}: its daemon (process {numbers}) gives no answer: it was stopped, or waits "
        "for a disk or file server; as root, `esrffs -u --force` takes the mount away"
    )


def status(mountpoint: str) -> str:
    """What this mount tells of itself, as JSON; MountError where there is none that answers."""
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
    """Take this mount away and see its daemon end; MountError says why it cannot be."""
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
    """A mount point that we made, by its descriptor: only such a one is removed by `-u`.

    Where the file system knows no extended attributes, one stays when its daemon was killed.
    """
    with contextlib.suppress(OSError):
        os.setxattr(directory, _MADE, b"")


def was_made(directory: int) -> bool:
    """Whether we made this directory as a mount point, at whatever time."""
    try:
        os.getxattr(directory, _MADE)
    except OSError:
        return False
    return True


def remove_made(parent: int, name: str) -> None:
    """An empty directory that we made ourselves; anything else stays."""
    with contextlib.suppress(OSError):
        directory = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            made = was_made(directory)
        finally:
            os.close(directory)
        if made:
            os.rmdir(name, dir_fd=parent)


def clean_up_aborted_mount(mountpoint: str) -> None:
    """Of our own mount, in the end: libfuse leaves one whose connection was cut where it is."""
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
    """Of a mount without a connection: the kernel says so at once."""
    found = place.open()
    try:
        os.getxattr(f"/proc/self/fd/{found}", _STATUS)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    finally:
        os.close(found)
    return False


def take_away_in_time(place: MountPlace, *, dead: bool) -> None:
    """`take_away`, unless that is done by then; MountError where the way to it does not answer."""
    try:
        _in_time(place.mount.target, partial(take_away, place, dead=dead))
    except MountError:
        if _is_mounted(place.mount):
            raise


def take_away(place: MountPlace, *, dead: bool) -> None:
    """Unmount it; a dead one also where it is in use.  Never another, whatever its path leads to.

    `fusermount3` goes by the path all the same, but takes away only what its user has mounted.
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
        os.close(place.open())  # held open it would be busy
    except OSError as error:
        text = f"{place.mount.target}: is not mounted there any more ({error.strerror})"
        raise MountError(text) from error


def _umount2(place: MountPlace, flags: int) -> None:
    """By the folder that is held open; a mount point in it cannot be exchanged for another."""
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
    """Cut the connection, so that whoever waits gets an error, then end the daemon."""
    mount = place.mount
    with held(mount) as processes:
        with contextlib.suppress(OSError, MountError):
            _in_time(mount.target, partial(_abort, place))
        if os.geteuid() == 0:
            with contextlib.suppress(MountError):  # busy; but it cuts the connection
                _in_time(mount.target, partial(_umount2, place, _FORCE))
        if _is_mounted(mount):
            take_away_in_time(place, dead=True)
        _send(processes, signal.SIGKILL)
        if not gone(processes, _KILLING):
            raise _not_gone(mount, processes)


def _abort(place: MountPlace) -> None:
    """By its number, which stays its own as long as the mount is held open."""
    found = place.open()
    try:
        with open(_abort_file(place.mount), "w") as file:
            file.write("1")
    finally:
        os.close(found)


def _abort_file(mount: Mount) -> str:
    major, minor = (int(word) for word in mount.device.split(":"))
    return _ABORT.format(minor | major << 20)
