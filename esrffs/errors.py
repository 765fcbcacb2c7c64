"""All errors that esrffs raises, and the errno that a program gets for each of them.

An error is raised where it is noticed.  Its text says what failed and for which object.
`fuse/filesystem` writes the text to the log and answers the request with its `errno`.
"""

import errno
import os
from collections.abc import Callable

OWN_MOUNT = "leads into a mount of esrffs, which esrffs never follows"


class EsrffsError(Exception):
    """An error with a text for the user and an errno for the program."""

    errno: int = errno.EIO

    def __reduce__(self) -> tuple[Callable[..., "EsrffsError"], tuple[object, ...]]:
        """Pickle all subclasses by their arguments: errors are sent from the worker processes."""
        return type(self), self.args


class DamagedError(EsrffsError):
    """The file, or this object in it, is damaged, cut short, or contradicts itself."""


class UnsupportedError(EsrffsError):
    """The object is not damaged, but cannot be read: its filter is not known, for example."""


class ReaderDiedError(EsrffsError):
    """The worker process ended while it was reading this file.

    `externally_killed`: by SIGKILL or SIGTERM, so that the file may not be the cause.
    `never_started`: the process could not be started, so that the file is not the cause.
    """

    externally_killed = False
    never_started = False


class ReaderTimeoutError(EsrffsError):
    """A worker process did not answer within `time_limit`, and was killed."""

    errno = errno.ETIMEDOUT


class UnavailableError(EsrffsError):
    """No worker became free in time, or the disk did not answer.  The file may be in order."""

    errno = errno.ETIMEDOUT


class NotFoundError(EsrffsError):
    """The object does not exist, or does not exist any more."""

    errno = errno.ENOENT


class AccessDeniedError(EsrffsError):
    """The object lies outside of what this mount may read."""

    errno = errno.EACCES


class LessReadableError(AccessDeniedError):
    """The object is in a file that fewer users may read than the file that refers to it."""


class OwnMountError(AccessDeniedError):
    """The path leads into a mount of esrffs.  Its daemon might wait for its own answer."""

    def __init__(self, path: str = "") -> None:
        told = f": {OWN_MOUNT}" if path and not path.endswith(OWN_MOUNT) else ""
        super().__init__(path + told or OWN_MOUNT)


class StaleError(EsrffsError):
    """The source file was rewritten after the object was opened."""

    errno = errno.ESTALE


class TooLargeError(EsrffsError):
    """The object is larger than a limit of this mount or of the operating system."""

    errno = errno.EFBIG


class MemoryLimitError(TooLargeError):
    """A worker process has too little memory for the object; it is not tried again in a worker."""


class LinkLoopError(EsrffsError):
    """Links form a circle, or there are too many of them."""

    errno = errno.ELOOP


class UsageError(EsrffsError):
    """The command line or an option is wrong."""

    errno = errno.EINVAL


class MountError(EsrffsError):
    """The mount point cannot be mounted or unmounted."""

    errno = errno.EBUSY


def at_path(path: str, error: OSError) -> EsrffsError:
    """The EsrffsError for an OSError at this path, which is relative to the source."""
    text = f"{path or '.'}: {error.strerror}"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFoundError(text)
    # openat2(2) fails with EXDEV where a path leads out of the source.
    if isinstance(error, PermissionError) or error.errno == errno.EXDEV:
        return AccessDeniedError(text)
    return _with_code(text, error)


def _with_code(text: str, error: OSError) -> EsrffsError:
    ours = EsrffsError(text)
    ours.errno = error.errno or ours.errno
    return ours


def unforeseen(error: BaseException) -> str:
    """A sentence for an exception of any other class.

    A lack of memory, processes or descriptors is named as such; the rest are internal errors.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case EOFError() | ConnectionError():
            return "it ended at once; memory or processes may be short (see `ulimit -a`)"
        case OSError(strerror=str(why)):
            name = error.filename
            named = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""
            return f"{named}{why}{_HINTS.get(error.errno or 0, '')}"
        case MemoryError() | ImportError():
            why = (str(error).strip().splitlines() or ["out of memory"])[-1]
            return f"not enough memory, or a damaged installation ({why}); see `ulimit -v`"
        case RuntimeError(args=[str(text), *_]) if "start new thread" in text:
            return "no thread can be started; see `ulimit -u`"
    return f"an internal error, {type(error).__name__} ({error}){_place(error)}; please report it"


_HINTS = {
    errno.EMFILE: " (see `ulimit -n`)",
    errno.EAGAIN: " (see `ulimit -u`)",
    errno.ENOMEM: " (see `ulimit -v`)",
}


def _place(error: BaseException) -> str:
    """The file and line where an exception was raised, as " in FILE:LINE"."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" in {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def no_answer(seconds: float, *, decoding: bool = False) -> str:
    """The text for a disk that did not answer, or for data that were not decoded, in time."""
    if decoding:
        return f"decoding took longer than {seconds:g} s (time_limit); the processors may be busy"
    return f"the disk or file server of the source gave no answer within {seconds:g} s (time_limit)"
