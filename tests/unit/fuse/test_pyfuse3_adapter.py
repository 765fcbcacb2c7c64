"""`fuse/pyfuse3_adapter`: what pyfuse3 gets for our answers and errors."""

import errno
import os
from typing import Any

import pyfuse3
import pytest
import trio

from esrffs.fuse.inodes import ROOT
from esrffs.fuse.pyfuse3_adapter import Pyfuse3Operations
from tests.support.fuse_nodes import DirectoryNode, FileNode, filesystem


class Context:
    uid = gid = pid = 0


CONTEXT: Any = Context()


def operations(**options: Any) -> Pyfuse3Operations:
    return Pyfuse3Operations(
        filesystem(DirectoryNode((), [FileNode((b"a",), b"x" * 700)]), **options)
    )


async def errno_of_request(request: Any) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await request
    return int(caught.value.errno)


def test_attributes_are_pyfuse3s() -> None:
    ours = operations(entry_timeout=2.5, attr_timeout=3.5)

    async def work() -> pyfuse3.EntryAttributes:
        return await ours.lookup(ROOT, b"a", CONTEXT)

    found = trio.run(work)
    assert (found.st_size, found.st_blocks, found.st_blksize) == (700, 2, 128 << 10)
    assert (found.st_mode, found.st_uid, found.st_gid, found.st_nlink) == (0o100644, 1000, 100, 1)
    assert (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns) == (1, 2, 3)
    assert (found.entry_timeout, found.attr_timeout) == (2.5, 3.5)
    assert found.st_ino > ROOT


def test_an_error_is_pyfuse3s() -> None:
    ours = operations()

    async def work() -> None:
        assert await errno_of_request(ours.lookup(ROOT, b"b", CONTEXT)) == errno.ENOENT
        assert await errno_of_request(ours.open(ROOT, 0, CONTEXT)) == errno.EISDIR
        assert await errno_of_request(ours.read(77, 0, 1)) == errno.EIO
        assert await errno_of_request(ours.access(ROOT, os.W_OK, CONTEXT)) == errno.EROFS
        assert await errno_of_request(ours.flush(1)) == errno.ENOSYS

    trio.run(work)


CHANGES = "setattr mknod mkdir unlink rmdir symlink rename link create write setxattr removexattr"


@pytest.mark.parametrize("request_", CHANGES.split())
def test_every_change_is_refused(request_: str) -> None:
    handler = getattr(operations(), request_)
    assert trio.run(errno_of_request, handler(ROOT, b"a")) == errno.EROFS


def test_what_is_open_may_stay_in_the_page_cache() -> None:
    ours = operations()

    async def work() -> None:
        inode = (await ours.lookup(ROOT, b"a", CONTEXT)).st_ino
        opened = await ours.open(inode, 0, CONTEXT)
        assert (opened.keep_cache, opened.direct_io) == (True, False)
        assert await ours.read(opened.fh, 690, 100) == b"x" * 10
        await ours.release(opened.fh)
        await ours.forget([(inode, 1)])

    trio.run(work)
    assert "1 known to the kernel, 0 files open" in repr(ours).replace(">", "")
