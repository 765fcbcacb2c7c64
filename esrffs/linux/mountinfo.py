"""What is mounted, as the kernel tells it.

Decided here: which mounts are ours, under which name the kernel knows a mount point, whether a
mount is dead, and who has mounted it.  Does not touch a mount: whatever is asked of one of ours
has to be answered by its daemon, which may be the process that asks.
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
    """One line of /proc/self/mountinfo."""

    target: str
    type: str
    device_name: str
    device: str  # MAJOR:MINOR
    id: int = 0
    options: str = ""  # of the file system

    @property
    def source(self) -> str:
        """What of ours is mounted there; `cli/daemon` has quoted it."""
        return os.fsdecode(unquote_to_bytes(self.device_name))

    @property
    def user(self) -> int | None:
        """Who has mounted it."""
        return self._number("user_id")

    @property
    def group(self) -> int | None:
        """Of which group that user was."""
        return self._number("group_id")

    def _number(self, wanted: str) -> int | None:
        for option in self.options.split(","):
            name, _, value = option.partition("=")
            if name == wanted and value.isdecimal():
                return int(value)
        return None


def mounts() -> Iterator[Mount]:
    """What is mounted, in the order in which it was."""
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
    r"""mountinfo spells blanks and backslashes as `\ooo`."""
    head, *parts = word.split(b"\\")
    return os.fsdecode(head + b"".join(bytes([int(p[:3], 8)]) + p[3:] for p in parts))


def mount_id(descriptor: int) -> int:
    """The number that mountinfo has for the mount of this descriptor; no file system is asked."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:")), 0)


class OwnMounts:
    """All mounts of this program, of whatever daemon, as they are at the moment of each question.

    The kernel tells by poll(2) that its table has changed, so that it is read only then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the daemon asks from several threads
        self._table: int | None = None
        self._changes = select.poll()
        self._known = False  # what is mounted, as far as no change was told since
        self._ids: frozenset[int] = frozenset()
        self._targets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<OwnMounts: {', '.join(self._targets) or 'none'}>"

    def holds(self, descriptor: int) -> bool:
        """Whether this descriptor (O_PATH) is of a mount of ours; no file system is asked."""
        self._look()
        if not self._ids:
            return False
        return mount_id(descriptor) in self._ids

    def within(self, folder: str) -> frozenset[str]:
        """The names in this folder (a real path) on which something of ours is mounted."""
        self._look()
        return frozenset(
            os.path.basename(target)
            for target in self._targets
            if os.path.dirname(target) == folder != target
        )

    def cover(self, path: str) -> bool:
        """Whether this real path is a mount point of ours, or below one."""
        self._look()
        return any((path + "/").startswith(target.rstrip("/") + "/") for target in self._targets)

    def _look(self) -> None:
        with self._lock:
            if self._table is None:
                self._table = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
                self._changes.register(self._table, select.POLLPRI)
            if self._changes.poll(0):  # before it is read: what changes meanwhile is told next time
                self._known = False
            if not self._known:
                own = [mount for mount in mounts() if mount.type == TYPE]
                self._ids = frozenset(mount.id for mount in own)
                self._targets = tuple(mount.target for mount in own)
                self._known = True

    def forget(self) -> None:
        """In a new process: of a file in common, only one of two is told of changes."""
        if self._table is not None:
            os.close(self._table)
        self.__init__()  # type: ignore[misc]


OWN = OwnMounts()
os.register_at_fork(after_in_child=OWN.forget)
