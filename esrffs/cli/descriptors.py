"""The file descriptors with which the program is started, and output to them.

Descriptors 0, 1 and 2 are always open, and all others are closed.  If the output is full or nobody
reads it, there is at most one line about it, never a traceback.
"""

import contextlib
import os
import sys
from typing import TextIO

from esrffs.errors import EsrffsError


def fill() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed; otherwise other files would get
    them.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # for as long as we live
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def close_inherited() -> None:
    """Close all other descriptors: a lock or a pipe of the caller would last as long as the
    mount.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))


def say(text: str) -> None:
    """Print a text, with file names byte for byte; EsrffsError if it cannot be written."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        content = text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        content = text.encode(encoding, "backslashreplace")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        raise EsrffsError(f"cannot write to the standard output: {error.strerror}") from error


def warn(text: str) -> None:
    """Print one line to stderr.  Control characters are escaped: any user may choose names of
    mounts.
    """
    line = " ".join(text.splitlines())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    with contextlib.suppress(OSError, ValueError):
        print(f"esrffs: {shown}", file=sys.stderr, flush=True)


def settle() -> None:
    """Flush the output before the program ends; errors are ignored and do not change the exit
    status.
    """
    for stream in (sys.stdout, sys.stderr):
        _settle(stream)


def _settle(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
