"""What everything that reads the data files of one mount shares."""

from dataclasses import dataclass, field

from esrffs.background import DecodeThreads, ReadAheadBudget, StartTask
from esrffs.cache import ByteCache
from esrffs.source.data_file import DataFiles
from esrffs.source.error_registry import ErrorRegistry

READ_AHEAD_NBYTES = 128 << 20  # for all readers of a mount, unless the cache is small


@dataclass(frozen=True, slots=True)
class DataContext:
    """The data files of a mount, and its shared resources.

    `start_task` starts a task that nobody waits for.
    """

    files: DataFiles
    cache: ByteCache
    start_task: StartTask
    threads: DecodeThreads = field(default_factory=DecodeThreads)
    read_ahead: ReadAheadBudget = field(default_factory=lambda: ReadAheadBudget(READ_AHEAD_NBYTES))

    @property
    def errors(self) -> ErrorRegistry:
        """What went wrong with the objects of the mount; data files record theirs themselves."""
        return self.files.errors
