"""What all nodes of a mount share."""

from dataclasses import dataclass

from esrffs.flatfield.service import CorrectionService
from esrffs.source.context import DataContext


@dataclass(frozen=True, slots=True)
class MountContext:
    data: DataContext
    corrections: CorrectionService
