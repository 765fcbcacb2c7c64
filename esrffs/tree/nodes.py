"""What a path of the mount can be: directories, files, symlinks, and what each tells of itself.

Defines the protocols through which `fuse/filesystem` uses a node, and the status that a node gets
from its source file.  Does not: decide which nodes there are (`tree/folder`, `tree/group`) or what
bytes they have (`tree/files`).
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from esrffs.encoders import xattrs
from esrffs.errors import EsrffsError
from esrffs.model import Buffer, FileStatus
from esrffs.source.data_file import DataFile

Path = tuple[bytes, ...]  # names from the root of the mount


class Stat(NamedTuple):
    """Status of a node, in the words of stat(2): made for every entry of every listing."""

    mode: int
    size: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def file(cls, status: FileStatus, size: int) -> "Stat":
        """A file made of this source, with its permissions; nothing in it is a program.

        The bits to write stay, although nothing can be written here: copies inherit them, and
        whoever made a copy may want to change it.
        """
        return cls._of(status, stat.S_IFREG | status.st_mode & 0o666, size)

    @classmethod
    def read_only(cls, status: FileStatus) -> "Stat":
        """A file or folder that is shown as it is, but never setuid, setgid or sticky."""
        return cls._of(status, status.st_mode & ~0o7000, status.st_size)

    @classmethod
    def directory(cls, status: FileStatus) -> "Stat":
        """A directory made of this source: who may read the file may enter.

        The owner's bit to write stays, for what is copied out of it (`file`).
        """
        readable = status.st_mode & 0o444
        writable = status.st_mode & 0o200
        return cls._of(status, stat.S_IFDIR | readable | readable >> 2 | writable, 0)

    @classmethod
    def link(cls, status: FileStatus, target: bytes) -> "Stat":
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
        """Let go of what the handle holds."""


class Node(Protocol):
    """Something at a path of the mount.

    `key` tells it from everything else that is or was at this path: what a file holds never
    changes while its key stays.  A directory keeps its key whatever becomes of its source.
    """

    @property
    def path(self) -> Path: ...

    @property
    def key(self) -> bytes: ...

    async def stat(self) -> Stat: ...

    def error_text(self) -> str | None:
        """What went wrong with this object, for the user."""


class _HasXattrs(Protocol):
    async def xattrs(self) -> xattrs.Xattrs:
        """All but that of the error; reading them may take a while."""


class _HasListedXattrs(Protocol):
    async def listed_xattrs(self) -> xattrs.Xattrs:
        """Those that listxattr(2) names: listing all of them would open the data file."""


async def all_xattrs(node: Node, *, listed: bool = False) -> xattrs.Xattrs:
    """The extended attributes of any node, or those to be listed; that of its error first."""
    if listed and hasattr(node, "listed_xattrs"):
        told = await cast(_HasListedXattrs, node).listed_xattrs()
    else:
        told = await cast(_HasXattrs, node).xattrs() if hasattr(node, "xattrs") else {}
    return {**error_xattr(node), **told}  # what goes wrong while it is asked is in it


def error_xattr(node: Node) -> xattrs.Xattrs:
    text = node.error_text()
    if text is None:
        return {}
    return {xattrs.ERROR: xattrs.fit(text)}


class Directory(Node, Protocol):
    """A node that holds others; each of them is made anew for each asker."""

    async def children(self) -> Mapping[bytes, Node]: ...

    async def child(self, name: bytes) -> Node:
        """NotFoundError where there is none of that name."""


class File(Node, Protocol):
    async def open(self) -> FileHandle: ...


@dataclass(frozen=True, slots=True)
class Symlink:
    """`target` is relative, or leads to nothing of ours."""

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
    """Stands where an object is that cannot be shown; opening it says why by its errno."""

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
