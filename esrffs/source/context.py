"""What everything that reads the data files of one mount shares."""

from dataclasses import dataclass

from esrffs.background import Ahead
from esrffs.cache import Cache
from esrffs.source.data_file import Sources


@dataclass(frozen=True, slots=True)
class DataContext:
    """`start_task` starts a task that nobody waits for."""

    files: Sources
    cache: Cache
    start_task: Ahead
