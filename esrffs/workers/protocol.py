"""What the daemon and its worker processes send each other."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from esrffs import model
from esrffs.errors import EsrffsError, NotFoundError, StaleError
from esrffs.formats.side_by_side import side_by_side
from esrffs.model import Generation


@dataclass(frozen=True, slots=True)
class ReaderSpec:
    """What a reader is opened on: one file, or the files of a series, in one generation each."""

    paths: tuple[str, ...]
    generations: tuple[Generation, ...]
    format: model.Format
    series: bool
    boundary: str | None

    def check(self, numbers: Iterable[int] | None = None) -> None:
        """StaleError unless every file is what it was when this was made; NotFoundError.

        `numbers`: of a series only these files.
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
    """Shared memory of a worker: it holds an answer until the worker is asked the next thing.

    A worker may open nothing of the daemon's, so that the daemon has to open what is the worker's.
    With `errors`, a byte for each of the `elements` follows the values: which error it has.
    """

    pid: int
    descriptor: int
    inode: int
    worker_should_retire: bool
    errors: tuple[EsrffsError, ...] = ()
    elements: int = 0

    def open(self) -> int:
        """A descriptor of it; OSError where the worker is gone, or was asked something else."""
        descriptor = os.open(f"/proc/{self.pid}/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(descriptor).st_ino != self.inode:
            os.close(descriptor)
            raise FileNotFoundError("the answer of a reader process was not fetched in time")
        return descriptor
