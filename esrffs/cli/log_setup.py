"""Set up the log of a mount.

It goes to the file of `--log-file`, else in the foreground to the terminal or the journal, else to
syslog.  SIGUSR1 switches debug messages on and off.
"""

import logging
import os
import signal
import stat
from types import FrameType

from esrffs.errors import UsageError
from esrffs.linux import path_walk

log = logging.getLogger("esrffs")

_SYSLOG = "/dev/log"


class _OneLineFormatter(logging.Formatter):
    """Writes each record as one line; newlines in file names are escaped, so that no line can be
    forged.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(c if c.isprintable() or c == " " else ascii(c)[1:-1] for c in text)


class _JournalFormatter(_OneLineFormatter):
    """Puts the priority before each line, see sd-daemon(3); the journal adds the time itself."""

    _PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for least, number in self._PRIORITIES if record.levelno >= least)
        return f"<{priority}>{super().format(record)}"


def configure(file: str | None, *, debug: bool, background: bool) -> None:
    """Set up the log; UsageError if it cannot be written.  To be called in the main thread."""
    handler = _to_file(file, background) if file else _to_syslog() if background else _to_stderr()
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.raiseExceptions = False  # no tracebacks for a full disk or a closed stderr
    signal.signal(signal.SIGUSR1, _toggle)


def _to_file(file: str, background: bool) -> logging.Handler:
    try:
        if stat.S_ISFIFO(path_walk.status(file).st_mode):
            raise UsageError(f"log_file={file}: is a pipe, which may wait for ever; choose a file")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"log_file={file}: {error.strerror}; choose another file") from error
    try:
        handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise UsageError(f"log_file={file}: {why}; choose a file that you may write") from error
    if background and not _lasts(file):  # for example /dev/stdout
        raise UsageError(f"log_file={file}: is a pipe, which may wait for ever; choose a file")
    handler.setFormatter(_OneLineFormatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _lasts(file: str) -> bool:
    """Whether the file can still be written when the caller has ended, and nobody waits for its
    end.
    """
    mode = os.stat(file).st_mode
    return stat.S_ISREG(mode) or stat.S_ISCHR(mode)


def _to_syslog() -> logging.Handler:
    if not os.path.exists(_SYSLOG):
        return logging.NullHandler()
    from logging.handlers import SysLogHandler  # imported here because it imports sockets

    handler = SysLogHandler(_SYSLOG)
    handler.setFormatter(_OneLineFormatter("esrffs[%(process)d]: %(levelname)s %(message)s"))
    return handler


def _to_stderr() -> logging.Handler:
    handler = logging.StreamHandler()
    kind = _JournalFormatter if _is_journal() else _OneLineFormatter
    handler.setFormatter(kind("%(levelname)s: %(message)s"))
    return handler


def _is_journal() -> bool:
    """Whether stderr is connected to the journal (JOURNAL_STREAM, see systemd.exec(5))."""
    status = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _toggle(number: int, frame: FrameType | None) -> None:
    del number, frame
    debugging = log.level == logging.DEBUG
    log.setLevel(logging.INFO if debugging else logging.DEBUG)
    log.info("SIGUSR1: debugging is %s", "off" if debugging else "on")
