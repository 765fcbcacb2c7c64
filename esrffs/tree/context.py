"""What all nodes of a mount share."""

from dataclasses import dataclass, field

from esrffs.flatfield.service import CorrectionService
from esrffs.source.context import DataContext


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """Which views directories list; all others are found by name.  `limit`: bytes of text."""

    listed: frozenset[str] = frozenset({"txt"})
    limit: int = 64 << 20


@dataclass(frozen=True, slots=True)
class MountContext:
    data: DataContext
    corrections: CorrectionService
    views: ViewOptions = field(default_factory=ViewOptions)
