"""The requests of a FUSE kernel driver, answered from the nodes of `tree/`.

Takes inode numbers, names and handles; returns `Attributes`, bytes and handles.  Every failure
leaves as an `EsrffsError` whose `errno` is that of the answer, after it was written to the
error log.  Does not: know a library that speaks to /dev/fuse.  `fuse/pyfuse3_adapter` does.
"""

import contextlib
import errno
import functools
import itertools
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

from esrffs.encoders import xattrs
from esrffs.encoders.file_names import NAME_MAX
from esrffs.errors import EsrffsError, NotFoundError, unforeseen
from esrffs.fuse.attributes import AttributeOptions, Attributes
from esrffs.fuse.error_log import ErrorLog
from esrffs.fuse.inodes import ROOT, InodeTable
from esrffs.fuse.open_directories import OpenDirectories, OpenDirectory
from esrffs.model import Buffer
from esrffs.tree.nodes import (
    Directory,
    File,
    FileHandle,
    HoldsViewsOfFiles,
    Node,
    Path,
    Stat,
    Symlink,
    all_xattrs,
    diagnose,
)

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CREAT
_DOTS = 2  # entries: "." and ".." come before the children


class RequestError(EsrffsError):
    """A request that has no other answer than this errno; no file is to blame."""

    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code))
        self.errno = code


@dataclass(frozen=True, slots=True)
class Caller:
    """The process that asks.  `groups` looks up its supplementary groups; OSError if it ended."""

    uid: int
    gid: int
    groups: Callable[[], Collection[int]]


class OpenedFile(NamedTuple):
    """`uncached`: the kernel must not keep what is read, and must ask for each read."""

    handle: int
    uncached: bool


NOBODY = (1 << 32) - 2  # a uid that no file has: what it may read, everybody may

AddEntry = Callable[[bytes, Attributes, int], bool]
"""Puts a name into the answer to `readdir`, with the position of the next one; False if full."""


def may_read(options: AttributeOptions, status: Stat, caller: Caller) -> bool:
    """Whether this process may read a node of this status, by its user and groups."""
    groups = {caller.gid}
    with contextlib.suppress(OSError):  # the process has ended, or is in another container
        groups |= set(caller.groups())
    return options.may_read(status, caller.uid, groups)


class ViewGuard:
    """Keeps what is in a data file from a caller who may not read it: a view's size tells of it.

    `is_private`: the view that was looked up is of what not everybody may read.
    """

    def __init__(self, options: AttributeOptions, caller: Caller | None) -> None:
        self._options = options
        self._caller = caller
        self.is_private = False

    def check(self, source: Stat) -> None:
        """EACCES unless the caller may read what has this status, as root and our own user may."""
        caller = self._caller
        privileged = caller is None or caller.uid in (0, os.getuid())
        if not privileged and caller is not None and not may_read(self._options, source, caller):
            raise RequestError(errno.EACCES)
        self.is_private = not self._options.may_read(source, NOBODY, ())


class _InodeKey(NamedTuple):
    """What an inode number depends on."""

    path: Path
    key: bytes


