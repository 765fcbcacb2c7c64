"""The commands `esrffs` and `mount.esrffs`: arguments, output, exit status.

Only this module reads argv.  Large modules are imported only when something is mounted, so that
other calls are fast.
"""

import argparse
import contextlib
import ctypes
import glob
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import NoReturn

from esrffs.cli import descriptors
from esrffs.cli.options import SWITCHES, MountOptions, apply_option_strings
from esrffs.errors import EsrffsError, MountError, UsageError, unforeseen

DESCRIPTION = """\
Show a folder of Spec, EDF (and other image) and HDF5 files as a read-only filesystem in which
every data file is a directory of .npy arrays and JSON attributes.  Without a MOUNTPOINT the
directory SOURCE.mnt is made, and removed again at unmount.
"""

EXAMPLES = (
    ("esrffs /data/visitor/ma1234 ~/mnt", "mount"),
    ("ls ~/mnt/scan0001.h5/1.1", "look"),
    ("esrffs --status ~/mnt", "how it goes"),
    ("esrffs -u ~/mnt", "unmount"),
)

FORMS = (
    "SOURCE [MOUNTPOINT] [options]",
    "-u MOUNTPOINT…",
    "--status MOUNTPOINT…",
)

_SETTING_UP = 20.0  # seconds that a mount takes at most beside what waits for disks, and …
_STARTS = 2  # … what may wait
_INTERRUPTED = 130  # as shells have it
_MOUNT_FAILED = 32  # mount(8) passes on what its helper returns: these are its own codes


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; `{self.prog} --help` lists what there is")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `esrffs`.  Exit status 0: success, 1: failed, 2: wrong arguments."""
    return _status(lambda: _run(_parser().parse_intermixed_args(arguments)), failed=1, usage=2)


def mount_helper(arguments: Sequence[str] | None = None) -> int:
    """The command `mount.esrffs`, called by mount(8).  0: success, 1: wrong arguments, 32: not
    mounted.
    """
    return _status(lambda: _run_mount_helper(arguments), failed=_MOUNT_FAILED, usage=1)


def _status(run: Callable[[], None], *, failed: int, usage: int) -> int:
    """The exit status of a function; an error is printed as one line."""
    descriptors.fill()
    try:
        run()
        status = 0
    except EsrffsError as error:
        descriptors.warn(str(error))
        status = usage if isinstance(error, UsageError) else failed
    except KeyboardInterrupt:
        descriptors.warn("interrupted")
        status = _INTERRUPTED
    except Exception as error:
        descriptors.warn(unforeseen(error))
        status = failed
    descriptors.settle()
    return status


