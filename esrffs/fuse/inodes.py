"""Inode numbers.  Imports nothing of esrffs.

Decided here: which number a node has, and how long a node is remembered.

The number of a node is a hash of its path and its key (`tree/nodes.Node`).  So it is the same
whenever and however the node is met, also after the kernel forgot it, after `echo 3 >
/proc/sys/vm/drop_caches`, and in the next mount: programs that compare inode numbers during a
long walk (find, tar, rsync) see none change.  A file of a changed source has another key, hence
another number, and the kernel takes nothing it has cached for it.  Directories keep theirs.

The table holds a node for as long as the kernel holds references to it, which it counts: each
reply that names a node adds one, `forget` takes them back.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar


class HasInodeKey(Protocol):
    """What has a number."""

    @property
    def path(self) -> tuple[bytes, ...]: ...

    @property
    def key(self) -> bytes: ...


N = TypeVar("N", bound=HasInodeKey)

ROOT = 1  # FUSE says so


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
        """The number of this node, whether the kernel knows it or not."""
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
        """A reply names this node: the kernel holds one more reference to it."""
        entry = self._entries.get(number)
        if entry is None:
            self._entries[number] = _Entry(node, 1)
        else:
            entry.node = node  # as it was found last
            entry.lookup_count += 1

    def forget(self, number: int, references: int) -> None:
        """The kernel gives up so many references."""
        entry = self._entries.get(number)
        if entry is None or number == ROOT:
            return
        entry.lookup_count -= references
        if entry.lookup_count <= 0:
            del self._entries[number]

    def __getitem__(self, number: int) -> N:
        """The node of this number; KeyError if the kernel should not know it."""
        return self._entries[number].node
