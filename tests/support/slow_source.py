"""A folder behind a file server, for tests: `slow_source(folder, mountpoint, seconds)`.

Each lookup, open and read waits for `seconds`; any number of them at the same time.  The kernel
caches nothing of it, so `reads()` are what was asked for.  While `silent()`, nothing is answered.
The server is a process of its own: `python -m tests.support.slow_source FOLDER MOUNTPOINT SECONDS
SWITCH`; it is silent while the file SWITCH exists.
"""

# ruff: noqa: ASYNC110, ASYNC240  (a local disk answers at once)
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyfuse3
import trio

from tests.support.mounts import is_mounted
from tests.support.programs import wait_for

_COUNTS = "user.counts"


@dataclass
class SlowSource:
    """The folder as it is served, and where it really is."""

    path: Path
    real: Path
    switch: Path

    def counts(self) -> dict[str, Any]:
        """Since it began: `calls` by kind, `most` at a time, `reads` as [offset, bytes]."""
        counts: dict[str, Any] = json.loads(os.getxattr(self.path, _COUNTS))
        return counts

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The server answers nothing; what it was asked meanwhile, it answers at the end."""
        self.switch.touch()
        try:
            yield
        finally:
            self.switch.unlink()


@contextmanager
def slow_source(real: Path, path: Path, seconds: float) -> Iterator[SlowSource]:
    """Serve the folder `real` at `path`, which is made."""
    path.mkdir()
    served = SlowSource(path, real, path.parent / f"{path.name} is silent")
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, real, path, str(seconds), served.switch],
        cwd=Path(__file__).parents[2],
    )
    try:
        wait_for(lambda: is_mounted(path))
        yield served
    finally:
        _abort(path)
        subprocess.run(["fusermount3", "-u", "-z", path], check=False)
        process.wait(10)


def _abort(path: Path) -> None:
    """Requests of this mount that are still waiting are told that there will be no answer."""
    with open("/proc/self/mountinfo") as lines:
        devices = [words[2] for words in map(str.split, lines) if words[4] == str(path)]
    for device in devices:
        with suppress(OSError):  # root may do so, and the user who mounted it
            Path(f"/sys/fs/fuse/connections/{device.partition(':')[2]}/abort").write_text("1")


class _Server(pyfuse3.Operations):  # type: ignore[misc]  # pyfuse3 has no types
    def __init__(self, folder: str, seconds: float, switch: str) -> None:
        super().__init__()
        self._seconds = seconds
        self._switch = switch
        self._paths = {pyfuse3.ROOT_INODE: folder}
        self._busy = 0
        self._calls: dict[str, int] = {}
        self._reads: list[tuple[int, int]] = []
        self._most = 0

    async def _wait(self, kind: str) -> None:
        self._calls[kind] = self._calls.get(kind, 0) + 1
        self._busy += 1
        self._most = max(self._most, self._busy)
        try:
            await trio.sleep(self._seconds)
            while os.path.exists(self._switch):
                await trio.sleep(0.02)
        finally:
            self._busy -= 1

    async def getattr(self, inode: int, ctx: object = None) -> Any:
        while os.path.exists(self._switch):
            await trio.sleep(0.02)
        try:
            status = os.stat(self._paths[inode])
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno) from None
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode, entry.st_size, entry.st_nlink = status.st_mode, status.st_size, 1
        entry.st_uid, entry.st_gid = status.st_uid, status.st_gid
        entry.st_mtime_ns, entry.st_ctime_ns = status.st_mtime_ns, status.st_ctime_ns
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> Any:
        await self._wait("lookup")
        path = os.path.join(self._paths[parent_inode], os.fsdecode(name))
        try:
            inode = os.stat(path).st_ino
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno) from None
        self._paths[inode] = path
        return await self.getattr(inode)

    async def getxattr(self, inode: int, name: bytes, ctx: object) -> bytes:
        if os.fsdecode(name) != _COUNTS:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        told = json.dumps({"calls": self._calls, "most": self._most, "reads": self._reads})
        return told.encode()

    async def opendir(self, inode: int, ctx: object) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: object) -> None:
        names = sorted(os.listdir(self._paths[fh]))
        for number in range(start_id, len(names)):
            entry = await self.lookup(fh, os.fsencode(names[number]))
            if not pyfuse3.readdir_reply(token, os.fsencode(names[number]), entry, number + 1):
                return

    async def open(self, inode: int, flags: int, ctx: object) -> Any:
        await self._wait("open")
        descriptor = os.open(self._paths[inode], os.O_RDONLY)
        return pyfuse3.FileInfo(fh=descriptor, direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        self._reads.append((off, size))
        await self._wait("read")
        return os.pread(fh, size, off)

    async def release(self, fh: int) -> None:
        os.close(fh)


def main() -> None:
    folder, mountpoint, seconds, switch = sys.argv[1:]
    server = _Server(folder, float(seconds), switch)
    pyfuse3.init(server, mountpoint, {"fsname=slow", "subtype=slow", "ro", "allow_other"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
