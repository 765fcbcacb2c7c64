"""Finds the process that serves a mount, whether or not it answers.

A daemon marks itself with an open memfd whose name identifies the mount.  A marked process is
accepted only if all its user ids are those of the user who mounted and it has the kernel's device
for FUSE open: any process can make such a mark, and a process number that a daemon reports may
belong to another process by now.
"""

import contextlib
import os
from collections.abc import Iterator
from hashlib import blake2b

from esrffs.linux.mountinfo import TYPE, Mount, mounts


def mark(mountpoint: str) -> None:
    """Mark this process as the daemon of this mount, for `daemons`.

    The mark is a memfd, which ends with the process; /proc/PID/fd shows its name.
    """
    for mount in mounts():
        if mount.target == mountpoint and mount.type == TYPE:
            os.memfd_create(_marked(mount), os.MFD_CLOEXEC)


def _marked(mount: Mount) -> str:
    place = blake2b(os.fsencode(mount.target), digest_size=8).hexdigest()
    return f"esrffs {mount.device} {place}"


def daemons(mount: Mount, told: object = None) -> list[int]:
    """Numbers of the processes that serve this mount: one, or none where /proc hides them.

    `told`: the process number that the daemon itself reports, if it answers.
    """
    if isinstance(told, int) and _serves(told, mount):
        return [told]
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _serves(name, mount)]


def _serves(process: str | int, mount: Mount) -> bool:
    try:
        if mount.user is None or _users(process) != {mount.user}:
            return False
        folder = f"/proc/{process}/fd"
        opened = {_link(f"{folder}/{number}") for number in os.listdir(folder)}
    except OSError:
        return False
    marked = f"/memfd:{_marked(mount)} (deleted)" in opened
    # By name: stat(2) could wait for a mount that does not answer.
    return marked and any(text.endswith("/fuse") for text in opened)


def _users(process: str | int) -> set[int]:
    """The real, effective, saved and file system user of a process."""
    with open(f"/proc/{process}/status", "rb") as lines:
        words = next((line.split() for line in lines if line.startswith(b"Uid:")), [])
    return {int(word) for word in words[1:]}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


@contextlib.contextmanager
def held(mount: Mount, told: object = None) -> Iterator[dict[int, int]]:
    """Open pidfds of the `daemons` of a mount, by process number.

    A pidfd goes on meaning its process when the number is given to another one.
    """
    processes: dict[int, int] = {}
    try:
        for pid in daemons(mount, told):
            with contextlib.suppress(OSError):
                processes[pid] = os.pidfd_open(pid)
            if pid in processes and not _serves(pid, mount):  # another process has the number now
                os.close(processes.pop(pid))
        yield processes
    finally:
        for descriptor in processes.values():
            os.close(descriptor)
