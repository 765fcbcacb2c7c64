"""The records that the daemon and the workers send to each other."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from esrffs import model
from esrffs.errors import EsrffsError, NotFoundError, StaleError
from esrffs.formats.side_by_side import side_by_side
from esrffs.model import Generation


@dataclass(frozen=True, slots=True)
class ReaderSpec:
    """Which reader a call is for: one file, or the files of a series, each in one generation.

    `boundary`: the folder that links must not leave; None: links may lead anywhere.
    """

    paths: tuple[str, ...]
    generations: tuple[Generation, ...]
    format: model.Format
    series: bool
    boundary: str | None

    def check(self, numbers: Iterable[int] | None = None) -> None:
        """Raise StaleError if a file is not in its generation any more, NotFoundError if it is
        gone.

        `numbers`: of a series, only the files with these numbers are checked.
        """
        wanted = range(len(self.paths)) if numbers is None else sorted(numbers)
        side_by_side(self._check_one, wanted)

    def _check_one(self, number: int) -> None:
        try:
            now = Generation.of(os.stat(self.paths[number]))
        except OSError as error:
            raise NotFoundError(f"cannot be opened: {error.strerror}") from error
        if now != self.generations[number]:
            raise StaleError("changed while it was read")


@dataclass(frozen=True, slots=True)
class SharedBuffer:
    """Shared memory of a worker with the answer of a call, valid until its next call.

    A worker cannot open files of the daemon, so the daemon opens the memory of the worker.  If
    there are `errors`, the values are followed by one byte for each of the `elements`: 0, or the
    number of its error counted from 1.
    """

    pid: int
    descriptor: int
    inode: int
    worker_should_retire: bool
    errors: tuple[EsrffsError, ...] = ()
    elements: int = 0

    def open(self) -> int:
        """A descriptor of the memory; OSError if the worker is gone or has got its next call."""
        descriptor = os.open(f"/proc/{self.pid}/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(descriptor).st_ino != self.inode:
            os.close(descriptor)
            raise FileNotFoundError("the answer of a reader process was not fetched in time")
        return descriptor
