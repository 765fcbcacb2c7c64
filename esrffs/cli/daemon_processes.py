"""Which process serves a mount, as others find it, whether or not it answers.

Decided here: how a daemon marks itself, and which process is believed to be one: it must belong to
the user who mounted, with all its user ids, and have the kernel's device for FUSE open.  The mark
itself anybody can make, and a number that a daemon tells may be anybody's.
"""

import contextlib
import os
from collections.abc import Iterator
from hashlib import blake2b

from esrffs.linux.mountinfo import TYPE, Mount, mounts


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


def daemons(mount: Mount, told: object = None) -> list[int]:
    """The processes that serve this mount: one, or none where they may not be seen.

    `told`: what its daemon says to be its number, if it answers.
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
    return marked and any(text.endswith("/fuse") for text in opened)  # nothing is asked by stat(2)


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
    """Descriptors of its `daemons`, by number: the numbers may become those of other processes."""
    processes: dict[int, int] = {}
    try:
        for pid in daemons(mount, told):
            with contextlib.suppress(OSError):
                processes[pid] = os.pidfd_open(pid)
            if pid in processes and not _serves(pid, mount):  # the number was another's by then
                os.close(processes.pop(pid))
        yield processes
    finally:
        for descriptor in processes.values():
            os.close(descriptor)
