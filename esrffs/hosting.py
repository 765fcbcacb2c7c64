"""Inside a worker process: the readers that are open, and how their answers leave.

Decided here: how many files a worker keeps open, that a file is the same before and after each
answer, and that bulk data leave by shared memory.  All of this runs in `esrffs.workers`'
processes, where a crash, an endless loop or a memory bomb costs one process.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from esrffs import formats
from esrffs.errors import DamagedError, EsrffsError, MissingError, StaleError, TooLargeError
from esrffs.model import Box, Generation, Reader

OPEN_READERS = 4  # per worker: a few files are read side by side, rarely more


@dataclass(frozen=True, slots=True)
class Subject:
    """What a reader is opened on: one file, or the files of a series, in one generation each."""

    paths: tuple[str, ...]
    generations: tuple[Generation, ...]
    format: formats.Format
    series: bool
    confine: str | None

    def check(self) -> None:
        """StaleError unless every file is what it was when this was made."""
        for path, generation in zip(self.paths, self.generations, strict=True):
            try:
                now = Generation.of(os.stat(path))
            except OSError as error:
                raise MissingError(f"cannot be opened: {error.strerror}") from error
            if now != generation:
                raise StaleError("changed while it was read")


_readers: OrderedDict[Subject, Reader] = OrderedDict()


def ready() -> None:
    """Does nothing, in a worker that has started."""


def call(subject: Subject, method: str, *arguments: Any) -> Any:
    """The answer of the subject's reader; only `EsrffsError` is raised."""
    subject.check()
    try:
        answer = getattr(_reader(subject), method)(*arguments)
    except EsrffsError:
        subject.check()  # a file caught in change is not damaged
        raise
    except MemoryError as error:
        raise TooLargeError("needs more memory than a reader may use") from error
    except (Exception, RecursionError) as error:
        subject.check()
        raise DamagedError(f"{type(error).__name__}: {error}") from error
    subject.check()
    return answer


def read_into(memory: str, subject: Subject, address: str, box: Box, nbytes: int) -> None:
    """Put the elements of this box into the shared memory at this path, exactly `nbytes`."""
    array: np.ndarray[Any, np.dtype[Any]] = call(subject, "read", address, box)
    if array.nbytes != nbytes:
        raise DamagedError(f"gave {array.nbytes} bytes instead of {nbytes}")
    descriptor = os.open(memory, os.O_RDWR)
    try:
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        written = 0
        while written < nbytes:
            written += os.pwrite(descriptor, view[written:], written)
    finally:
        os.close(descriptor)


def _reader(subject: Subject) -> Reader:
    reader = _readers.get(subject)
    if reader is None:
        # HDF5 shares what it knows of a file between handles of one inode: an older generation
        # must be closed before a newer one is opened.
        for old in [other for other in _readers if set(other.paths) & set(subject.paths)]:
            _readers.pop(old).close()
        while len(_readers) >= OPEN_READERS:
            _readers.popitem(last=False)[1].close()
        reader = _open(subject)
        _readers[subject] = reader
    _readers.move_to_end(subject)
    return reader


def _open(subject: Subject) -> Reader:
    if subject.series:
        return formats.open_series(subject.paths)
    return formats.open_reader(subject.format, subject.paths[0], subject.confine)
