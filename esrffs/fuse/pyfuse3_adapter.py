"""FUSE requests in, answers and errnos out.

Decided here: what each request does, how long the kernel may believe an answer, and which errno
an error becomes.
"""

import contextlib
import errno
import functools
import itertools
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Concatenate, NamedTuple, NoReturn, ParamSpec, TypeVar, cast

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext

from esrffs.encoders import xattrs
from esrffs.encoders.file_names import NAME_MAX
from esrffs.errors import EsrffsError, NotFoundError, unforeseen
from esrffs.fuse.attributes import AttributeOptions
from esrffs.fuse.error_log import ErrorLog
from esrffs.fuse.inodes import InodeTable
from esrffs.fuse.open_directories import OpenDirectories, OpenDirectory
from esrffs.tree.nodes import Directory, File, FileHandle, Node, Path, Stat, Symlink, all_xattrs

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

_BLOCK_SIZE = 128 << 10  # st_blksize: what cp and Python read at a time


class _Place(NamedTuple):
    """All that a number depends on."""

    path: Path
    key: bytes


def _answering(
    handler: Callable[Concatenate["Operations", P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Operations", P], Coroutine[Any, Any, T]]:
    """Turn what goes wrong into an errno: an exception that left a handler would end the mount."""

    @functools.wraps(handler)
    async def answer(self: "Operations", *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(self, *args, **kwargs)
        except FUSEError:
            raise
        except EsrffsError as error:
            self._error_log.record(error.code, str(error))
            raise FUSEError(error.code) from error
        except OSError as error:
            self._error_log.record(error.errno or errno.EIO, str(error))
            raise FUSEError(error.errno or errno.EIO) from error
        except Exception as error:
            log.debug("%s", handler.__name__, exc_info=True)
            number = args[0] if args and isinstance(args[0], int) else pyfuse3.ROOT_INODE
            self._unforeseen(handler.__name__, number, error)
            raise FUSEError(errno.EIO) from error

    return cast(Callable[Concatenate["Operations", P], Coroutine[Any, Any, T]], answer)


class Operations(pyfuse3.Operations):
    """The mounted filesystem."""

    def __init__(
        self,
        root: Node,
        shown: AttributeOptions,
        statvfs: Callable[[], Awaitable[os.statvfs_result]],
        status: Callable[[], Awaitable[dict[str, object]]],
    ) -> None:
        super().__init__()
        self.inodes: InodeTable[Node] = InodeTable(root)
        self._shown = shown
        self._statvfs = statvfs
        self._status = status
        self._error_log = ErrorLog()
        self._handles: dict[int, tuple[FileHandle, Node]] = {}
        self._root: Stat | None = None
        self._listings = OpenDirectories()
        self._numbers = itertools.count(1)
        self.started = trio.Event()

    def __repr__(self) -> str:
        return f"<Operations: {self.inodes!r}, {len(self._handles)} files open>"

    def init(self) -> None:
        """The kernel has introduced itself; once this has returned, the mount answers."""
        self.started.set()

    def _node(self, inode: int) -> Node:
        try:
            return self.inodes[inode]
        except KeyError:
            raise FUSEError(errno.ESTALE) from None

    def _unforeseen(self, request: str, number: int, error: Exception) -> None:
        """Tell it once, at the object and at its file, as any other error."""
        node: Node | None = None
        with contextlib.suppress(KeyError):
            match request:
                case "read":
                    node = self._handles[number][1]
                case "readdir":
                    node = self._listings.node(number)
                case _:
                    node = self.inodes[number]
        self._error_log.note(node, request, unforeseen(error))

    def _directory(self, inode: int) -> Directory:
        node = self._node(inode)
        if not hasattr(node, "children"):
            raise FUSEError(errno.ENOTDIR)
        return cast(Directory, node)

    # Names and status

    @_answering
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if len(name) > NAME_MAX:  # the kernel lets 1024 bytes pass
            raise FUSEError(errno.ENAMETOOLONG)
        parent = self._directory(parent_inode)
        try:
            node = await parent.child(name)
        except EsrffsError as error:
            if error.code != errno.ENOENT or not self._shown.negative_timeout:
                raise
            nothing = EntryAttributes()  # of inode 0
            nothing.entry_timeout = self._shown.negative_timeout
            return nothing
        status = await node.stat()
        number = self.inodes.number(node)
        self.inodes.add_lookup(number, node)
        return self._attributes(number, status)

    def _attributes(self, number: int, real: Stat) -> EntryAttributes:
        status = self._shown.apply(real)
        entry = EntryAttributes()
        entry.st_ino = number
        for name in "mode size uid gid atime_ns mtime_ns ctime_ns".split():
            setattr(entry, f"st_{name}", getattr(status, name))
        entry.st_blksize = _BLOCK_SIZE
        entry.st_blocks = -(-status.size // 512)
        entry.entry_timeout = self._shown.entry_timeout
        entry.attr_timeout = self._shown.attr_timeout
        return entry

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, references in inode_list:
            self.inodes.forget(inode, references)

    @_answering
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        try:
            status = await self._node(inode).stat()
        except NotFoundError:  # of the root: the source is gone, as its extended attribute tells
            if inode != pyfuse3.ROOT_INODE or self._root is None:
                raise
            status = self._root
        self._root = status if inode == pyfuse3.ROOT_INODE else self._root
        return self._attributes(inode, status)

    @_answering
    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        node = self._node(inode)
        if not isinstance(node, Symlink):
            raise FUSEError(errno.EINVAL)
        return node.target

    @_answering
    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        if mode & os.W_OK:
            raise FUSEError(errno.EROFS)
        return True

    @_answering
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        source, data = await self._statvfs(), pyfuse3.StatvfsData()
        for name in "bsize frsize blocks bfree bavail files ffree favail namemax".split():
            setattr(data, f"f_{name}", getattr(source, f"f_{name}"))
        return data

    # Extended attributes

    @_answering
    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        if not name.startswith(b"user."):
            raise FUSEError(errno.EOPNOTSUPP)  # ENODATA, and `ls -l` asks twice for every file
        if name == xattrs.STATUS and inode == pyfuse3.ROOT_INODE:
            ours = ctx.uid in (0, os.getuid())  # errors name files that others may not see
            counts = {"inodes": len(self.inodes), "open_files": len(self._handles)}
            return self._error_log.status({**await self._status(), **counts}, errors=ours)
        node = self._node(inode)
        told = self._error_log.error_text(node) if name == xattrs.ERROR else await all_xattrs(node)
        if name not in told:
            raise FUSEError(pyfuse3.ENOATTR)
        return told[name]

    @_answering
    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        """Names of attributes are content, and the kernel leaves it to us who may see names."""
        node = self._node(inode)
        told = {**self._error_log.error_text(node), **await all_xattrs(node, listed=True)}
        if ctx.uid != os.getuid() and not self._may_read(await node.stat(), ctx):
            told = {name: b"" for name in told if name.startswith(xattrs.NAMESPACE)}
        return xattrs.truncate_names(told)

    def _may_read(self, status: Stat, ctx: RequestContext) -> bool:
        groups = {ctx.gid}
        with contextlib.suppress(OSError):  # of a process that is gone, or in another container
            groups |= pyfuse3.get_sup_groups(ctx.pid)
        return self._shown.may_read(status, ctx.uid, groups)

    # Directories

    @_answering
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        node = self._directory(inode)
        await node.stat()  # ENOENT later, while it is read, would look like its end
        return self._listings.open(node)

    @_answering
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        # From the beginning: as it is now, as POSIX wants of rewinddir.
        listing, entries = await self._listings.read(fh, anew=start_id == 0)
        if start_id < 2 and not self._dots(listing, start_id, token):
            return
        for position in range(max(start_id - 2, 0), len(entries)):
            name, node = entries[position]
            try:
                status = await node.stat()
            except EsrffsError:
                continue  # gone since
            number = self.inodes.number(node)
            entry = self._attributes(number, status)
            if not pyfuse3.readdir_reply(token, name, entry, position + 3):
                break
            self.inodes.add_lookup(number, node)

    def _dots(self, listing: OpenDirectory, start_id: int, token: pyfuse3.ReaddirToken) -> bool:
        """The entries "." and "..", for which the kernel takes no reference."""
        if listing.status is None:
            return True
        node = listing.node
        for position, name in enumerate((b".", b"..")):
            place = _Place(node.path[: len(node.path) - position], node.key)
            entry = self._attributes(self.inodes.number(place), listing.status)
            if position >= start_id and not pyfuse3.readdir_reply(token, name, entry, position + 1):
                return False
        return True

    async def releasedir(self, fh: int) -> None:
        self._listings.close(fh)

    # Files

    @_answering
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CREAT):
            raise FUSEError(errno.EROFS)
        node = self._node(inode)
        if not hasattr(node, "open"):
            raise FUSEError(errno.EISDIR)
        handle = await cast(File, node).open()
        number = next(self._numbers)
        self._handles[number] = handle, node
        uncached = getattr(handle, "uncached", False)
        # What an inode holds never changes: the kernel may keep it.
        return FileInfo(fh=number, keep_cache=not uncached, direct_io=uncached)

    @_answering
    async def read(self, fh: int, off: int, size: int) -> bytes:
        data = await self._handles[fh][0].read(off, size)
        return cast(bytes, data)  # any buffer will do, though pyfuse3's stub does not say so

    async def flush(self, fh: int) -> None:
        raise FUSEError(errno.ENOSYS)  # nothing to do: the kernel stops asking

    async def release(self, fh: int) -> None:
        opened = self._handles.pop(fh, None)
        if opened is not None:
            with contextlib.suppress(OSError):
                opened[0].close()


async def _refused(self: Operations, *args: object) -> NoReturn:
    """Nothing can be changed, made or removed."""
    raise FUSEError(errno.EROFS)


for _request in (
    "setattr mknod mkdir unlink rmdir symlink rename link create write setxattr removexattr"
).split():
    setattr(Operations, _request, _refused)
