"""What the mount's options change in the status of every node, and how long it may be believed.

Decided here: `uid gid umask fmask dmask entry_timeout attr_timeout negative_timeout`.  Rights are
changed only as they are shown: what the daemon itself may read is what its user may.
"""

import stat
from collections.abc import Collection
from dataclasses import dataclass

from esrffs.tree.nodes import Stat


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

    def apply(self, status: Stat) -> Stat:
        """As the user will see it."""
        if self._as_it_is:
            return status
        return status._replace(
            mode=self._mode(status.mode),
            uid=status.uid if self.uid is None else self.uid,
            gid=status.gid if self.gid is None else self.gid,
        )

    def may_read(self, status: Stat, uid: int, groups: Collection[int]) -> bool:
        """May this user of these groups read it, as the kernel would decide by what is shown?"""
        shown = self.apply(status)
        if uid == shown.uid:
            needed = stat.S_IRUSR
        else:
            needed = stat.S_IRGRP if shown.gid in groups else stat.S_IROTH
        return uid == 0 or bool(shown.mode & needed)

    @property
    def _as_it_is(self) -> bool:
        return self.uid is self.gid is self.fmask is self.dmask is None

    def _mode(self, mode: int) -> int:
        """Masks replace the source's bits, as they do in vfat(5); programs stay executable."""
        if stat.S_ISDIR(mode) and self.dmask is not None:
            return stat.S_IFDIR | 0o777 & ~self.dmask
        if stat.S_ISREG(mode) and self.fmask is not None:
            return stat.S_IFREG | (0o666 | mode & 0o111) & ~self.fmask
        return mode