def answer_errors(
    request: Callable[Concatenate["Filesystem", P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Filesystem", P], Coroutine[Any, Any, T]]:
    """Record what goes wrong, and raise it as an EsrffsError whatever it was.

    Any other exception would end the loop that serves the mount.
    """

    @functools.wraps(request)
    async def answer(self: "Filesystem", *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await request(self, *args, **kwargs)
        except RequestError:
            raise
        except EsrffsError as error:
            self.error_log.record(error.errno, str(error))
            raise
        except OSError as error:
            code = error.errno or errno.EIO
            self.error_log.record(code, str(error))
            raise _with_code(str(error), code) from error
        except Exception as error:
            log.debug("%s", request.__name__, exc_info=True)
            text = unforeseen(error)
            self.error_log.note(self._node_of(request.__name__, args), request.__name__, text)
            raise _with_code(text, errno.EIO) from error

    return cast(Callable[Concatenate["Filesystem", P], Coroutine[Any, Any, T]], answer)


def _with_code(text: str, code: int) -> EsrffsError:
    error = EsrffsError(text)
    error.errno = code
    return error


class Filesystem:
    """The mounted filesystem.

    `statvfs` gives the figures of the source's file system, `status` what the extended attribute
    `user.esrffs.status` of the root tells.
    """

    def __init__(
        self,
        root: Node,
        options: AttributeOptions,
        statvfs: Callable[[], Awaitable[os.statvfs_result]],
        status: Callable[[], Awaitable[dict[str, object]]],
    ) -> None:
        self.inodes: InodeTable[Node] = InodeTable(root)
        self.error_log = ErrorLog()
        self._options = options
        self._statvfs = statvfs
        self._status = status
        self._handles: dict[int, tuple[FileHandle, Node]] = {}
        self._directories = OpenDirectories()
        self._root: Stat | None = None  # as it was when it was seen last
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Filesystem: {self.inodes!r}, {len(self._handles)} files open>"

    def _node(self, inode: int) -> Node:
        try:
            return self.inodes[inode]
        except KeyError:
            raise RequestError(errno.ESTALE) from None

    def _directory(self, inode: int) -> Directory:
        node = self._node(inode)
        if not hasattr(node, "children"):
            raise RequestError(errno.ENOTDIR)
        return cast(Directory, node)

    def _node_of(self, request: str, arguments: Sequence[object]) -> Node | None:
        """The node that a request is about, for the error log; None where nobody knows it."""
        number = arguments[0] if arguments and isinstance(arguments[0], int) else ROOT
        with contextlib.suppress(KeyError):
            match request:
                case "read":
                    return self._handles[number][1]
                case "readdir":
                    return self._directories.node(number)
                case _:
                    return self.inodes[number]
        return None

    # Names and status

    @answer_errors
    async def lookup(self, parent: int, name: bytes, caller: Caller | None = None) -> Attributes:
        """The child of this name; the kernel now holds one more reference to it.

        NotFoundError; with the option `negative_timeout`, the answer `no_entry` instead.

        A view of a data file lies beside it, not in its directory, which the kernel guards.  Its
        size tells of what is in the file: EACCES for a `caller` who may not read that, before
        anything is looked at.  The kernel asks for such a name each time.
        """
        if len(name) > NAME_MAX:  # the kernel lets 1024 bytes pass
            raise RequestError(errno.ENAMETOOLONG)
        directory = self._directory(parent)
        guard = ViewGuard(self._options, caller)
        try:
            if isinstance(directory, HoldsViewsOfFiles):
                node = await directory.child_if_allowed(name, guard.check)
            else:
                node = await directory.child(name)
        except EsrffsError as error:
            if error.errno != errno.ENOENT or not self._options.negative_timeout:
                raise
            return self._options.no_entry()
        status = await node.stat()
        inode = self.inodes.number(node)
        self.inodes.add_lookup(inode, node)
        attributes = self._options.attributes(inode, status)
        return attributes._replace(entry_timeout=0.0) if guard.is_private else attributes

    def forget(self, references: Iterable[tuple[int, int]]) -> None:
        """The kernel gives up references: pairs of an inode number and how many."""
        for inode, count in references:
            self.inodes.forget(inode, count)

    @answer_errors
    async def getattr(self, inode: int) -> Attributes:
        """The status of a node.  The root keeps its last one if the source is gone.

        So the root still answers, and its extended attribute tells what happened.
        """
        try:
            status = await self._node(inode).stat()
        except NotFoundError:
            if inode != ROOT or self._root is None:
                raise
            status = self._root
        if inode == ROOT:
            self._root = status
        return self._options.attributes(inode, status)

    @answer_errors
    async def readlink(self, inode: int) -> bytes:
        """The text of a symlink."""
        node = self._node(inode)
        if not isinstance(node, Symlink):
            raise RequestError(errno.EINVAL)
        return node.target

    @answer_errors
    async def access(self, mode: int) -> None:
        """Whether access(2) of this mode is allowed: nothing may be written."""
        if mode & os.W_OK:
            raise RequestError(errno.EROFS)

    @answer_errors
    async def statfs(self) -> os.statvfs_result:
        """The figures that `df` shows: those of the source."""
        return await self._statvfs()

    # Extended attributes

    @answer_errors
    async def getxattr(self, inode: int, name: bytes, caller: Caller) -> bytes:
        """One extended attribute; ENODATA where the node has none of this name."""
        if not name.startswith(b"user."):
            raise RequestError(errno.EOPNOTSUPP)  # after ENODATA, `ls -l` asks again for every file
        if name == xattrs.STATUS and inode == ROOT:
            may_see = caller.uid in (0, os.getuid())  # errors name files that others may not see
            counts = {"inodes": len(self.inodes), "open_files": len(self._handles)}
            return self.error_log.status({**await self._status(), **counts}, errors=may_see)
        node = self._node(inode)
        if name == xattrs.ERROR:
            await diagnose(node)
            found = self.error_log.error_text(node)
        else:
            found = await all_xattrs(node)
        if name not in found:
            raise RequestError(errno.ENODATA)
        return found[name]

    @answer_errors
    async def listxattr(self, inode: int, caller: Caller) -> Sequence[bytes]:
        """The names of the extended attributes that this caller may see.

        Names of attributes are content of the file, and the kernel checks no permission for them:
        a caller who may not read the file sees only those of esrffs itself.
        """
        node = self._node(inode)
        found = {**self.error_log.error_text(node), **await all_xattrs(node, listed=True)}
        if caller.uid != os.getuid() and not may_read(self._options, await node.stat(), caller):
            found = {name: b"" for name in found if name.startswith(xattrs.NAMESPACE)}
        return xattrs.truncate_names(found)

    # Directories

    @answer_errors
    async def opendir(self, inode: int) -> int:
        """A handle for `readdir`."""
        node = self._directory(inode)
        await node.check()  # ENOENT later, while it is read, would look like its end
        return self._directories.open(node)

    @answer_errors
    async def readdir(self, handle: int, start: int, add: AddEntry) -> None:
        """Give entries from position `start` on to `add`, until it says that the answer is full.

        Position 0 reads the directory anew, as POSIX demands of rewinddir; the other positions
        stay where they were.  The kernel takes a reference to each child that was added.
        """
        directory, entries = await self._directories.read(handle, anew=start == 0)
        if start < _DOTS and not self._add_dots(directory, start, add):
            return
        attributes, number = self._options.attributes, self.inodes.number
        for position in range(max(start - _DOTS, 0), len(entries)):
            name, node = entries[position]
            try:
                status = await node.stat()
            except EsrffsError:
                continue  # it is gone since
            inode = number(node)
            if not add(name, attributes(inode, status), position + _DOTS + 1):
                break
            self.inodes.add_lookup(inode, node)

    def _add_dots(self, directory: OpenDirectory, start: int, add: AddEntry) -> bool:
        """The entries "." and "..", to which the kernel takes no reference."""
        if directory.status is None:
            return True
        node = directory.node
        for position, name in enumerate((b".", b"..")):
            place = _InodeKey(node.path[: len(node.path) - position], node.key)
            found = self._options.attributes(self.inodes.number(place), directory.status)
            if position >= start and not add(name, found, position + 1):
                return False
        return True

    def releasedir(self, handle: int) -> None:
        """Close a directory."""
        self._directories.close(handle)

    # Files

    @answer_errors
    async def open(self, inode: int, flags: int) -> OpenedFile:
        """Open a file for reading; EROFS for anything else."""
        if flags & _WRITING:
            raise RequestError(errno.EROFS)
        node = self._node(inode)
        if not hasattr(node, "open"):
            raise RequestError(errno.EISDIR)
        handle = await cast(File, node).open()
        number = next(self._numbers)
        self._handles[number] = handle, node
        return OpenedFile(number, getattr(handle, "uncached", False))

    @answer_errors
    async def read(self, handle: int, offset: int, count: int) -> Buffer:
        """Up to `count` bytes from `offset`; fewer only at the end of the file."""
        return await self._handles[handle][0].read(offset, count)

    def release(self, handle: int) -> None:
        """Close a file."""
        opened = self._handles.pop(handle, None)
        if opened is not None:
            with contextlib.suppress(OSError):
                opened[0].close()
