"""Mount points: is this one fit, is it dead, take it away.

Decided here: what is checked before mounting and what the user is told, which mount point serves
where none is given, and how an unmount is done.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator

from esrffs.errors import MountError, UsageError
from esrffs.mountinfo import TYPE, Mount, find, mounts

log = logging.getLogger(__name__)

_FUSE_CONF = "/etc/fuse.conf"
_DEVICE = "/dev/fuse"
_STATUS = "user.esrffs.status"
_SUFFIX = ".mnt"  # of a mount point that we make
_GONE = 2.0  # seconds that a daemon may take to remove the mount point it had made


def check(mountpoint: str, source: str, *, shared: bool) -> None:
    """MountError, saying what to do, unless `source` can be mounted here.

    A dead mount of ours (its daemon was killed) is taken away first.
    """
    _check_rights(shared=shared)
    try:
        entries = os.listdir(mountpoint)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise MountError(_unfit(mountpoint, error)) from error
        _take_away_dead(mountpoint)
        check(mountpoint, source, shared=shared)
        return
    there = [mount for mount in mounts() if mount.target == mountpoint]
    if there:
        raise MountError(_taken(there[-1], source))
    if entries:
        raise MountError(f"{mountpoint}: is not empty; choose an empty directory")
    if os.geteuid() and not os.access(mountpoint, os.W_OK):
        raise MountError(f"{mountpoint}: you may not write there; choose a directory that is yours")


def _check_rights(*, shared: bool) -> None:
    if not os.path.exists(_DEVICE):
        raise MountError(f"{_DEVICE} is missing: load the fuse module (`modprobe fuse`) as root")
    if os.geteuid() == 0:
        return
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        raise MountError(f"{_DEVICE}: you may not use it; ask the administrator for the right")
    program = shutil.which("fusermount3")
    if program is None:
        raise MountError("fusermount3 is missing: install the package fuse3")
    if not (os.stat(program).st_mode & stat.S_ISUID or _has_capabilities(program)):
        raise MountError(f"{program} is not setuid root: install the package fuse3 again")
    if shared and not _user_allow_other():
        raise MountError(
            f"allow_other and allow_root need a line `user_allow_other` in {_FUSE_CONF} (root)"
        )


def _has_capabilities(program: str) -> bool:
    """File capabilities serve as well as setuid (seen in hardened systems)."""
    with contextlib.suppress(OSError):
        return "security.capability" in os.listxattr(program)
    return False


def _take_away_dead(mountpoint: str) -> None:
    mount = find(mountpoint)
    if mount is None:
        raise MountError(
            f"{mountpoint}: a dead mount of another program is there; `umount -l` takes it away"
        )
    _umount(mount, dead=True)


def _taken(mount: Mount, source: str) -> str:
    if mount.type != TYPE:
        return f"{mount.target}: {mount.type} is mounted there already; choose another directory"
    what = "it" if mount.folder == source else mount.folder
    return f"{mount.target}: {what} is mounted there already; `esrffs -u` unmounts it"


def _unfit(mountpoint: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{mountpoint}: there is no such directory; make it with `mkdir`"
    if isinstance(error, NotADirectoryError):
        return f"{mountpoint}: is not a directory; choose an empty directory"
    if isinstance(error, PermissionError):
        return f"{mountpoint}: you may not enter it; choose a directory that is yours"
    return f"{mountpoint}: {error.strerror}; choose another directory"


def beside(source: str) -> str:
    """The mount point where none is given: SOURCE.mnt, made if need be.

    One that a crash or a power cut has left there is used again.
    """
    path = os.path.abspath(source)
    mountpoint = os.path.join(os.path.realpath(os.path.dirname(path)), _name(path))
    try:
        os.mkdir(mountpoint, 0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise MountError(
            f"{mountpoint}: cannot be made ({error.strerror}); "
            "name a mount point: `esrffs SOURCE MOUNTPOINT`"
        ) from error
    return mountpoint


def _name(path: str) -> str:
    if path == "/":
        raise UsageError("/ has no place beside it; name a mount point: `esrffs / MOUNTPOINT`")
    return os.path.basename(path) + _SUFFIX


@contextlib.contextmanager
def removed_after(mountpoint: str) -> Iterator[None]:
    """Remove the directory in the end, if it is empty and nothing is mounted there."""
    try:
        yield
    finally:
        remove(mountpoint)


def remove(mountpoint: str) -> None:
    """An empty directory that we made ourselves; anything else stays."""
    with contextlib.suppress(OSError):
        os.rmdir(mountpoint)


def _user_allow_other() -> bool:
    try:
        with open(_FUSE_CONF) as lines:
            return any(line.strip() == "user_allow_other" for line in lines)
    except OSError:
        return False


def set_read_ahead(mountpoint: str, kib: int) -> None:
    """Let the kernel read so far ahead in this mount; only root may say so, others keep 128 KiB.

    Measured in docs/performance.md.  Nothing of the mount itself is touched: this is asked from
    within the process that would have to answer.
    """
    for mount in mounts():
        if mount.target == mountpoint:
            with (
                contextlib.suppress(OSError),
                open(f"/sys/class/bdi/{mount.device}/read_ahead_kb", "w") as file,
            ):
                file.write(str(kib))


def unmount(mountpoint: str) -> None:
    """Take this mount away, dead or alive; MountError says why it cannot be."""
    mountpoint = os.path.abspath(mountpoint)
    mount = find(mountpoint)
    if mount is None:
        raise MountError(
            f"{mountpoint}: no esrffs is mounted there; `findmnt -t {TYPE}` lists those that are"
        )
    dead = mount.is_dead()
    made = mount.target == mount.folder + _SUFFIX
    daemon = _daemon(mount.target) if made and not dead else None
    _umount(mount, dead=dead)
    if made:
        _made_by_us(mount.target, daemon)


def take_away_rest(mountpoint: str) -> None:
    """Of our own mount, in the end: libfuse leaves one whose connection was cut where it is."""
    mount = find(mountpoint)
    if mount is None or not mount.is_dead():
        return
    log.warning(
        "%s: the connection to the kernel was cut (by `umount -f`, or `abort` in /sys/fs/fuse)",
        mountpoint,
    )
    try:
        _umount(mount, dead=True)
    except MountError as error:
        log.warning("%s; `esrffs -u` takes the dead mount away", error)


def _umount(mount: Mount, *, dead: bool) -> None:
    if os.geteuid() == 0:
        command = ["umount", *(["-l"] if dead else []), "--", mount.target]
    else:
        command = ["fusermount3", "-u", *(["-z"] if dead else []), "--", mount.target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"{command[0]} failed"]
        hint = "; close what uses it (`fuser -vm` tells)" if "busy" in why[0] else ""
        raise MountError(f"{why[0]}{hint}")


def _made_by_us(mountpoint: str, daemon: int | None) -> None:
    """Its daemon removes it; what a killed one has left is removed here."""
    end = time.monotonic() + _GONE
    while daemon and os.path.exists(mountpoint) and time.monotonic() < end:
        time.sleep(0.01)
    if not daemon:
        remove(mountpoint)


def status(mountpoint: str) -> str:
    """What this mount tells of itself, as JSON; MountError where there is none that answers."""
    try:
        return json.dumps(_status(mountpoint), indent=2, ensure_ascii=False)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            text = "its daemon is dead; `esrffs -u` takes the mount away"
        elif error.errno == errno.EACCES:
            text = "only the user who mounted it may ask"
        else:
            text = f"no esrffs is mounted there; `findmnt -t {TYPE}` lists those that are"
        raise MountError(f"{os.path.abspath(mountpoint)}: {text}") from error


def _status(mountpoint: str) -> dict[str, object]:
    return dict(json.loads(os.getxattr(mountpoint, _STATUS)))


def _daemon(mountpoint: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        pid = _status(mountpoint).get("pid")
        return pid if isinstance(pid, int) else None
    return None