def _parser() -> argparse.ArgumentParser:
    examples = "\n".join(f"  {command:<36} {what}" for command, what in EXAMPLES)
    parser = _Parser(
        "esrffs",
        usage="\n       ".join(f"esrffs {form}" for form in FORMS),
        description=DESCRIPTION,
        epilog=f"each mount option can also be given as -o name or -o name=value\n\n{examples}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    for switch in SWITCHES:
        names = [f"-{switch.letter}"] * bool(switch.letter) + [f"--{switch.name}"] * bool(
            switch.name
        )
        if switch.value:
            parser.add_argument(
                *names, action="append", default=[], metavar=switch.value, help=switch.help
            )
        else:
            parser.add_argument(*names, action="store_true", help=switch.help)
    table = parser.add_argument_group("mount options")
    for entry in fields(MountOptions):
        name = "--" + entry.name.replace("_", "-")
        text = entry.metadata["help"] + default_text(entry.default)
        if entry.metadata["kind"]:
            table.add_argument(name, dest=entry.name, metavar=entry.metadata["kind"], help=text)
        else:
            table.add_argument(name, dest=entry.name, action="store_true", help=text)
    return parser


def default_text(default: object) -> str:
    return "" if default is None or default is False else f" (default: {default})"


def _run(given: argparse.Namespace) -> None:
    if given.help:
        descriptors.say(_parser().format_help().rstrip("\n"))
    elif given.version:
        descriptors.say(_versions())
    elif given.unmount:
        from esrffs.cli.mountpoint import absolute
        from esrffs.cli.unmounting import unmount

        _each(given.paths, "-u", lambda path: unmount(absolute(path), force=given.force))
    elif given.force:
        raise UsageError("--force belongs to -u: `esrffs -u --force MOUNTPOINT`")
    elif given.status:
        from esrffs.cli.mountpoint import absolute
        from esrffs.cli.unmounting import status

        _each(given.paths, "--status", lambda path: descriptors.say(status(absolute(path))))
    else:
        _mount(given.paths, _options(given), foreground=given.foreground, debug=given.debug)


def _options(given: argparse.Namespace) -> MountOptions:
    options = apply_option_strings(MountOptions(), given.o)
    texts = []
    for entry in fields(MountOptions):
        value = getattr(given, entry.name)
        if value is True:
            texts.append(entry.name)
        elif value not in (None, False):
            escaped = value.replace("\\", "\\\\").replace(",", "\\,")
            texts.append(f"{entry.name}={escaped}")
    return apply_option_strings(options, texts)


def _each(mountpoints: Sequence[str], switch: str, do: Callable[[str], None]) -> None:
    """Call the function for each mount point, even if it fails for some.

    The errors are printed, but the last one is raised.
    """
    if not mountpoints:
        raise UsageError(f"{switch} needs a mount point: `esrffs {switch} MOUNTPOINT`")
    failures: list[EsrffsError] = []
    for mountpoint in mountpoints:
        try:
            do(mountpoint)
        except EsrffsError as error:
            failures.append(error)
    for failure in failures[:-1]:
        descriptors.warn(str(failure))
    if failures:
        raise failures[-1]


def _run_mount_helper(arguments: Sequence[str] | None) -> None:
    parser = _Parser("mount.esrffs", allow_abbrev=False)
    parser.add_argument("paths", nargs="*", metavar="SOURCE MOUNTPOINT")
    parser.add_argument("-o", action="append", default=[], metavar="OPT[,OPT…]")
    parser.add_argument("-f", action="store_true", help="only say whether the call is right")
    for letter in "nsvwr":
        parser.add_argument(f"-{letter}", action="store_true", help="taken without effect")
    for letter in "tN":
        parser.add_argument(f"-{letter}", help="taken without effect")
    given = parser.parse_intermixed_args(arguments)
    if len(given.paths) != 2:
        raise UsageError("needs a SOURCE and a MOUNTPOINT: `mount -t esrffs SOURCE MOUNTPOINT`")
    options = apply_option_strings(MountOptions(), given.o)
    if not given.f:
        _mount(given.paths, options, foreground=False, debug=False)


def _mount(paths: Sequence[str], options: MountOptions, *, foreground: bool, debug: bool) -> None:
    if not 1 <= len(paths) <= 2:
        raise UsageError("needs a SOURCE and perhaps a MOUNTPOINT; `esrffs --help` tells more")
    if not all(paths):
        raise UsageError("a path is empty: is a variable of your shell not set?")
    descriptors.close_inherited()
    from esrffs.cli import log_setup
    from esrffs.cli.deadline import OverdueError, within
    from esrffs.cli.mountpoint import absolute, prepared, removed_after

    named = paths[1] if len(paths) == 2 else None
    prepare = partial(prepared, paths[0], named, shared=options.shared)
    try:
        source, mountpoint, made = within(options.time_limit + _SETTING_UP, prepare)
    except OverdueError:
        where = " or ".join(paths)
        raise MountError(f"{where}: the disk or file server gave no answer") from None
    foreground = foreground or debug

    def serve(ready: Callable[[], None]) -> None:
        with removed_after(mountpoint) if made else contextlib.nullcontext():
            daemon.run(source, mountpoint, options, ready)

    with removed_after(mountpoint, failure=True) if made else contextlib.nullcontext():
        log_file = absolute(options.log_file) if options.log_file else None
        log_setup.configure(log_file, debug=debug, background=not foreground)
    from esrffs.cli import background, daemon

    if foreground:
        os.chdir("/")  # the working directory may be in the source, and would keep it busy
        serve(lambda: None)
    else:
        background.run_in_background(
            serve, mountpoint, _STARTS * (options.time_limit + _SETTING_UP)
        )
        _print_mountpoint(mountpoint, chosen=named is None)


def _print_mountpoint(mountpoint: str, *, chosen: bool) -> None:
    """Print the mount point: a hint in a terminal, or the path alone for a program that did not
    choose it.
    """
    if sys.stderr.isatty():
        from shlex import quote

        with contextlib.suppress(OSError):
            text = f"mounted on {mountpoint}; `esrffs -u {quote(mountpoint)}` unmounts"
            print(text, file=sys.stderr, flush=True)
    if chosen and not sys.stdout.isatty():
        with contextlib.suppress(EsrffsError):  # it is mounted even if this cannot be printed
            descriptors.say(mountpoint)


def _versions() -> str:
    from importlib import metadata

    lines = [f"esrffs {metadata.version('esrffs')}"]
    lines += [f"{name} {metadata.version(name)}" for name in ("pyfuse3", "h5py", "silx", "fabio")]
    lines.insert(3, f"HDF5 {_hdf5_version()}")
    return "\n".join(lines)


def _hdf5_version() -> str:
    """The version of libhdf5, asked of the library in the wheel of h5py.

    h5py, whose import takes long, is imported only if its wheel has no library.
    """
    from importlib.util import find_spec

    spec = find_spec("h5py")
    folder = os.path.dirname(spec.origin or "") if spec else ""
    for library in glob.glob(os.path.join(f"{folder}.libs", "libhdf5-*.so*")):
        numbers = [ctypes.c_uint() for _ in range(3)]
        ctypes.CDLL(library).H5get_libversion(*map(ctypes.byref, numbers))
        return ".".join(str(number.value) for number in numbers)
    import h5py

    return str(h5py.version.hdf5_version)
