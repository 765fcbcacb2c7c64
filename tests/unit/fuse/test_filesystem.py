"""`fuse/filesystem`: requests are answered without a mount."""

import errno
import logging
import os
import stat
from typing import Any

import pytest
import trio

from esrffs.encoders import xattrs
from esrffs.errors import AccessDeniedError, DamagedError, StaleError
from esrffs.fuse.attributes import Attributes
from esrffs.fuse.filesystem import Filesystem
from esrffs.fuse.inodes import ROOT
from esrffs.tree.nodes import Symlink
from tests.support.fuse_nodes import DirectoryNode, FileNode, caller, errno_of_request, filesystem

Entry = tuple[bytes, Attributes, int]


def tree(*names: bytes) -> DirectoryNode:
    return DirectoryNode((), [FileNode((name,), name * 3) for name in names])


async def listed(fs: Filesystem, handle: int, start: int = 0, room: int = 1000) -> list[Entry]:
    """The answer to one `readdir` that has room for so many entries."""
    found: list[Entry] = []

    def add(name: bytes, attributes: Attributes, following: int) -> bool:
        if len(found) == room:
            return False
        found.append((name, attributes, following))
        return True

    await fs.readdir(handle, start, add)
    return found


# Inodes


def test_a_node_is_known_until_all_its_lookups_are_forgotten() -> None:
    fs = filesystem(tree(b"a"))

    async def work() -> None:
        inode = (await fs.lookup(ROOT, b"a")).inode
        assert (await fs.lookup(ROOT, b"a")).inode == inode
        fs.forget([(inode, 1)])
        assert (await fs.getattr(inode)).status.size == 3
        fs.forget([(inode, 1)])
        assert await errno_of_request(fs.getattr(inode)) == errno.ESTALE
        assert len(fs.inodes) == 1

    trio.run(work)


def test_a_listing_counts_as_a_lookup_of_each_child_that_had_room() -> None:
    fs = filesystem(tree(b"a", b"b", b"c"))

    async def work() -> list[int]:
        handle = await fs.opendir(ROOT)
        found = await listed(fs, handle, room=4)
        assert [name for name, _, _ in found] == [b".", b"..", b"a", b"b"]
        known = [attributes.inode for _, attributes, _ in found]
        assert known[:2] == [ROOT, ROOT]
        assert len(fs.inodes) == 3, "the root, a and b"
        fs.forget([(inode, 1) for inode in known[2:]])
        return known

    trio.run(work)
    assert len(fs.inodes) == 1, "the kernel holds no references to the dots"


def test_a_file_with_another_key_is_another_inode() -> None:
    root = tree(b"a")
    fs = filesystem(root)

    async def work() -> None:
        before = (await fs.lookup(ROOT, b"a")).inode
        root.members = [FileNode((b"a",), b"new", b"2")]
        assert (await fs.lookup(ROOT, b"a")).inode != before
        assert (await fs.getattr(before)).inode == before, "the kernel may still ask for it"

    trio.run(work)


# Status


def test_a_status_is_told_with_its_timeouts() -> None:
    fs = filesystem(tree(b"a"), entry_timeout=2.0, attr_timeout=3.0, uid=7, fmask=0o077)

    async def work() -> Attributes:
        return await fs.lookup(ROOT, b"a")

    found = trio.run(work)
    assert (found.entry_timeout, found.attr_timeout, found.blocks) == (2.0, 3.0, 1)
    assert (found.status.uid, found.status.gid, found.status.mode) == (7, 100, 0o100600)


def test_the_root_keeps_its_last_status_while_the_source_is_gone() -> None:
    root = tree()
    fs = filesystem(root)

    async def work() -> None:
        root.gone = True
        assert await errno_of_request(fs.getattr(ROOT)) == errno.ENOENT
        root.gone = False
        seen = await fs.getattr(ROOT)
        root.gone = True
        assert await fs.getattr(ROOT) == seen
        assert await errno_of_request(fs.opendir(ROOT)) == errno.ENOENT

    trio.run(work)


