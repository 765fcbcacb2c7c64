"""Every failure that esrffs knows, each class with the errno that a program sees.

Decided here: which failure becomes which errno.  A failure is raised where it is noticed, with a
text that says what failed and on which object; one place (`fuse/filesystem`) writes it to the log,
and its `code` is the errno of the answer.
"""

import errno
import os
from collections.abc import Callable

OWN_MOUNT = "leads into a mount of esrffs, which esrffs never follows"


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


class ReaderDiedError(EsrffsError):
    """A reader process died while it read this file; `killed`: perhaps not by its fault.

    `never_started`: it did not even start, so that it was certainly not.
    """

    externally_killed = False
    never_started = False


class ReaderTimeoutError(EsrffsError):
    """A reader process did not answer in time."""

    code = errno.ETIMEDOUT


class UnavailableError(EsrffsError):
    """No reader became free in time, or the disk gave no answer; the file may well be sound."""

    code = errno.ETIMEDOUT


class NotFoundError(EsrffsError):
    """There is no such object (any more)."""

    code = errno.ENOENT


class AccessDeniedError(EsrffsError):
    """The object lies where this mount may not read."""

    code = errno.EACCES


class LessReadableError(AccessDeniedError):
    """The object lies in a file of the source that fewer may read than the one which names it."""


class OwnMountError(AccessDeniedError):
    """The path leads into a mount of esrffs; who looks there may have to answer himself."""

    def __init__(self, path: str = "") -> None:
        told = f": {OWN_MOUNT}" if path and not path.endswith(OWN_MOUNT) else ""
        super().__init__(path + told or OWN_MOUNT)


class StaleError(EsrffsError):
    """The source was rewritten since the object was opened."""

    code = errno.ESTALE


class TooLargeError(EsrffsError):
    """The object is larger than a limit of this mount or of the operating system."""

    code = errno.EFBIG


class MemoryLimitError(TooLargeError):
    """A worker process has not the memory for it: what needs as much again is not tried."""


class LinkLoopError(EsrffsError):
    """Links lead round in a circle."""

    code = errno.ELOOP


class UsageError(EsrffsError):
    """The command line or an option is wrong."""

    code = errno.EINVAL


class MountError(EsrffsError):
    """The mount point cannot be mounted or unmounted."""

    code = errno.EBUSY


def at_path(path: str, error: OSError) -> EsrffsError:
    """Ours, of what went wrong with this path of the source."""
    text = f"{path or '.'}: {error.strerror}"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFoundError(text)
    if (
        isinstance(error, PermissionError) or error.errno == errno.EXDEV
    ):  # what openat2 says of "out"
        return AccessDeniedError(text)
    return _with_code(text, error)


def _with_code(text: str, error: OSError) -> EsrffsError:
    ours = EsrffsError(text)
    ours.code = error.errno or ours.code
    return ours


def unforeseen(error: BaseException) -> str:
    """A sentence about what nobody has foreseen; lack of resources has its own words."""
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
    """Where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" in {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def no_answer(seconds: float, *, decoding: bool = False) -> str:
    """What is said of what did not come in time: from a disk, or from a thread that decodes."""
    if decoding:
        return f"decoding took longer than {seconds:g} s (time_limit); the processors may be busy"
    return f"the disk or file server of the source gave no answer within {seconds:g} s (time_limit)"
