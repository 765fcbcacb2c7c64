"""What is mounted, as the kernel tells it.

Decided here: which mounts are ours, under which name the kernel knows a mount point, and whether
a mount is dead.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

TYPE = "fuse.esrffs"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    target: str
    type: str
    source: str
    device: str  # MAJOR:MINOR

    @property
    def folder(self) -> str:
        """What of ours is mounted there; `esrffs.daemon` has quoted it."""
        return os.fsdecode(unquote_to_bytes(self.source))

    def is_dead(self) -> bool:
        """Has its daemon gone without unmounting it?

        It is opened, because for a while the kernel knows the status of what has died.
        """
        try:
            os.close(os.open(self.target, os.O_RDONLY | os.O_DIRECTORY))
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False


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


def find(mountpoint: str) -> Mount | None:
    """The mount as the kernel spells it: symlinks in its parents resolved, itself not met."""
    parent = os.path.realpath(os.path.dirname(mountpoint))
    spelled = os.path.join(parent, os.path.basename(mountpoint))
    found = {mount.target: mount for mount in mounts() if mount.type == TYPE}
    if spelled in found:
        return found[spelled]
    try:
        real = os.path.realpath(mountpoint, strict=True)
    except OSError:
        return None
    return found.get(real)
