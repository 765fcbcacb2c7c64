"""The options of a mount, given as `--long-name` or as `-o name`: one table for both.

The table has the options with their defaults and units, and the options of mount(8) and libfuse
that are accepted without effect.  The parser, `--help`, the manual pages, the completions and
docs/options.md are all generated from the two tables in this module.
"""

import pwd
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from esrffs.encoders import view_names
from esrffs.errors import UsageError

# Options of mount(8), fstab(5) or libfuse that every esrffs mount fulfils, or that mean nothing for
# a read-only file system.  They are accepted, so that lines copied from elsewhere work.
_ACCEPTED = frozenset(
    """
    defaults auto noauto user nouser users owner group _netdev nofail ro rw exec suid nosuid
    dev nodev atime noatime relatime norelatime strictatime diratime nodiratime lazytime nolazytime
    sync async dirsync mand nomand iversion noiversion silent loud nonempty
    fsname subtype blkdev big_writes auto_unmount kernel_cache auto_cache noauto_cache
    noforget remember intr intr_signal hard_remove use_ino readdir_ino splice_read splice_write
    splice_move
    """.split()
)
_ACCEPTED_PREFIXES = ("x-", "X-", "comment=", "helper=", "uhelper=", "user=")


def _number(low: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = float(text)
        if not low <= value < float("inf"):
            raise ValueError
        return value

    return convert


def _count(low: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        value = int(text)
        if value < low:
            raise ValueError
        return value

    return convert


def _mask(text: str) -> int:
    value = int(text, 8)
    if not 0 <= value <= 0o777:
        raise ValueError
    return value


def _user(text: str) -> int:
    """A uid, given as a number or as the name of a user."""
    return _count(0)(text) if text.isdecimal() else _looked_up(lambda: pwd.getpwnam(text).pw_uid)


def _group(text: str) -> int:
    import grp  # imported here because only this option needs it

    return _count(0)(text) if text.isdecimal() else _looked_up(lambda: grp.getgrnam(text).gr_gid)


def _looked_up(look_up: Callable[[], int]) -> int:
    try:
        return look_up()
    except KeyError as error:
        raise ValueError from error


def _one_of(*words: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return convert


def _views(text: str) -> str:
    names = text.split(":")
    if text != "none" and not set(names) <= set(view_names.FORMATS):
        raise ValueError
    return text


def _option(
    default: object, help_: str, kind: str = "", convert: Callable[[str], object] | None = None
) -> Any:
    """A field of `MountOptions`.

    `kind` is the name of the value in `--help`; an option without a kind is a switch.
    """
    return field(default=default, metadata={"help": help_, "kind": kind, "convert": convert})


@dataclass(frozen=True, slots=True)
class Switch:
    """An argument of the command line that is not an option of the mount."""

    letter: str  # "" if there is only the long name
    name: str
    help: str
    value: str = ""


SWITCHES = (
    Switch("u", "unmount", "unmount each MOUNTPOINT, be its daemon dead or alive"),
    Switch("", "force", "with -u: cut the connection to a daemon that does not answer, and end it"),
    Switch("", "status", "print as JSON what each MOUNTPOINT tells of itself"),
    Switch("f", "foreground", "stay in the foreground, the log on the terminal; Ctrl-C unmounts"),
    Switch("d", "debug", "log more; implies -f"),
    Switch("o", "", "mount options, joined by commas", "OPT[,OPT…]"),
    Switch("V", "version", "print versions and exit"),
    Switch("h", "help", "print this help and exit"),
)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """All options of a mount."""

    allow_other: bool = _option(False, "let every user enter, as the files' owners and modes allow")
    allow_root: bool = _option(False, "let root enter too")
    default_permissions: bool = _option(
        False, "let the kernel check owners and modes (always so with allow_other, allow_root)"
    )
    noexec: bool = _option(False, "let no program in the mount be run")
    uid: int | None = _option(None, "show this user as the owner of everything", "USER", _user)
    gid: int | None = _option(None, "show this group as that of everything", "GROUP", _group)
    umask: int | None = _option(
        None, "show modes as rwxrwxrwx and rw-rw-rw- less these octal bits", "MASK", _mask
    )
    fmask: int | None = _option(None, "the same, of files alone", "MASK", _mask)
    dmask: int | None = _option(None, "the same, of directories alone", "MASK", _mask)
    cache_size: int = _option(512, "memory for what was decoded", "MIB", _count(1))
    workers: int = _option(2, "reader processes", "N", _count(1))
    time_limit: float = _option(
        30.0, "longest that a reader, a disk or a file server may take", "SECONDS", _number(0.1)
    )
    memory_limit: int = _option(512, "memory of a reader process", "MIB", _count(64))
    chunk_limit: int = _option(
        256, "largest chunk of a dataset, stored or decoded, that is read", "MIB", _count(1)
    )
    json_limit: int = _option(64, "largest JSON file that is made", "MIB", _count(1))
    children_limit: int = _option(
        1_000_000, "most entries that a directory may have", "N", _count(1)
    )
    views: str = _option(
        "txt",
        "views that directories list, joined by colons: "
        + " ".join(view_names.FORMATS)
        + "; or none (all are found by name)",
        "NAMES",
        _views,
    )
    view_limit: int = _option(
        64, "largest text of a view, or image of a .png, that is made", "MIB", _count(1)
    )
    parallel: int = _option(
        32,
        "most calls that wait for a file server at the same time, for one request",
        "N",
        _count(1),
    )
    index: str = _option(
        "cache",
        "where to keep what was learnt of a file server, for the next mount: cache (your folder for"
        " caches) or none",
        "WHERE",
        _one_of("cache", "none"),
    )
    open_files: int = _option(
        0,
        "most files that the daemon, or a reader, has open; 0: what the system allows",
        "N",
        _count(0),
    )
    entry_timeout: float = _option(1.0, "how long names are believed", "SECONDS", _number(0))
    attr_timeout: float = _option(
        1.0, "how long sizes and times are believed", "SECONDS", _number(0)
    )
    negative_timeout: float = _option(
        0.0, "how long the absence of a name is believed", "SECONDS", _number(0)
    )
    max_read: int = _option(
        0, "largest request of the kernel; 0: its own choice", "BYTES", _count(0)
    )
    read_ahead: int = _option(
        1024, "how far the kernel reads ahead (only root can change it)", "KIB", _count(0)
    )
    flat: str = _option(
        "linear",
        "how to go from one flat to the next: linear, nearest or first",
        "WAY",
        _one_of("linear", "nearest", "first"),
    )
    nan: float | None = _option(
        None, "number in the place of pixels of corrected/ that are not finite", "NUMBER", float
    )
    dark: str | None = _option(
        None, "none: corrected/ without a dark where none is found", "WHAT", _one_of("none")
    )
    norm: str | None = _option(
        None, "current: normalise corrected/ by the machine current", "BY", _one_of("current")
    )
    log_file: str | None = _option(None, "where to write the log", "FILE", str)

    @property
    def shared(self) -> bool:
        """Whether users other than the one who mounts may enter the mount."""
        return self.allow_other or self.allow_root


def apply_option_strings(options: MountOptions, texts: Iterable[str]) -> MountOptions:
    """These options, changed by the strings of `-o`; UsageError for an unknown option or a wrong
    value.
    """
    changes: dict[str, object] = {}
    table = {entry.name: entry.metadata for entry in fields(MountOptions)}
    for item in (item for text in texts for item in split_option_string(text)):
        name, equals, value = item.partition("=")
        if name in table:
            changes[name] = _value(name, table[name], value if equals else None)
        elif name not in _ACCEPTED and not item.startswith(_ACCEPTED_PREFIXES):
            raise UsageError(f"unknown option {item!r}: `esrffs --help` lists what there is")
    current = {entry.name: getattr(options, entry.name) for entry in fields(MountOptions)}
    return MountOptions(**{**current, **changes})


def _value(name: str, entry: Any, text: str | None) -> object:
    convert = entry["convert"]
    if convert is None:
        if text is not None:
            raise UsageError(f"option {name} takes no value")
        return True
    if not text:
        raise UsageError(f"option {name} needs a value: {name}={entry['kind']}")
    try:
        return convert(text)
    except ValueError:
        raise UsageError(f"option {name}={text}: not a valid value for {entry['kind']}") from None


def split_option_string(text: str) -> list[str]:
    r"""The items of an option string; a comma in a value is written `\,`."""
    items, current = [], ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            current += next(characters, "\\")
        elif character == ",":
            items.append(current)
            current = ""
        else:
            current += character
    items.append(current)
    return [item for item in items if item]
