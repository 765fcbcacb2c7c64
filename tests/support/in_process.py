"""Data files read in the process of the test: what `source/` and `arrays/` need, no workers."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from esrffs.cache import ByteCache
from esrffs.model import Box, DatasetInfo, Format
from esrffs.source.context import DataContext
from esrffs.source.data_file import DataFile, DataFiles
from esrffs.source.open_data_file import OpenDataFile
from esrffs.source.root import SourceRoot
from esrffs.workers import server
from esrffs.workers.pool import WorkerPool
from esrffs.workers.protocol import ReaderSpec

T = TypeVar("T")


class InProcessPool:
    """Calls the functions that a `WorkerPool` has a worker process call; counts the calls."""

    count = 1

    def __init__(self) -> None:
        self.calls: list[str] = []

    @asynccontextmanager
    async def slot(self, _limiter: object) -> AsyncIterator[None]:
        yield

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        self.calls.append(function.__name__)
        return function(*arguments)

    async def read(
        self,
        subject: ReaderSpec,
        address: str,
        box: Box,
        nbytes: int,
        dtype: np.dtype[np.generic] | None = None,
    ) -> memoryview:
        self.calls.append("read")
        array = server.call_reader(subject, "read", address, box)
        assert array.nbytes == nbytes
        return memoryview(array.tobytes())


def data_context(folder: Path, *, confined: bool = False) -> DataContext:
    """The data files of this folder.  Tasks in the background are not started."""
    root = SourceRoot(str(folder), confined=confined)
    files = DataFiles(root, cast(WorkerPool, InProcessPool()))
    return DataContext(files, ByteCache(1 << 24), lambda *_: None)


def calls(context: DataContext) -> list[str]:
    """The names of the functions that workers would have run, so far."""
    return cast(InProcessPool, context.files._workers).calls


async def dataset(
    context: DataContext, file: str, path: str, format_: Format = "hdf5"
) -> tuple[DataFile, DatasetInfo]:
    """A data file, and what is known of one of its datasets."""
    source = await context.files.current(file, format_)
    info = await source.find(path)
    assert isinstance(info, DatasetInfo)
    return source, info


@contextmanager
def opened(context: DataContext, source: DataFile) -> Iterator[OpenDataFile]:
    """The file as a handle has it open."""
    file = OpenDataFile(context.files, source)
    try:
        yield file
    finally:
        file.release()


def as_array(data: Any, info: DatasetInfo) -> np.ndarray[Any, Any]:
    """The bytes of a whole dataset as an array of its dtype and shape."""
    return np.frombuffer(data, info.dtype).reshape(info.shape)