@pytest.mark.parametrize("negative_timeout", [0.0, 5.0])
def test_a_name_that_there_is_not(negative_timeout: float) -> None:
    fs = filesystem(tree(b"a"), negative_timeout=negative_timeout)

    async def work() -> None:
        if negative_timeout:
            found = await fs.lookup(ROOT, b"b")
            assert (found.inode, found.entry_timeout) == (0, 5.0)
        else:
            assert await errno_of_request(fs.lookup(ROOT, b"b")) == errno.ENOENT
        assert len(fs.inodes) == 1

    trio.run(work)


# Directories


def test_a_directory_is_read_on_where_the_answer_was_full() -> None:
    names = [b"%03d" % number for number in range(50)]
    root = tree(*names)
    fs = filesystem(root)

    async def work() -> list[bytes]:
        handle = await fs.opendir(ROOT)
        found: list[Entry] = []
        while part := await listed(fs, handle, found[-1][2] if found else 0, room=7):
            found += part
            root.members = root.members[1:]  # what is removed meanwhile moves no other entry
        fs.releasedir(handle)
        assert await errno_of_request(listed(fs, handle, 3)) == errno.EIO, "closed"
        return [name for name, _, _ in found]

    assert trio.run(work) == [b".", b"..", *names]


def test_position_zero_reads_the_directory_anew() -> None:
    root = tree(b"a")
    fs = filesystem(root)

    async def work() -> None:
        handle = await fs.opendir(ROOT)
        assert len(await listed(fs, handle)) == 3
        root.members.append(FileNode((b"b",)))
        assert await listed(fs, handle, 3) == []
        assert [name for name, _, _ in await listed(fs, handle)] == [b".", b"..", b"a", b"b"]

    trio.run(work)


def test_a_child_that_is_gone_is_left_out() -> None:
    root = tree(b"a", b"b", b"c")
    root.members[1].gone = True
    fs = filesystem(root)

    async def work() -> list[bytes]:
        return [name for name, _, _ in await listed(fs, await fs.opendir(ROOT))]

    assert trio.run(work) == [b".", b"..", b"a", b"c"]


# Files


def test_a_file_is_opened_read_and_closed_once() -> None:
    root = tree(b"a")
    fs = filesystem(root)

    async def work() -> None:
        inode = (await fs.lookup(ROOT, b"a")).inode
        one, other = await fs.open(inode, os.O_RDONLY), await fs.open(inode, os.O_RDONLY)
        assert one.handle != other.handle
        assert not one.uncached
        assert await fs.read(one.handle, 1, 10) == b"aa"
        fs.release(one.handle)
        fs.release(one.handle)
        assert await errno_of_request(fs.read(one.handle, 0, 1)) == errno.EIO
        assert await fs.read(other.handle, 0, 1) == b"a"
        fs.release(other.handle)

    trio.run(work)
    assert [handle.closed for handle in root.members[0].handles] == [1, 1]


def test_what_the_kernel_must_not_keep_is_told() -> None:
    root = tree(b"a")
    fs = filesystem(root)

    async def work() -> None:
        inode = (await fs.lookup(ROOT, b"a")).inode
        opened = await root.members[0].open()
        opened.uncached = True

        async def again() -> Any:
            return opened

        root.members[0].open = again
        assert (await fs.open(inode, 0)).uncached

    trio.run(work)


def test_a_file_whose_closing_fails_is_closed_all_the_same() -> None:
    root = tree(b"a")
    fs = filesystem(root)

    async def work() -> None:
        inode = (await fs.lookup(ROOT, b"a")).inode
        handle = (await fs.open(inode, 0)).handle
        root.members[0].handles[0].error = DamagedError("bad")
        fs.release(handle)
        assert "0 files open" in repr(fs)

    trio.run(work)


# Errors


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_APPEND, os.O_CREAT])
def test_nothing_is_opened_for_writing(flags: int, caplog: pytest.LogCaptureFixture) -> None:
    fs = filesystem(tree(b"a"))

    async def work() -> None:
        inode = (await fs.lookup(ROOT, b"a")).inode
        assert await errno_of_request(fs.open(inode, flags)) == errno.EROFS
        assert await errno_of_request(fs.access(os.W_OK)) == errno.EROFS
        await fs.access(os.R_OK)

    trio.run(work)
    assert caplog.records == []


