"""A file server that stops answering: `python -m tests.faults.hanging FOLDER MOUNTPOINT SWITCH`.

Serves FOLDER read-only by FUSE, uncached; while the file SWITCH exists, no request is answered.
"""

# ruff: noqa: ASYNC110, ASYNC230, ASYNC240  (to stop everything is what it is for)
import os
import sys

import pyfuse3
import trio


class Server(pyfuse3.Operations):
    def __init__(self, folder: str, switch: str) -> None:
        super().__init__()
        self._switch = switch
        self._paths = {pyfuse3.ROOT_INODE: folder}

    async def _wait(self) -> None:
        while os.path.exists(self._switch):
            await trio.sleep(0.02)

    async def getattr(self, inode, ctx):
        await self._wait()
        status = os.stat(self._paths[inode])
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode, entry.st_size = status.st_mode, status.st_size
        entry.st_mtime_ns = entry.st_ctime_ns = status.st_mtime_ns
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    async def lookup(self, parent_inode, name, ctx):
        await self._wait()
        path = os.path.join(self._paths[parent_inode], os.fsdecode(name))
        if not os.path.exists(path):
            raise pyfuse3.FUSEError(2)
        inode = os.stat(path).st_ino
        self._paths[inode] = path
        return await self.getattr(inode, ctx)

    async def opendir(self, inode, ctx):
        return inode

    async def readdir(self, fh, start_id, token):
        await self._wait()
        names = sorted(os.listdir(self._paths[fh]))
        for number in range(start_id, len(names)):
            entry = await self.lookup(fh, os.fsencode(names[number]), None)
            if not pyfuse3.readdir_reply(token, os.fsencode(names[number]), entry, number + 1):
                return

    async def open(self, inode, flags, ctx):
        await self._wait()
        return pyfuse3.FileInfo(fh=inode, direct_io=True)

    async def read(self, fh, off, size):
        await self._wait()
        with open(self._paths[fh], "rb") as file:
            file.seek(off)
            return file.read(size)


def main() -> None:
    folder, mountpoint, switch = sys.argv[1:]
    pyfuse3.init(Server(folder, switch), mountpoint, {"fsname=hanging", "subtype=hanging", "ro"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
