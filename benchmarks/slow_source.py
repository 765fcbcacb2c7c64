"""A folder shown again with the latency of a file server: `slow_source FOLDER MOUNTPOINT MS`.

Each call waits so many milliseconds: lookup, getattr, open, listing, and each read of up to 1 MiB
(a usual rsize of NFS).  Any number of calls wait at the same time, as NFS and GPFS allow.  The
throughput is not limited.  Opening a file drops its pages from the page cache, so that each
measurement reads anew.

The extended attribute `user.calls` of the root tells how many calls of each kind there were since
the start, as JSON, and under "most" how many waited at the same time since it was asked last.
"""

import errno
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyfuse3
import trio

CALLS = "user.calls"  # extended attribute of the root
READ_NBYTES = 1 << 20  # bytes of one request
IN_FLIGHT = 64  # requests that the kernel sends without an answer
CACHED_SECONDS = 1.0  # how long the kernel keeps names and status
READAHEAD_KIB = READ_NBYTES >> 10


class SlowFolder(pyfuse3.Operations):
    """The files below a folder, each call after a wait."""

    def __init__(self, folder: str, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._paths: dict[int, str] = {pyfuse3.ROOT_INODE: folder}
        self._calls: Counter[str] = Counter()
        self._waiting = 0
        self._most = 0

    async def _wait(self, kind: str) -> None:
        self._calls[kind] += 1
        self._waiting += 1
        self._most = max(self._most, self._waiting)
        try:
            await trio.sleep(self._seconds)
        finally:
            self._waiting -= 1

    def _attributes(self, inode: int, path: str) -> pyfuse3.EntryAttributes:
        found, entry = os.lstat(path), pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.entry_timeout = entry.attr_timeout = CACHED_SECONDS
        entry.st_mode, entry.st_size, entry.st_nlink = found.st_mode, found.st_size, found.st_nlink
        entry.st_uid, entry.st_gid = found.st_uid, found.st_gid
        entry.st_atime_ns, entry.st_ctime_ns = found.st_atime_ns, found.st_ctime_ns
        entry.st_mtime_ns = found.st_mtime_ns
        entry.st_blocks = found.st_blocks
        return entry

    def _found(self, path: str) -> pyfuse3.EntryAttributes:
        """Inode numbers are those of the folder: another start of this server has the same ones."""
        with translated():
            inode = os.lstat(path).st_ino
            self._paths[inode] = path
            return self._attributes(inode, path)

    async def lookup(self, parent: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        await self._wait("lookup")
        return self._found(os.path.join(self._paths[parent], os.fsdecode(name)))

    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        await self._wait("getattr")
        with translated():
            return self._attributes(inode, self._paths[inode])

    async def readlink(self, inode: int, ctx: Any) -> bytes:
        await self._wait("readlink")
        with translated():
            return os.fsencode(os.readlink(self._paths[inode]))

    async def opendir(self, inode: int, ctx: Any) -> int:
        return inode

    async def readdir(self, inode: int, start: int, token: Any) -> None:
        await self._wait("readdir")
        with translated():
            names = sorted(os.listdir(self._paths[inode]))
        for number, name in enumerate(names[start:], start):
            with suppress(pyfuse3.FUSEError):  # gone since
                entry = self._found(os.path.join(self._paths[inode], name))
                if not pyfuse3.readdir_reply(token, os.fsencode(name), entry, number + 1):
                    return

    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        await self._wait("open")
        with translated():
            return pyfuse3.FileInfo(fh=os.open(self._paths[inode], os.O_RDONLY), keep_cache=False)

    async def read(self, handle: int, offset: int, count: int) -> bytes:
        await self._wait("read")
        return os.pread(handle, count, offset)

    async def release(self, handle: int) -> None:
        os.close(handle)

    async def forget(self, inodes: Sequence[tuple[int, int]]) -> None:
        pass  # a benchmark has few files

    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        await self._wait("statfs")
        found, data = os.statvfs(self._paths[pyfuse3.ROOT_INODE]), pyfuse3.StatvfsData()
        for name in "bsize frsize blocks bfree bavail files ffree favail namemax".split():
            setattr(data, f"f_{name}", getattr(found, f"f_{name}"))
        return data

    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        if inode == pyfuse3.ROOT_INODE and os.fsdecode(name) == CALLS:
            most, self._most = self._most, 0
            return json.dumps({**self._calls, "most": most}).encode()
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)

    async def listxattr(self, inode: int, ctx: Any) -> Sequence[bytes]:
        return ()


@contextmanager
def translated() -> Iterator[None]:
    """OSError as the exception that pyfuse3 answers with an errno."""
    try:
        yield
    except OSError as error:
        raise pyfuse3.FUSEError(error.errno or errno.EIO) from None


def tune(mountpoint: str, values: dict[str, int]) -> None:
    """Limits of the kernel for this mount, by name; only root may set them."""
    device = os.stat(mountpoint).st_dev
    connection = f"/sys/fs/fuse/connections/{os.minor(device)}"
    if os.geteuid() == 0 and not os.path.isdir(connection):
        command = ["mount", "-t", "fusectl", "fusectl", "/sys/fs/fuse/connections"]
        subprocess.run(command, check=False)
    for name, value in values.items():
        folder = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}"
        folder = folder if name == "read_ahead_kb" else connection
        with suppress(OSError), open(f"{folder}/{name}", "w") as file:
            file.write(str(value))


async def serve(mountpoint: str, limits: dict[str, int], started: Callable[[], None]) -> None:
    """Answer requests until the mount is unmounted; `started` is called when it answers."""
    async with trio.open_nursery() as nursery:

        async def begin() -> None:
            await trio.to_thread.run_sync(tune, mountpoint, limits)
            started()

        nursery.start_soon(begin)
        await pyfuse3.main(max_tasks=200)


def main() -> None:
    folder, mountpoint, milliseconds = sys.argv[1:]
    if os.path.samefile(folder, mountpoint):
        sys.exit(
            f"slow_source: {folder} cannot be shown at its own place: it would wait for itself"
        )
    operations = SlowFolder(os.path.abspath(folder), float(milliseconds) / 1000)
    options = {*pyfuse3.default_options, "fsname=slow_source", "ro"}
    if os.geteuid() == 0:
        options.add("allow_other")
    pyfuse3.init(operations, mountpoint, options)
    limits = {
        "read_ahead_kb": READAHEAD_KIB,
        "max_background": IN_FLIGHT,
        "congestion_threshold": IN_FLIGHT,
    }
    trio.run(serve, mountpoint, limits, lambda: print("ready", flush=True))
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
