"""pyfuse3's requests, converted for `fuse/filesystem`, and its answers, converted for pyfuse3.

Does not: decide anything but what the protocol of FUSE itself needs.
"""

import errno
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar, cast

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext

from esrffs.errors import EsrffsError
from esrffs.fuse.attributes import BLOCK_SIZE, Attributes
from esrffs.fuse.filesystem import Caller, Filesystem

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[Concatenate["Pyfuse3Operations", P], Coroutine[Any, Any, T]]

_STATVFS = "bsize frsize blocks bfree bavail files ffree favail namemax".split()


def _errors_to_errnos(handler: Handler[P, T]) -> Handler[P, T]:
    """An EsrffsError becomes the exception that pyfuse3 answers with an errno."""

    @functools.wraps(handler)
    async def answer(self: "Pyfuse3Operations", *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(self, *args, **kwargs)
        except EsrffsError as error:
            raise FUSEError(error.errno) from error

    return cast(Handler[P, T], answer)


def entry_attributes(found: Attributes) -> EntryAttributes:
    """pyfuse3's record of the attributes."""
    entry, status = EntryAttributes(), found.status
    entry.st_ino = found.inode
    entry.entry_timeout = found.entry_timeout
    entry.attr_timeout = found.attr_timeout
    entry.st_mode = status.mode
    entry.st_size = status.size
    entry.st_uid = status.uid
    entry.st_gid = status.gid
    entry.st_atime_ns = status.atime_ns
    entry.st_mtime_ns = status.mtime_ns
    entry.st_ctime_ns = status.ctime_ns
    entry.st_blksize = BLOCK_SIZE
    entry.st_blocks = found.blocks
    return entry


def _caller(ctx: RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, lambda: pyfuse3.get_sup_groups(ctx.pid))


class Pyfuse3Operations(pyfuse3.Operations):
    """What pyfuse3 calls; `started` is set once the kernel has introduced itself."""

    def __init__(self, filesystem: Filesystem) -> None:
        super().__init__()
        self._filesystem = filesystem
        self.started = trio.Event()

    def __repr__(self) -> str:
        return f"<Pyfuse3Operations of {self._filesystem!r}>"

    def init(self) -> None:
        """Called by pyfuse3 with the kernel's first request; then the mount answers."""
        self.started.set()

    @_errors_to_errnos
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        return entry_attributes(await self._filesystem.lookup(parent_inode, name, _caller(ctx)))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        self._filesystem.forget(inode_list)

    @_errors_to_errnos
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return entry_attributes(await self._filesystem.getattr(inode))

    @_errors_to_errnos
    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return await self._filesystem.readlink(inode)

    @_errors_to_errnos
    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        await self._filesystem.access(mode)
        return True

    @_errors_to_errnos
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        source, data = await self._filesystem.statfs(), pyfuse3.StatvfsData()
        for name in _STATVFS:
            setattr(data, f"f_{name}", getattr(source, f"f_{name}"))
        return data

    @_errors_to_errnos
    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        return await self._filesystem.getxattr(inode, name, _caller(ctx))

    @_errors_to_errnos
    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        return await self._filesystem.listxattr(inode, _caller(ctx))

    @_errors_to_errnos
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return await self._filesystem.opendir(inode)

    @_errors_to_errnos
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        reply = pyfuse3.readdir_reply

        def add(name: bytes, found: Attributes, next_position: int) -> bool:
            return reply(token, name, entry_attributes(found), next_position)

        await self._filesystem.readdir(fh, start_id, add)

    async def releasedir(self, fh: int) -> None:
        self._filesystem.releasedir(fh)

    @_errors_to_errnos
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        opened = await self._filesystem.open(inode, flags)
        # What an inode holds never changes, so the kernel may keep what it read before.
        return FileInfo(fh=opened.handle, keep_cache=not opened.uncached, direct_io=opened.uncached)

    @_errors_to_errnos
    async def read(self, fh: int, off: int, size: int) -> bytes:
        data = await self._filesystem.read(fh, off, size)
        return cast(bytes, data)  # pyfuse3 takes any buffer, although its stub says bytes

    async def flush(self, fh: int) -> None:
        raise FUSEError(errno.ENOSYS)  # nothing to do: the kernel stops asking

    async def release(self, fh: int) -> None:
        self._filesystem.release(fh)


async def _read_only(self: Pyfuse3Operations, *args: object) -> NoReturn:
    """Nothing can be changed, made or removed."""
    raise FUSEError(errno.EROFS)


for _request in (
    "setattr mknod mkdir unlink rmdir symlink rename link create write setxattr removexattr"
).split():
    setattr(Pyfuse3Operations, _request, _read_only)
