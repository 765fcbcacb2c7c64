"""What everything that reads the data files of one mount shares."""

from dataclasses import dataclass

from esrffs.background import StartTask
from esrffs.cache import ByteCache
from esrffs.source.data_file import DataFiles
from esrffs.source.error_registry import ErrorRegistry


@dataclass(frozen=True, slots=True)
class DataContext:
    """`start_task` starts a task that nobody waits for."""

    files: DataFiles
    cache: ByteCache
    start_task: StartTask

    @property
    def errors(self) -> ErrorRegistry:
        """What went wrong with the objects of the mount; data files record theirs themselves."""
        return self.files.errors
