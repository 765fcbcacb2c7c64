"""Status of a node as the kernel is told it: owner, mode and timeouts follow the mount's options.

Options: `uid gid umask fmask dmask entry_timeout attr_timeout negative_timeout`.  They change what
is shown.  What the daemon itself may read depends on the user who started it, not on them.
"""

import stat
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from esrffs.tree.nodes import Stat

BLOCK_SIZE = 128 << 10  # bytes, st_blksize: how much cp and Python read at a time
_STAT_BLOCK = 512  # bytes, the unit of st_blocks
NO_INODE = 0  # in an answer to a lookup: there is no such name


class Attributes(NamedTuple):
    """An inode number, its status as shown, and for how many seconds the kernel may keep them."""

    inode: int
    status: Stat
    entry_timeout: float
    attr_timeout: float

    @property
    def blocks(self) -> int:
        """Size in units of 512 bytes, rounded up (st_blocks)."""
        return -(-self.status.size // _STAT_BLOCK)


_NOTHING = Stat(0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class AttributeOptions:
    """Timeouts in seconds; None: as in the source.  `fmask` and `dmask` are octal bits to clear."""

    entry_timeout: float = 1.0
    attr_timeout: float = 1.0
    negative_timeout: float = 0.0
    uid: int | None = None
    gid: int | None = None
    fmask: int | None = None
    dmask: int | None = None

    def attributes(self, inode: int, status: Stat) -> Attributes:
        """What the kernel is told of this node; `status` is that of the source."""
        return Attributes(inode, self.apply(status), self.entry_timeout, self.attr_timeout)

    def no_entry(self) -> Attributes:
        """An answer that the kernel may keep: there is no such name."""
        return Attributes(NO_INODE, _NOTHING, self.negative_timeout, self.attr_timeout)

    def apply(self, status: Stat) -> Stat:
        """The status as it is shown."""
        if self._unchanged:
            return status
        return status._replace(
            mode=self._mode(status.mode),
            uid=status.uid if self.uid is None else self.uid,
            gid=status.gid if self.gid is None else self.gid,
        )

    def may_read(self, status: Stat, uid: int, groups: Collection[int]) -> bool:
        """Whether a user with these groups may read, by the status that is shown."""
        shown = self.apply(status)
        if uid == shown.uid:
            needed = stat.S_IRUSR
        else:
            needed = stat.S_IRGRP if shown.gid in groups else stat.S_IROTH
        return uid == 0 or bool(shown.mode & needed)

    @property
    def _unchanged(self) -> bool:
        return self.uid is self.gid is self.fmask is self.dmask is None

    def _mode(self, mode: int) -> int:
        """Masks replace the source's bits, as they do in vfat(5); programs stay executable."""
        if stat.S_ISDIR(mode) and self.dmask is not None:
            return stat.S_IFDIR | 0o777 & ~self.dmask
        if stat.S_ISREG(mode) and self.fmask is not None:
            return stat.S_IFREG | (0o666 | mode & 0o111) & ~self.fmask
        return mode
