"""A folder behind a file server that takes its time, and counts what it is asked for.

`python -m tests.support.slow_server FOLDER MOUNTPOINT MILLISECONDS` serves FOLDER read-only by
FUSE.  Each lookup, open, listing and read waits so long, any number of them at the same time.  The
extended attribute `user.calls` of the mount point gives the counts as JSON, `user.reset` clears
them.  `SlowServer` starts and ends such a process.
"""

import collections
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyfuse3
import trio

_FIELDS = "st_mode st_nlink st_uid st_gid st_rdev st_size st_atime_ns st_mtime_ns st_ctime_ns"


_MOST_NBYTES = 60_000  # of an extended attribute


class SlowServer:
    """`folder` served at `path`, with so many milliseconds of latency."""

    def __init__(self, folder: Path, path: Path, milliseconds: float) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, folder, path, str(milliseconds)],
            cwd=Path(__file__).parents[2],
        )
        while not os.path.ismount(path):
            assert self._process.poll() is None, "the slow server did not start"
            time.sleep(0.02)

    def counts(self) -> dict[str, int]:
        """How many calls of each kind came: `lookup`, `opendir`, `open`, `read`, `most`.

        `most` is the largest number of calls that waited at the same time; `open NAME` and
        `read NAME` count the calls for one file, if there are not too many files.
        """
        return collections.Counter(json.loads(os.getxattr(self.path, "user.calls")))

    def reset(self) -> None:
        os.getxattr(self.path, "user.reset")

    def end(self) -> None:
        """Unmount; to be called after what looks at the server has ended."""
        subprocess.run(["umount", "-l", self.path], check=False)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


class _Server(pyfuse3.Operations):  # type: ignore[misc]  # pyfuse3 has no types
    def __init__(self, folder: str, seconds: float) -> None:
        super().__init__()
        self.folder, self.seconds = folder, seconds
        self.paths = {pyfuse3.ROOT_INODE: folder}
        self.inodes = {folder: pyfuse3.ROOT_INODE}
        self.calls: collections.Counter[str] = collections.Counter()
        self.listed: dict[int, list[str]] = {}
        self.files: dict[int, str] = {}
        self.busy = 0

    async def wait(self, kind: str, name: str = "") -> None:
        self.calls[kind] += 1
        if name:
            self.calls[f"{kind} {name}"] += 1
        self.busy += 1
        self.calls["most"] = max(self.calls["most"], self.busy)
        try:
            await trio.sleep(self.seconds)
        finally:
            self.busy -= 1

    def entry(self, path: str) -> pyfuse3.EntryAttributes:
        try:
            status = os.lstat(path)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno) from None
        entry = pyfuse3.EntryAttributes()
        for field in _FIELDS.split():
            setattr(entry, field, getattr(status, field))
        entry.st_ino = self.inodes.setdefault(path, len(self.inodes) + 1)
        self.paths[entry.st_ino] = path
        entry.entry_timeout = entry.attr_timeout = 1
        return entry

    async def getattr(self, inode: int, ctx: Any = None) -> pyfuse3.EntryAttributes:
        return self.entry(self.paths[inode])

    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        if name == b"user.calls":
            told = json.dumps(self.calls).encode()
            kinds = {kind: count for kind, count in self.calls.items() if " " not in kind}
            return told if len(told) < _MOST_NBYTES else json.dumps(kinds).encode()
        if name == b"user.reset":
            self.calls.clear()
            return b""
        raise pyfuse3.FUSEError(pyfuse3.ENOATTR)

    async def lookup(self, parent: int, name: bytes, ctx: Any = None) -> pyfuse3.EntryAttributes:
        await self.wait("lookup")
        return self.entry(os.path.join(self.paths[parent], os.fsdecode(name)))

    async def readlink(self, inode: int, ctx: Any) -> bytes:
        return os.fsencode(os.readlink(self.paths[inode]))

    async def opendir(self, inode: int, ctx: Any) -> int:
        await self.wait("opendir")
        self.listed[inode] = sorted(os.listdir(self.paths[inode]))
        return inode

    async def readdir(self, inode: int, start: int, token: Any) -> None:
        names = self.listed[inode]
        for number in range(start, len(names)):
            entry = self.entry(os.path.join(self.paths[inode], names[number]))
            name = os.fsencode(names[number])
            if not pyfuse3.readdir_reply(token, name, entry, number + 1):
                break

    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        name = os.path.basename(self.paths[inode])
        await self.wait("open", name)
        try:
            descriptor = os.open(self.paths[inode], os.O_RDONLY)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno) from None
        self.files[descriptor] = name
        return pyfuse3.FileInfo(fh=descriptor, keep_cache=False)

    async def read(self, descriptor: int, offset: int, size: int) -> bytes:
        await self.wait("read", self.files[descriptor])
        return os.pread(descriptor, size, offset)

    async def release(self, descriptor: int) -> None:
        os.close(descriptor)

    async def forget(self, inodes: Any) -> None:
        pass


def main(folder: str, mountpoint: str, milliseconds: str) -> None:
    server = _Server(os.path.abspath(folder), float(milliseconds) / 1000)
    options = {*pyfuse3.default_options, "fsname=slow_server", "allow_other"}
    pyfuse3.init(server, mountpoint, options)
    trio.run(pyfuse3.main)
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
