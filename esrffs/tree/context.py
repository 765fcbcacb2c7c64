"""What all nodes of a mount share: data files, corrections, and which views are listed."""

from dataclasses import dataclass, field

from esrffs.flatfield.service import CorrectionService
from esrffs.source.context import DataContext


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """Formats of the views that directories list (others are found by name); `limit` in bytes.

    A view whose text or structure would be larger than `limit` is refused (EFBIG).
    """

    listed: frozenset[str] = frozenset({"txt"})
    limit: int = 64 << 20


@dataclass(frozen=True, slots=True)
class MountContext:
    """Everything that the nodes of one mount need; made once by `cli/daemon`."""

    data: DataContext
    corrections: CorrectionService
    views: ViewOptions = field(default_factory=ViewOptions)
