"""What the daemon and its worker processes send each other."""

import os
from dataclasses import dataclass

from esrffs import model
from esrffs.errors import EsrffsError, NotFoundError, StaleError
from esrffs.model import Generation


@dataclass(frozen=True, slots=True)
class ReaderSpec:
    """What a reader is opened on: one file, or the files of a series, in one generation each."""

    paths: tuple[str, ...]
    generations: tuple[Generation, ...]
    format: model.Format
    series: bool
    boundary: str | None

    def check(self) -> None:
        """StaleError unless every file is what it was when this was made."""
        for path, generation in zip(self.paths, self.generations, strict=True):
            try:
                now = Generation.of(os.stat(path))
            except OSError as error:
                raise NotFoundError(f"cannot be opened: {error.strerror}") from error
            if now != generation:
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
