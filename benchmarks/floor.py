"""The floor of FUSE: a server in Python that hands out one buffer from memory, and nothing else.

`python -m benchmarks.floor MOUNTPOINT KIB` serves a file for every name that is a number of bytes
(with anything behind a dash): "400000000-3" has 400 000 000 bytes.  The kernel's read-ahead is
KIB.  What a mount needs above this is the mount's own; what it needs below is not possible with
pyfuse3.
"""

import contextlib
import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyfuse3
import trio

from benchmarks.slow_source import serve

_BUFFER = memoryview(os.urandom(1 << 20))


class Memory(pyfuse3.Operations):
    """Files of any size, all with the same bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self._inodes: dict[bytes, int] = {}

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.entry_timeout = entry.attr_timeout = 100.0
        is_root = inode == pyfuse3.ROOT_INODE
        entry.st_mode = stat.S_IFDIR | 0o755 if is_root else stat.S_IFREG | 0o644
        entry.st_size = 0 if is_root else self._sizes[inode]
        return entry

    async def lookup(self, parent: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        size = name.partition(b"-")[0]
        if not size.isdigit():
            raise pyfuse3.FUSEError(errno.ENOENT)
        inode = self._inodes.setdefault(name, len(self._inodes) + 2)
        self._sizes[inode] = int(size)
        return self._attributes(inode)

    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, handle: int, offset: int, count: int) -> Any:
        return _BUFFER[: min(count, self._sizes[handle] - offset)]

    async def release(self, handle: int) -> None:
        pass

    async def forget(self, inodes: Sequence[tuple[int, int]]) -> None:
        pass

    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)


@contextlib.contextmanager
def served(module: str, at: Path, *arguments: object) -> Iterator[None]:
    """The server in this module of ours, mounted at `at` for as long as this lasts."""
    at.mkdir(exist_ok=True)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{module}: cannot mount {at}")
            yield
        finally:
            _unmount(at)
            process.terminate()


def _unmount(at: Path) -> None:
    """Unmount, as soon as no process uses the mount; after ten seconds, in any case."""
    command = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
    end = time.monotonic() + 10
    while subprocess.run([*command, at], check=False, capture_output=True).returncode:
        if time.monotonic() > end:
            lazy = "-l" if command[0] == "umount" else "-z"
            subprocess.run([*command, lazy, at], check=False)
            return
        time.sleep(0.1)


def main() -> None:
    mountpoint, kib = sys.argv[1:]
    pyfuse3.init(Memory(), mountpoint, {*pyfuse3.default_options, "fsname=floor", "ro"})
    limits = {"read_ahead_kb": int(kib)}
    trio.run(serve, mountpoint, limits, lambda: print("ready", flush=True))
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
