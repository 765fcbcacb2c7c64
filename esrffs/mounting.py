"""Mount points: is this one fit, is it dead, take it away.

Decided here: what is checked before mounting and what the user is told, and how an unmount is
done.
"""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from esrffs.errors import MountError

_FUSE_CONF = "/etc/fuse.conf"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    target: str
    type: str
    source: str
    device: str  # MAJOR:MINOR


def mounts() -> Iterator[Mount]:
    """What is mounted, in the order in which it was."""
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            words = line.split()
            rest = words[words.index(b"-") + 1 :]
            yield Mount(*(_unescaped(word) for word in (words[4], rest[0], rest[1], words[2])))


def _unescaped(word: bytes) -> str:
    r"""mountinfo spells blanks and backslashes as `\ooo`."""
    head, *parts = word.split(b"\\")
    return os.fsdecode(head + b"".join(bytes([int(p[:3], 8)]) + p[3:] for p in parts))


def check(mountpoint: str, *, shared: bool) -> None:
    """MountError, saying what to do, unless a filesystem can be mounted here.

    A dead mount of ours (its daemon was killed) is taken away first.
    """
    if not os.path.exists("/dev/fuse"):
        raise MountError("/dev/fuse is missing: load the fuse module (`modprobe fuse`) as root")
    if os.geteuid() and not shutil.which("fusermount3"):
        raise MountError("fusermount3 is missing: install the package fuse3")
    if shared and os.geteuid() and not _user_allow_other():
        raise MountError(
            f"allow_other and allow_root need a line `user_allow_other` in {_FUSE_CONF} (root)"
        )
    try:
        entries = os.listdir(mountpoint)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            unmount(mountpoint)
            check(mountpoint, shared=shared)
            return
        raise MountError(_unfit(mountpoint, error)) from error
    if any(mount.target == mountpoint for mount in mounts()):
        raise MountError(f"{mountpoint}: something is mounted there already")
    if entries:
        raise MountError(f"{mountpoint}: is not empty; choose an empty directory")
    if os.geteuid() and not os.access(mountpoint, os.W_OK):
        raise MountError(f"{mountpoint}: you may not write there, so FUSE will not mount there")


def _unfit(mountpoint: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{mountpoint}: there is no such directory; make it with `mkdir`"
    if isinstance(error, NotADirectoryError):
        return f"{mountpoint}: is not a directory"
    return f"{mountpoint}: {error.strerror}"


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
    target = _target(mountpoint)
    if target is None:
        raise MountError(f"{mountpoint}: no esrffs is mounted there")
    if os.geteuid() == 0:
        command = ["umount", *(["-l"] if _dead(target) else []), "--", target]
    else:
        command = ["fusermount3", "-u", *(["-z"] if _dead(target) else []), "--", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"{command[0]} failed"]
        hint = "; close what uses it (`fuser -vm` tells)" if "busy" in why[0] else ""
        raise MountError(f"{why[0]}{hint}")


def _target(mountpoint: str) -> str | None:
    """The mount point as the kernel spells it: symlinks in its parents resolved, itself not met."""
    parent = os.path.realpath(os.path.dirname(mountpoint))
    spelled = os.path.join(parent, os.path.basename(mountpoint))
    found = {mount.target for mount in mounts() if mount.type == "fuse.esrffs"}
    if spelled in found:
        return spelled
    try:
        real = os.path.realpath(mountpoint, strict=True)
    except OSError:
        return None
    return real if real in found else None


def _dead(target: str) -> bool:
    try:
        os.stat(target)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False
