"""A mount seen from outside: is its daemon alive, what does it tell, how is it taken away.

Decided here: how a daemon is found and asked without waiting for it for ever, that a mount counts
as unmounted only when its daemon has gone too, and what is done by force.
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
import subprocess
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import Literal

from esrffs.cli.deadline import SECONDS, OverdueError, gone, within
from esrffs.errors import MountError
from esrffs.linux.mountinfo import TYPE, Mount, mounts
from esrffs.linux.path_walk import find_esrffs_mount

log = logging.getLogger(__name__)

SUFFIX = ".mnt"  # of a mount point that we make
_STATUS = "user.esrffs.status"
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


def state(mount: Mount) -> tuple[State, dict[str, object]]:
    """How its daemon does, and what it tells; `private`: only the user who mounted it may ask."""
    try:
        return "answers", dict(json.loads(within(SECONDS, partial(_told, mount))))
    except OverdueError:
        return "silent", {}
    except (OSError, ValueError) as error:
        dead = isinstance(error, OSError) and error.errno == errno.ENOTCONN
        return "dead" if dead else "private", {}


def _told(mount: Mount) -> bytes:
    """In a process of its own, as the user who mounted it: not even root may ask otherwise."""
    if os.geteuid() == 0 and mount.user:
        os.setgroups([])
        os.setresgid(*3 * [mount.group or 0])
        os.setresuid(*3 * [mount.user])
    return os.getxattr(mount.target, _STATUS)


def silent(mount: Mount) -> MountError:
    """What to say of a daemon that does not answer."""
    numbers = ", ".join(map(str, daemons(mount))) or "unknown"
    return MountError(
        f"{mount.target}: its daemon (process {numbers}) gives no answer: it was stopped, or waits "
        "for a disk or file server; as root, `esrffs -u --force` takes the mount away"
    )


def status(mountpoint: str) -> str:
    """What this mount tells of itself, as JSON; MountError where there is none that answers."""
    mount = _mount_at(mountpoint)
    how, told = state(mount)
    match how:
        case "silent":
            raise silent(mount)
        case "dead":
            raise MountError(f"{mountpoint}: its daemon is dead; `esrffs -u` takes the mount away")
        case "private":
            raise MountError(f"{mountpoint}: only the user who mounted it may ask")
    text = json.dumps(told, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # names that are not UTF-8
        return json.dumps(told, indent=2)
    return text


def unmount(mountpoint: str, *, force: bool = False) -> None:
    """Take this mount away and see its daemon end; MountError says why it cannot be."""
    mount = _mount_at(mountpoint)
    _check_user(mount)
    if force:
        _take_by_force(mount)
        return
    how, _ = state(mount)
    if how == "silent":
        raise silent(mount)
    with _held(daemons(mount)) as processes:
        take_away(mount, dead=how == "dead")
        if not gone(processes, _NOTICING):
            _send(processes, signal.SIGTERM)  # a copy of the mount in a container keeps it serving
            if not gone(processes, _ENDING):
                raise _not_gone(mount, processes)
    if mount.target == mount.source + SUFFIX:
        remove(mount.target)  # a daemon that was killed could not


def _send(processes: dict[int, int], number: signal.Signals) -> None:
    for descriptor in processes.values():
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)


def _mount_at(mountpoint: str) -> Mount:
    mount = find_esrffs_mount(mountpoint)
    if mount is None:
        raise MountError(
            f"{mountpoint}: no esrffs is mounted there; `findmnt -t {TYPE}` lists those that are"
        )
    return mount


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


def remove(mountpoint: str) -> None:
    """An empty directory that we made ourselves; anything else stays."""
    with contextlib.suppress(OSError):
        os.rmdir(mountpoint)


def clean_up_aborted_mount(mountpoint: str) -> None:
    """Of our own mount, in the end: libfuse leaves one whose connection was cut where it is."""
    mount = find_esrffs_mount(mountpoint)
    if mount is None or not _was_cut(mount):
        return
    log.warning(
        "%s: the connection to the kernel was cut (by `umount -f`, or `abort` in /sys/fs/fuse)",
        mountpoint,
    )
    try:
        take_away(mount, dead=True)
    except MountError as error:
        log.warning("%s; `esrffs -u` takes the dead mount away", error)


def _was_cut(mount: Mount) -> bool:
    """Of a mount without a connection: the kernel says so at once."""
    try:
        os.getxattr(mount.target, _STATUS)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def take_away(mount: Mount, *, dead: bool) -> None:
    """Unmount it; a dead one also where it is in use."""
    if os.geteuid() == 0:
        _umount2(mount, _NOFOLLOW | (_DETACH if dead else 0))
        return
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


def _umount2(mount: Mount, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mount.target), flags) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        raise _busy(mount)
    raise MountError(f"{mount.target}: cannot be unmounted: {os.strerror(number)}")


def _busy(mount: Mount) -> MountError:
    return MountError(
        f"{mount.target}: target is busy; close what uses it (`fuser -vm {mount.target}` tells)"
    )


def _take_by_force(mount: Mount) -> None:
    """Cut the connection, so that whoever waits gets an error, then end the daemon."""
    with _held(daemons(mount)) as processes:
        with contextlib.suppress(OSError), open(_abort_file(mount), "w") as file:
            file.write("1")
        if os.geteuid() == 0:
            with contextlib.suppress(MountError):  # busy; but it cuts the connection
                _umount2(mount, _FORCE | _NOFOLLOW)
        if mount in mounts():
            take_away(mount, dead=True)
        _send(processes, signal.SIGKILL)
        if not gone(processes, _KILLING):
            raise _not_gone(mount, processes)
    if mount.target == mount.source + SUFFIX:
        remove(mount.target)


def _abort_file(mount: Mount) -> str:
    major, minor = (int(word) for word in mount.device.split(":"))
    return _ABORT.format(minor | major << 20)


def mark(mountpoint: str) -> None:
    """Let others see which process serves this mount, also when it does not answer (`daemons`).

    A file without a place, which is gone with the process; its name stands in /proc/PID/fd.
    """
    for mount in mounts():
        if mount.target == mountpoint and mount.type == TYPE:
            os.memfd_create(_marked(mount), os.MFD_CLOEXEC)


def _marked(mount: Mount) -> str:
    place = blake2b(os.fsencode(mount.target), digest_size=8).hexdigest()
    return f"esrffs {mount.device} {place}"


def daemons(mount: Mount) -> list[int]:
    """The processes that serve this mount: one, or none where they may not be seen."""
    wanted = f"/memfd:{_marked(mount)} (deleted)"
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            folder = f"/proc/{name}/fd"
            if any(_is_link(f"{folder}/{number}", wanted) for number in os.listdir(folder)):
                found.append(int(name))
    return found


def _is_link(path: str, text: str) -> bool:
    try:
        return os.readlink(path) == text
    except OSError:
        return False


@contextlib.contextmanager
def _held(processes: list[int]) -> Iterator[dict[int, int]]:
    """Descriptors of these processes: their numbers may become those of others."""
    held: dict[int, int] = {}
    try:
        for pid in processes:
            with contextlib.suppress(OSError):
                held[pid] = os.pidfd_open(pid)
        yield held
    finally:
        for descriptor in held.values():
            os.close(descriptor)
