"""The command line: arguments, log, mount and unmount.

Decided here: what `esrffs` accepts, what it prints, and its exit status.  The only place that
reads argv.  Nothing heavy is imported before it is known that something will be mounted.
"""

import argparse
import logging
import logging.handlers
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import metadata

from esrffs.errors import EsrffsError, UsageError
from esrffs.options import Options, with_options

log = logging.getLogger("esrffs")

_DESCRIPTION = """\
Show a folder of Spec, EDF (and other image) and HDF5 files as a read-only filesystem in which
every data file is a directory of .npy arrays and JSON attributes.
"""

_EPILOG = """\
each option can also be given as -o name or -o name=value, several joined by commas

examples:
  esrffs /data/visitor/ma1234 ~/mnt    mount
  ls ~/mnt/scan0001.h5/1.1             look
  esrffs -u ~/mnt                      unmount
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0: done, 1: failed, 2: called wrongly."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        if given.version:
            print(_versions())
        elif given.unmount:
            _unmount(given.paths)
        else:
            _mount(given)
    except UsageError as error:
        parser.exit(2, f"esrffs: {error}\n")
    except EsrffsError as error:
        print(f"esrffs: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "esrffs",
        usage="esrffs SOURCE MOUNTPOINT [options]\n       esrffs -u MOUNTPOINT…",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("-u", "--unmount", action="store_true", help="unmount")
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground")
    parser.add_argument("-d", "--debug", action="store_true", help="log more; implies -f")
    parser.add_argument(
        "-o", action="append", default=[], metavar="OPT[,OPT…]", help="mount options"
    )
    parser.add_argument("-V", "--version", action="store_true", help="print versions and exit")
    table = parser.add_argument_group("mount options")
    for entry in fields(Options):
        name = "--" + entry.name.replace("_", "-")
        default = (
            ""
            if entry.default is None or entry.default is False
            else f" (default: {entry.default})"
        )
        text = entry.metadata["help"] + default
        if entry.metadata["kind"]:
            table.add_argument(name, dest=entry.name, metavar=entry.metadata["kind"], help=text)
        else:
            table.add_argument(name, dest=entry.name, action="store_true", help=text)
    return parser


def _options(given: argparse.Namespace) -> Options:
    options = with_options(Options(), given.o)
    texts = []
    for entry in fields(Options):
        value = getattr(given, entry.name)
        if value:
            escaped = str(value).replace("\\", "\\\\").replace(",", "\\,")
            texts.append(entry.name if value is True else f"{entry.name}={escaped}")
    return with_options(options, texts)


def _unmount(mountpoints: Sequence[str]) -> None:
    from esrffs.mounting import unmount

    if not mountpoints:
        raise UsageError("-u needs a mount point")
    failures: list[EsrffsError] = []
    for mountpoint in mountpoints:
        try:
            unmount(mountpoint)
        except EsrffsError as error:
            failures.append(error)
    for failure in failures[:-1]:
        print(f"esrffs: {failure}", file=sys.stderr)
    if failures:
        raise failures[-1]


def _mount(given: argparse.Namespace) -> None:
    if len(given.paths) != 2:
        raise UsageError("needs a SOURCE and a MOUNTPOINT; `esrffs --help` tells more")
    options = _options(given)
    source, mountpoint = (os.path.realpath(path) for path in given.paths)
    if not os.path.exists(source):
        raise UsageError(f"{given.paths[0]}: there is no such file or folder")
    from esrffs import daemon, mounting

    mounting.check(mountpoint, shared=options.shared)
    log_file = os.path.abspath(options.log_file) if options.log_file else None
    if given.foreground or given.debug:
        _log(log_file, debug=given.debug, background=False)
        daemon.run(source, mountpoint, options, lambda: None)
        return
    _log(log_file, debug=False, background=True)
    daemon.in_background(lambda ready: daemon.run(source, mountpoint, options, ready), mountpoint)


class _OneLine(logging.Formatter):
    """A record is one line, whatever is in the names of files: a log cannot be forged by them."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(c if c.isprintable() or c == " " else ascii(c)[1:-1] for c in text)


def _log(file: str | None, *, debug: bool, background: bool) -> None:
    handler: logging.Handler
    line = "%(levelname)s: %(message)s"
    if file:
        try:
            handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UsageError(f"log_file={file}: {error.strerror}") from error
        line = "%(asctime)s %(levelname)s %(message)s"
    elif background and os.path.exists("/dev/log"):
        handler = logging.handlers.SysLogHandler("/dev/log")
        line = f"esrffs[{os.getpid()}]: %(levelname)s %(message)s"
    elif background:
        handler = logging.NullHandler()
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(line))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug else logging.INFO)


def _versions() -> str:
    lines = [f"esrffs {metadata.version('esrffs')}"]
    lines += [f"{name} {metadata.version(name)}" for name in ("pyfuse3", "h5py", "silx", "fabio")]
    lines.insert(3, f"HDF5 {_hdf5_version()}")
    return "\n".join(lines)


def _hdf5_version() -> str:
    """As h5py's own library says; h5py is not imported for it unless there is no other way."""
    import h5py

    return str(h5py.version.hdf5_version)
