"""Inode numbers: which number a node has, and which nodes the kernel knows.

The number of a node is a hash of its path and its key (`tree/nodes.Node`).  So a node has one
number, also after the kernel forgot it (`echo 3 > /proc/sys/vm/drop_caches`), and in the next
mount.  Programs that compare inode numbers during a long walk (find, tar, rsync) need this.  A file
of a changed source has another key and so another number: the kernel uses nothing that it cached
of the earlier one.  Directories keep their numbers.

The table holds a node as long as the kernel holds references to it.  Each answer that names a node
adds one reference (a *lookup*, in FUSE's words); `forget` gives references back.

Does not: import anything of esrffs.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar


class HasInodeKey(Protocol):
    """What can have a number."""

    @property
    def path(self) -> tuple[bytes, ...]: ...

    @property
    def key(self) -> bytes: ...


N = TypeVar("N", bound=HasInodeKey)

ROOT = 1  # the number of the root, by the protocol of FUSE


@dataclass(slots=True)
class _Entry(Generic[N]):
    node: N
    lookup_count: int


class InodeTable(Generic[N]):
    """The nodes that the kernel knows, by number."""

    def __init__(self, root: N) -> None:
        self._entries: dict[int, _Entry[N]] = {ROOT: _Entry(root, 1)}

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<InodeTable: {len(self)} known to the kernel>"

    def number(self, node: HasInodeKey) -> int:
        """The number of this node, whether the kernel knows the node or not."""
        if not node.path:
            return ROOT
        text = b"/".join(node.path) + b"\0" + node.key  # neither byte is in a name
        number = int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
        while number <= ROOT or self._taken(number, node):
            number = (number + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return number

    def _taken(self, number: int, node: HasInodeKey) -> bool:
        entry = self._entries.get(number)
        return entry is not None and (entry.node.path, entry.node.key) != (node.path, node.key)

    def add_lookup(self, number: int, node: N) -> None:
        """Count one more reference of the kernel to this node."""
        entry = self._entries.get(number)
        if entry is None:
            self._entries[number] = _Entry(node, 1)
        else:
            entry.node = node  # as it was found last
            entry.lookup_count += 1

    def forget(self, number: int, references: int) -> None:
        """Count this many references less; with none left, drop the node."""
        entry = self._entries.get(number)
        if entry is None or number == ROOT:
            return
        entry.lookup_count -= references
        if entry.lookup_count <= 0:
            del self._entries[number]

    def __getitem__(self, number: int) -> N:
        """The node with this number; KeyError if the kernel holds no reference to one."""
        return self._entries[number].node
