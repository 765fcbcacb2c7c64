"""The table of mounts (/proc/self/mountinfo), and which of them are mounts of esrffs.

Nothing here makes a request to a mounted file system: a request to a mount of esrffs would have to
be answered by its daemon, which may be the process that is asking.
"""

import os
import select
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

TYPE = "fuse.esrffs"
_TABLE = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo (see proc_pid_mountinfo(5))."""

    target: str
    type: str
    device_name: str
    device: str  # MAJOR:MINOR
    id: int = 0
    options: str = ""  # of the file system (the last field)

    @property
    def source(self) -> str:
        """The source folder of a mount of esrffs; `cli/daemon` percent-encodes it in the table."""
        return os.fsdecode(unquote_to_bytes(self.device_name))

    @property
    def user(self) -> int | None:
        """The uid of the user who mounted it; None if the table does not say."""
        return self._number("user_id")

    @property
    def group(self) -> int | None:
        """The gid of the user who mounted it; None if the table does not say."""
        return self._number("group_id")

    def _number(self, wanted: str) -> int | None:
        for option in self.options.split(","):
            name, _, value = option.partition("=")
            if name == wanted and value.isdecimal():
                return int(value)
        return None


def mounts() -> Iterator[Mount]:
    """All mounts, in the order in which they were made."""
    with open(_TABLE, "rb") as lines:
        yield from _parsed(lines)


def _parsed(lines: Iterable[bytes]) -> Iterator[Mount]:
    for line in lines:
        words = line.split()
        rest = words[words.index(b"-") + 1 :]
        target, type_, source, device, options = map(
            _unescaped, (words[4], rest[0], rest[1], words[2], rest[2])
        )
        yield Mount(target, type_, source, device, int(words[0]), options)


def _unescaped(word: bytes) -> str:
    r"""The text of a field, where blanks, tabs, newlines and backslashes are `\ooo` (octal)."""
    head, *parts = word.split(b"\\")
    return os.fsdecode(head + b"".join(bytes([int(p[:3], 8)]) + p[3:] for p in parts))


def mount_id(descriptor: int) -> int:
    """The ID (first field of mountinfo) of the mount that a descriptor is on; 0 if unknown."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:")), 0)


class OwnMounts:
    """All mounts of esrffs, those of other daemons included.

    The table is read again only after poll(2) has reported a change, and always before an answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # several threads of the daemon call the methods
        self._table: int | None = None
        self._changes = select.poll()
        self._current = False  # whether `_ids` and `_targets` are up to date
        self._ids: frozenset[int] = frozenset()
        self._targets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<OwnMounts: {', '.join(self._targets) or 'none'}>"

    def holds(self, descriptor: int) -> bool:
        """Whether this descriptor (O_PATH suffices) is on a mount of esrffs."""
        self._update()
        if not self._ids:
            return False
        return mount_id(descriptor) in self._ids

    def within(self, folder: str) -> frozenset[str]:
        """The names in this folder (a real path) that are mount points of esrffs."""
        self._update()
        return frozenset(
            os.path.basename(target)
            for target in self._targets
            if os.path.dirname(target) == folder != target
        )

    def cover(self, path: str) -> bool:
        """Whether this real path is a mount point of esrffs, or lies below one."""
        self._update()
        return any((path + "/").startswith(target.rstrip("/") + "/") for target in self._targets)

    def _update(self) -> None:
        with self._lock:
            if self._table is None:
                self._table = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
                self._changes.register(self._table, select.POLLPRI)
            if self._changes.poll(0):  # asked before reading: a later change is reported next time
                self._current = False
            if not self._current:
                own = [mount for mount in mounts() if mount.type == TYPE]
                self._ids = frozenset(mount.id for mount in own)
                self._targets = tuple(mount.target for mount in own)
                self._current = True

    def forget(self) -> None:
        """Start anew after fork: if two processes share the open table, one of them is notified."""
        if self._table is not None:
            os.close(self._table)
        self.__init__()  # type: ignore[misc]


OWN = OwnMounts()
os.register_at_fork(after_in_child=OWN.forget)
