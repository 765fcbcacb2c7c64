"""Every failure that esrffs knows, each class with the errno that a program sees.

Decided here: which failure becomes which errno.  A failure is raised where it is noticed, with a
text that says what failed and on which object; one place (`esrffs.operations`) turns it into an
errno and a log line.
"""

import errno
from collections.abc import Callable


class EsrffsError(Exception):
    """A failure with a text for the user and an errno (`code`) for the program."""

    code: int = errno.EIO

    def __reduce__(self) -> tuple[Callable[..., "EsrffsError"], tuple[object, ...]]:
        """Survive the pipe from a worker process whatever the class."""
        return type(self), self.args


class DamagedError(EsrffsError):
    """The file, or this object in it, cannot be read as what it claims to be."""


class UnsupportedError(EsrffsError):
    """The object is sound, but nothing here can read it (an unknown filter, say)."""


class WorkerError(EsrffsError):
    """A reader process died while it read this file; `killed`: perhaps not by its fault.

    `unborn`: it did not even start, so that it was certainly not.
    """

    killed = False
    unborn = False


class DeadlineError(EsrffsError):
    """A reader process did not answer in time."""

    code = errno.ETIMEDOUT


class BusyError(EsrffsError):
    """No reader became free in time, or the disk gave no answer; the file may well be sound."""

    code = errno.ETIMEDOUT


class MissingError(EsrffsError):
    """There is no such object (any more)."""

    code = errno.ENOENT


class ForbiddenError(EsrffsError):
    """The object lies where this mount may not read."""

    code = errno.EACCES


class StaleError(EsrffsError):
    """The source was rewritten since the object was opened."""

    code = errno.ESTALE


class TooLargeError(EsrffsError):
    """The object is larger than a limit of this mount or of the operating system."""

    code = errno.EFBIG


class LoopError(EsrffsError):
    """Links lead round in a circle."""

    code = errno.ELOOP


class UsageError(EsrffsError):
    """The command line or an option is wrong."""

    code = errno.EINVAL


class MountError(EsrffsError):
    """The mount point cannot be mounted or unmounted."""

    code = errno.EBUSY
