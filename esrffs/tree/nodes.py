"""What a path of the mount can be: directories, files, symlinks, and what each tells of itself.

Defines the protocols through which `fuse/filesystem` uses a node, and the status that a node gets
from its source file.  Does not: decide which nodes there are (`tree/folder`, `tree/group`) or what
bytes they have (`tree/files`).
"""

import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast, runtime_checkable

from esrffs.encoders import xattrs
from esrffs.errors import EsrffsError
from esrffs.model import Buffer, FileStatus
from esrffs.source.data_file import DataFile

Path = tuple[bytes, ...]  # names from the root of the mount


class Stat(NamedTuple):
    """Status of a node, in the words of stat(2); sizes in bytes, times in ns since 1970."""

    mode: int
    size: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def file(cls, status: FileStatus, size: int) -> "Stat":
        """The status of a file of `size` bytes made from a data file: its permissions without x.

        Write permissions stay, although the mount is read-only: a copy inherits them, and its
        owner may want to change it.
        """
        return cls._of(status, stat.S_IFREG | status.st_mode & 0o666, size)

    @classmethod
    def read_only(cls, status: FileStatus) -> "Stat":
        """The status of a file or folder that is shown as it is, without setuid, setgid, sticky."""
        return cls._of(status, status.st_mode & ~0o7000, status.st_size)

    @classmethod
    def directory(cls, status: FileStatus) -> "Stat":
        """The status of a directory made from a data file.

        Users who may read the file may enter.  The owner's write permission stays, as in `file`.
        """
        readable = status.st_mode & 0o444
        writable = status.st_mode & 0o200
        return cls._of(status, stat.S_IFDIR | readable | readable >> 2 | writable, 0)

    @classmethod
    def link(cls, status: FileStatus, target: bytes) -> "Stat":
        """The status of a symlink with this text."""
        return cls._of(status, stat.S_IFLNK | 0o777, len(target))

    @classmethod
    def _of(cls, status: FileStatus, mode: int, size: int) -> "Stat":
        return cls(
            mode,
            size,
            status.st_uid,
            status.st_gid,
            status.st_atime_ns,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )


class FileHandle(Protocol):
    """An open file."""

    async def read(self, offset: int, count: int) -> Buffer:
        """Up to `count` bytes from `offset`; fewer only at the end of the file."""

    def close(self) -> None:
        """Close the files that the handle holds open."""


class Node(Protocol):
    """What is at a path of the mount: a file, directory or symlink.

    The bytes of a file never change while its `key` stays the same.  A directory keeps its key,
    whatever happens to its source.
    """

    @property
    def path(self) -> Path: ...

    @property
    def key(self) -> bytes: ...

    async def stat(self) -> Stat:
        """Its status; NotFoundError where the source is gone."""

    def error_text(self) -> str | None:
        """What went wrong with this object (`user.esrffs.error`); None if nothing did."""


class _HasXattrs(Protocol):
    async def xattrs(self) -> xattrs.Xattrs:
        """All extended attributes but `user.esrffs.error`; may open the data file."""


class _HasListedXattrs(Protocol):
    async def listed_xattrs(self) -> xattrs.Xattrs:
        """Those that listxattr(2) names; getxattr(2) may accept more.

        Listing all of them would open the data file.
        """


class _Diagnosed(Protocol):
    async def diagnose(self) -> None:
        """Look for what may be wrong and is not known yet: it is then told by `error_text`."""


async def diagnose(node: Node) -> None:
    """Let a node that can look for what is wrong with it; nothing where it cannot."""
    if hasattr(node, "diagnose"):
        with suppress(EsrffsError):  # a file that cannot be read tells so itself
            await cast(_Diagnosed, node).diagnose()


async def all_xattrs(node: Node, *, listed: bool = False) -> xattrs.Xattrs:
    """The extended attributes of a node, `user.esrffs.error` first; `listed`: those to be named."""
    if listed and hasattr(node, "listed_xattrs"):
        told = await cast(_HasListedXattrs, node).listed_xattrs()
    else:
        told = await cast(_HasXattrs, node).xattrs() if hasattr(node, "xattrs") else {}
    return {**error_xattr(node), **told}  # an error of this very call is included


def error_xattr(node: Node) -> xattrs.Xattrs:
    """The extended attribute `user.esrffs.error` of a node, if anything went wrong with it."""
    text = node.error_text()
    if text is None:
        return {}
    return {xattrs.ERROR: xattrs.fit(text)}


class Directory(Node, Protocol):
    """A node with children, which are made anew for each call."""

    async def check(self) -> None:
        """Looks now whether the directory is there, whatever was seen before; NotFoundError."""

    async def children(self) -> Mapping[bytes, Node]:
        """All nodes that a listing shows, by name."""

    async def child(self, name: bytes) -> Node:
        """The node of this name, listed or not (views); NotFoundError."""


Allow = Callable[[Stat], None]


@runtime_checkable
class HoldsViewsOfFiles(Protocol):
    """A directory in which views lie beside the directories of what they show."""

    async def child_if_allowed(self, name: bytes, allow: Allow) -> Node:
        """`child`; `allow` is called with the status of the directory of which `name` is a view.

        It is called before anything is read to make the view, and raises where that must not be.
        """


class File(Node, Protocol):
    """A node with bytes."""

    async def open(self) -> FileHandle:
        """A handle for the bytes as they are now; StaleError where `key` is out of date."""


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symlink; `target` is its text, relative unless it leads out of the mount."""

    path: Path
    status: FileStatus
    target: bytes

    @property
    def key(self) -> bytes:
        return b"->" + self.target

    async def stat(self) -> Stat:
        return Stat.link(self.status, self.target)

    def error_text(self) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """An object that cannot be read: it is listed, and opening it raises `error`."""

    path: Path
    source: DataFile
    error: EsrffsError

    @property
    def key(self) -> bytes:
        return self.source.version

    async def stat(self) -> Stat:
        return Stat.file(self.source.status, 0)

    async def open(self) -> FileHandle:
        raise self.error

    def error_text(self) -> str | None:
        return str(self.error)