def test_what_a_node_is_not() -> None:
    root = tree(b"a")
    status: Any = os.stat_result([0o777 | stat.S_IFLNK, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    root.members.append(Symlink((b"link",), status, b"a"))
    fs = filesystem(root)

    async def work() -> None:
        file = (await fs.lookup(ROOT, b"a")).inode
        link = (await fs.lookup(ROOT, b"link")).inode
        assert await fs.readlink(link) == b"a"
        assert await errno_of_request(fs.readlink(file)) == errno.EINVAL
        assert await errno_of_request(fs.opendir(file)) == errno.ENOTDIR
        assert await errno_of_request(fs.lookup(file, b"b")) == errno.ENOTDIR
        assert await errno_of_request(fs.open(ROOT, 0)) == errno.EISDIR
        assert await errno_of_request(fs.lookup(ROOT, b"n" * 256)) == errno.ENAMETOOLONG

    trio.run(work)


@pytest.mark.parametrize(
    ("error", "code", "logged"),
    [
        (DamagedError("a: bad"), errno.EIO, "a: bad (EIO)"),
        (AccessDeniedError("a: not for you"), errno.EACCES, "a: not for you (EACCES)"),
        (StaleError("a: rewritten"), errno.ESTALE, None),
        (PermissionError(errno.EPERM, "no"), errno.EPERM, "[Errno 1] no (EPERM)"),
        (OSError("no number"), errno.EIO, "no number (EIO)"),
        (KeyError("x"), errno.EIO, "a: open failed: an internal error, KeyError ('x')"),
    ],
    ids=repr,
)
def test_an_error_is_an_errno_and_one_line_in_the_log(
    error: Exception, code: int, logged: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "esrffs")
    root = tree(b"a")
    root.members[0].error = error
    fs = filesystem(root)

    async def work() -> None:
        inode = (await fs.lookup(ROOT, b"a")).inode
        for _ in range(3):
            assert await errno_of_request(fs.open(inode, 0)) == code

    trio.run(work)
    assert [record.getMessage()[: len(logged or "")] for record in caplog.records] == (
        [logged] if logged else []
    )


# Extended attributes


def test_extended_attributes_and_the_error_among_them() -> None:
    root = tree(b"a")
    root.members[0].values = {b"user.units": b"mm"}
    root.members[0].text = "damaged"
    fs = filesystem(root)

    async def work() -> None:
        inode = (await fs.lookup(ROOT, b"a")).inode
        assert await fs.getxattr(inode, b"user.units", caller()) == b"mm"
        assert await fs.getxattr(inode, xattrs.ERROR, caller()) == b"damaged"
        assert set(await fs.listxattr(inode, caller())) == {xattrs.ERROR, b"user.units"}
        assert await errno_of_request(fs.getxattr(inode, b"user.x", caller())) == errno.ENODATA
        other = fs.getxattr(inode, b"security.selinux", caller())
        assert await errno_of_request(other) == errno.EOPNOTSUPP

    trio.run(work)


@pytest.mark.parametrize(
    ("asker", "seen"),
    [
        (caller(0), True),
        (caller(1000), True),  # the owner
        (caller(os.getuid() + 5000, 5, 100), True),  # by a supplementary group
        (caller(os.getuid() + 5000, 100), True),
        (caller(os.getuid() + 5000, 5), False),
    ],
    ids=repr,
)
def test_who_may_not_read_a_file_sees_no_names_of_its_attributes(asker: Any, seen: bool) -> None:
    root = tree(b"a")
    root.members[0].values = {b"user.units": b"mm", b"user.esrffs.shape": b"3"}
    root.members[0].mode = stat.S_IFREG | 0o640
    fs = filesystem(root)

    async def work() -> set[bytes]:
        inode = (await fs.lookup(ROOT, b"a")).inode
        return set(await fs.listxattr(inode, asker))

    names = trio.run(work)
    assert names == ({b"user.units", b"user.esrffs.shape"} if seen else {b"user.esrffs.shape"})
