"""A folder behind a file server that takes its time, and counts what it is asked for.

`python -m tests.support.slow_server FOLDER MOUNTPOINT MILLISECONDS SWITCH CACHED` serves FOLDER
read-only by FUSE.  Each lookup, open, listing and read waits so long, any number of them at the
same time; while the file SWITCH exists, no request is answered.  With CACHED 0 the kernel keeps
neither names nor pages.  The extended attribute `user.calls` of the mount point gives the counts as
JSON, `user.reset` clears them.  `SlowServer` starts and ends such a process.
"""

# ruff: noqa: ASYNC110, ASYNC240  (a local disk answers at once; to wait is what it is for)
import collections
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyfuse3
import trio

_FIELDS = "st_mode st_nlink st_uid st_gid st_rdev st_size st_atime_ns st_mtime_ns st_ctime_ns"
_MOST_NBYTES = 60_000  # of an extended attribute


class SlowServer:
    """`folder` served at `path`, with so many milliseconds of latency."""

    def __init__(
        self, folder: Path, path: Path, milliseconds: float = 0.0, *, cached: bool = True
    ) -> None:
        path.mkdir(exist_ok=True)
        self.folder, self.path = folder, path
        self._switch = path.parent / f"{path.name} is silent"
        arguments = [folder, path, str(milliseconds), self._switch, str(int(cached))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *arguments], cwd=Path(__file__).parents[2]
        )
        while not os.path.ismount(path):
            assert self._process.poll() is None, "the slow server did not start"
            time.sleep(0.02)

    def counts(self) -> dict[str, int]:
        """How many calls of each kind came: `lookup`, `opendir`, `open`, `read`, `most`, `nbytes`.

        `most` is the largest number of calls that waited at the same time, `nbytes` what was asked
        of all reads.  `open NAME` and `read NAME` count the calls for one file, if there are not
        too many files.
        """
        return collections.Counter(json.loads(os.getxattr(self.path, "user.calls")))

    def reset(self) -> None:
        os.getxattr(self.path, "user.reset")

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The server answers nothing; what it was asked meanwhile, it answers at the end."""
        self._switch.touch()
        try:
            yield
        finally:
            self._switch.unlink()

    def end(self) -> None:
        """Unmount; to be called after what looks at the server has ended."""
        self._abort()
        subprocess.run(["fusermount3", "-u", "-z", self.path], check=False)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def _abort(self) -> None:
        """Requests that are still waiting are told that there will be no answer."""
        with open("/proc/self/mountinfo") as lines:
            devices = [words[2] for words in map(str.split, lines) if words[4] == str(self.path)]
        for device in devices:
            with suppress(OSError):  # root may do so, and the user who mounted it
                Path(f"/sys/fs/fuse/connections/{device.partition(':')[2]}/abort").write_text("1")


class _Server(pyfuse3.Operations):  # type: ignore[misc]  # pyfuse3 has no types
    def __init__(self, folder: str, seconds: float, switch: str, cached: bool) -> None:
        super().__init__()
        self.seconds, self.switch, self.cached = seconds, switch, cached
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
            await self.speak()
        finally:
            self.busy -= 1

    async def speak(self) -> None:
        """Wait until the server is not silent."""
        while os.path.exists(self.switch):
            await trio.sleep(0.02)

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
        entry.entry_timeout = entry.attr_timeout = int(self.cached)
        return entry

    async def getattr(self, inode: int, ctx: Any = None) -> pyfuse3.EntryAttributes:
        await self.speak()
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
        return pyfuse3.FileInfo(fh=descriptor, keep_cache=False, direct_io=not self.cached)

    async def read(self, descriptor: int, offset: int, size: int) -> bytes:
        self.calls["nbytes"] += size
        await self.wait("read", self.files[descriptor])
        return os.pread(descriptor, size, offset)

    async def release(self, descriptor: int) -> None:
        os.close(descriptor)

    async def forget(self, inodes: Any) -> None:
        pass


def main(folder: str, mountpoint: str, milliseconds: str, switch: str, cached: str) -> None:
    seconds = float(milliseconds) / 1000
    server = _Server(os.path.abspath(folder), seconds, switch, bool(int(cached)))
    options = {*pyfuse3.default_options, "fsname=slow_server", "ro"}
    if os.geteuid() == 0:
        options.add("allow_other")
    pyfuse3.init(server, mountpoint, options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
