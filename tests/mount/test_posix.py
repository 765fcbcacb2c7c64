"""Reading as POSIX and Linux have it: every way, every errno, directories that hold still."""

import ctypes
import errno
import mmap
import os
import random
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of
from tests.support.marks import needs_fuse
from tests.support.mounts import Mounted, MountFactory
from tests.support.npy import npy_bytes

pytestmark = needs_fuse

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    rng = np.random.default_rng(1)
    with h5py.File(folder / "data.h5", "w") as file:
        file["extent"] = rng.integers(0, 1 << 30, (300, 333))
        packed = rng.integers(0, 99, (300, 1001), dtype="u2")
        file.create_dataset("packed", data=packed, chunks=(17, 200), compression="gzip")
        file["words"] = np.array([f"word {i}" for i in range(5000)], dtype=h5py.string_dtype())
        file["link"] = h5py.SoftLink("/extent")
        file.attrs["title"] = "a title"
    (folder / "passed.bin").write_bytes(rng.bytes(300_001))
    return folder


NAMES = ["data.h5/extent.npy", "data.h5/packed.npy", "data.h5/words.npy", "passed.bin"]


def expected(source: Path, name: str) -> bytes:
    if name == "passed.bin":
        return (source / name).read_bytes()
    with h5py.File(source / "data.h5") as file:
        dataset = file[name.removeprefix("data.h5/").removesuffix(".npy")]
        values = dataset.asstr()[()].astype("U") if dataset.dtype.kind == "O" else dataset[()]
    return npy_bytes(values)


@pytest.mark.parametrize("name", NAMES)
def test_every_way_to_read(mount: MountFactory, source: Path, tmp_path: Path, name: str) -> None:
    whole = expected(source, name)
    shown = mount(source) / name
    size = len(whole)
    chance = random.Random(1)
    with open(shown, "rb", buffering=0) as file:
        descriptor = file.fileno()
        assert os.lseek(descriptor, 0, os.SEEK_END) == size
        assert os.lseek(descriptor, -5, os.SEEK_END) == size - 5
        assert os.read(descriptor, 100) == whole[-5:]
        for _ in range(100):
            offset, count = chance.randrange(size + 5000), chance.choice((1, 7, 4096, 200_000))
            assert os.pread(descriptor, count, offset) == whole[offset : offset + count]
        assert os.pread(descriptor, 10, size) == b""
        assert os.pread(descriptor, 10, 1 << 62) == b""
        assert errno_of(os.pread, descriptor, 10, -1) == errno.EINVAL
        assert errno_of(os.lseek, descriptor, -size - 1, os.SEEK_END) == errno.EINVAL
        buffers = [bytearray(11), bytearray(70_000), bytearray(3)]
        assert os.preadv(descriptor, buffers, 5) == 70_014
        assert b"".join(buffers) == whole[5:70_019]
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == whole
            assert mapped[size // 2 : size // 2 + 99] == whole[size // 2 : size // 2 + 99]
    assert directly(shown, size) == whole
    assert sent(shown, size) == whole
    with open(shown, "rb", buffering=0) as one, open(shown, "rb", buffering=0) as two:
        copy = os.dup(one.fileno())
        assert os.read(copy, 1000) + os.read(one.fileno(), 1000) == whole[:2000]
        assert two.read(10) == whole[:10], "handles have places of their own"
        os.close(copy)
    assert subprocess.run(["cmp", shown, "-"], input=whole, check=False).returncode == 0


def directly(shown: Path, size: int) -> bytes:
    """By O_DIRECT, from aligned memory."""
    buffer = mmap.mmap(-1, 1 << 16)
    descriptor = os.open(shown, os.O_RDONLY | os.O_DIRECT)
    pieces = []
    try:
        for offset in range(0, size, len(buffer)):
            count = os.preadv(descriptor, [buffer], offset)
            pieces.append(buffer[:count])
    finally:
        os.close(descriptor)
    return b"".join(pieces)


def sent(shown: Path, size: int) -> bytes:
    """By sendfile(2)."""
    ours, theirs = socket.socketpair()
    received = bytearray()

    def receive() -> None:
        while piece := theirs.recv(1 << 16):
            received.extend(piece)

    thread = threading.Thread(target=receive)
    thread.start()
    with ours, open(shown, "rb") as file:
        offset = 0
        while offset < size:
            offset += os.sendfile(ours.fileno(), file.fileno(), offset, size - offset)
    thread.join()
    theirs.close()
    return bytes(received)


# Directories


class _Entry(ctypes.Structure):
    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("reclen", ctypes.c_ushort),
        ("type", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    )


_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.restype = ctypes.POINTER(_Entry)
for _name in ("readdir", "closedir", "rewinddir", "telldir"):
    getattr(_libc, _name).argtypes = [ctypes.c_void_p]
_libc.telldir.restype = ctypes.c_long
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Opened:
    """A directory by opendir(3)."""

    def __init__(self, path: Path) -> None:
        self._stream = _libc.opendir(os.fsencode(path))
        assert self._stream

    def next(self) -> tuple[bytes, int, int] | None:
        """Name, inode number and type."""
        entry = _libc.readdir(self._stream)
        return (entry[0].name, entry[0].ino, entry[0].type) if entry else None

    def all(self) -> list[tuple[bytes, int, int]]:
        return list(iter(self.next, None))

    def tell(self) -> int:
        return int(_libc.telldir(self._stream))

    def seek(self, place: int) -> None:
        _libc.seekdir(self._stream, place)

    def rewind(self) -> None:
        _libc.rewinddir(self._stream)

    def close(self) -> None:
        _libc.closedir(self._stream)


def test_a_hundred_thousand_entries_hold_still_under_seekdir(
    mount: MountFactory, source: Path
) -> None:
    count = 100_000
    folder = source / "many"
    folder.mkdir()
    for number in range(count):
        os.close(os.open(folder / f"{number:06}", os.O_CREAT, 0o644))
    directory = Opened(mount(source) / "many")
    names: list[bytes] = []
    places: list[int] = []
    assert directory.next() is not None
    directory.rewind()
    while True:
        places.append(directory.tell())
        entry = directory.next()
        if entry is None:
            break
        names.append(entry[0])
    assert sorted(names) == sorted([b".", b"..", *(b"%06d" % n for n in range(count))])
    chance = random.Random(1)
    for index in [0, 1, 2, count, *(chance.randrange(count) for _ in range(300))]:
        directory.seek(places[index])
        assert directory.tell() == places[index]
        following = [directory.next() for _ in range(5)]
        assert [entry[0] for entry in following if entry] == names[index : index + 5]
    for number in range(0, count, 2):  # what goes meanwhile is not said again, nor anything twice
        os.unlink(folder / f"{number:06}")
    directory.seek(places[50_000])
    rest = [entry[0] for entry in directory.all()]
    assert set(rest) >= {name for name in names[50_000:] if int(name) % 2}
    assert len(rest) == len(set(rest))
    directory.rewind()
    again = [entry[0] for entry in directory.all()]
    assert sorted(again) == sorted([b".", b"..", *(b"%06d" % n for n in range(1, count, 2))])
    directory.close()


def test_types_and_numbers_agree_with_stat(mount: MountFactory, source: Path) -> None:
    (source / "folder").mkdir()
    (source / "folder/symlink").symlink_to("../data.h5")
    root = mount(source).path
    seen = set()
    for path, _, _ in os.walk(root):
        directory = Opened(Path(path))
        for name, inode, kind in directory.all():
            status = os.lstat(os.path.join(os.fsencode(path), name))
            if name not in (b".", b"..") or (path != str(root) and name == b"."):
                assert inode == status.st_ino, name
            assert kind == stat.S_IFMT(status.st_mode) >> 12, name
            seen.add(kind)
        directory.close()
    assert seen == {stat.S_IFDIR >> 12, stat.S_IFREG >> 12, stat.S_IFLNK >> 12}


# What is refused


def opened_for(flags: int) -> Callable[[Path], None]:
    return lambda path: os.close(os.open(path, flags))


CHANGES: dict[str, Callable[[Path], object]] = {
    "open O_WRONLY": opened_for(os.O_WRONLY),
    "open O_RDWR": opened_for(os.O_RDWR),
    "open O_TRUNC": opened_for(os.O_WRONLY | os.O_TRUNC),
    "open O_RDONLY|O_TRUNC": opened_for(os.O_RDONLY | os.O_TRUNC),
    "open O_APPEND": opened_for(os.O_WRONLY | os.O_APPEND),
    "truncate": lambda path: os.truncate(path, 0),
    "unlink": os.unlink,
    "rename": lambda path: os.rename(path, path.with_name("new")),
    "rename over": lambda path: os.rename(path, path.with_name("words.npy")),
    "link": lambda path: os.link(path, path.with_name("new")),
    "chmod": lambda path: os.chmod(path, 0o777),
    "chown": lambda path: os.chown(path, 1, 1),
    "lchown": lambda path: os.lchown(path, 1, 1),
    "utime": os.utime,
    "utime of then": lambda path: os.utime(path, (1, 1)),
    "setxattr": lambda path: os.setxattr(path, "user.x", b"x"),
    "removexattr": lambda path: os.removexattr(path, "user.x"),
    "setfacl": lambda path: os.setxattr(path, "system.posix_acl_access", b"\2\0\0\0"),
}
IN_FOLDERS: dict[str, Callable[[Path], object]] = {
    "create": opened_for(os.O_WRONLY | os.O_CREAT),
    "create to read": opened_for(os.O_RDONLY | os.O_CREAT),
    "create O_EXCL": opened_for(os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "O_TMPFILE": lambda path: os.open(path.parent, os.O_TMPFILE | os.O_RDWR),
    "mkdir": os.mkdir,
    "symlink": lambda path: os.symlink("target", path),
    "mkfifo": os.mkfifo,
    "mknod": lambda path: os.mknod(path, 0o644 | stat.S_IFREG),
    "bind": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}
# The kernel may say, before it asks the mount, that there is no such operation.
_NOT_THERE = {errno.EROFS, errno.EOPNOTSUPP}
OTHERWISE = {"O_TMPFILE": _NOT_THERE, "setfacl": _NOT_THERE}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_change_is_refused(
    mount: MountFactory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = mount(source)
    for name in ("data.h5/extent.npy", "data.h5/attrs.json", "passed.bin"):
        for what, change in CHANGES.items():
            allowed = OTHERWISE.get(what, {errno.EROFS})
            assert errno_of(change, mounted / name) in allowed, f"{what} of {name}"
    for folder in (".", "data.h5"):
        for what, change in IN_FOLDERS.items():
            monkeypatch.chdir(mounted / folder)  # the names of sockets are short
            allowed = OTHERWISE.get(what, {errno.EROFS})
            assert errno_of(change, Path("new")) in allowed, f"{what} in {folder}"
    monkeypatch.chdir("/")
    folder = mounted / "data.h5"
    assert errno_of(os.rmdir, folder) == errno.EROFS
    assert errno_of(os.rename, folder, mounted / "new") == errno.EROFS
    assert errno_of(os.unlink, mounted / "data.h5/link.npy") == errno.EROFS
    assert errno_of(os.unlink, mounted / "none") in {errno.ENOENT, errno.EROFS}
    for what in ("chmod", "utime", "chown", "setxattr", "removexattr"):
        assert errno_of(CHANGES[what], folder) == errno.EROFS, f"{what} of a directory"
    refused_by_descriptor(mounted)


def refused_by_descriptor(mounted: Mounted) -> None:
    """A handle for reading writes nothing."""
    with open(mounted / "passed.bin", "rb", buffering=0) as file:
        descriptor = file.fileno()
        for what, code in {
            "write": errno_of(os.write, descriptor, b"x"),
            "pwrite": errno_of(os.pwrite, descriptor, b"x", 0),
            "fallocate": errno_of(os.posix_fallocate, descriptor, 0, 10),
            "ftruncate": errno_of(os.ftruncate, descriptor, 0),
            "fchmod": errno_of(os.fchmod, descriptor, 0o777),
            "fchown": errno_of(os.fchown, descriptor, 1, 1),
            "futimens": errno_of(os.utime, descriptor),
            "fsetxattr": errno_of(os.setxattr, descriptor, "user.x", b""),
            "map to write": errno_of(mmap.mmap, descriptor, 0),
            "copy_file_range": errno_of(os.copy_file_range, descriptor, descriptor, 10),
        }.items():
            assert code in {errno.EROFS, errno.EBADF, errno.EACCES, errno.EINVAL}, what
        assert os.fsync(descriptor) is None
        assert os.pread(descriptor, 10, 0) == (mounted.source / "passed.bin").read_bytes()[:10]


def test_paths_that_lead_nowhere(mount: MountFactory, source: Path) -> None:
    (source / "loop").symlink_to("pool")
    (source / "pool").symlink_to("loop")
    with h5py.File(source / "data.h5", "a") as file:
        file["ring/a"] = h5py.SoftLink("/ring/b")
        file["ring/b"] = h5py.SoftLink("/ring/a")
    root = mount(source).path
    for name in ("loop", "pool", "loop/x", "data.h5/ring/a", "data.h5/ring/b/x"):
        assert errno_of(os.stat, root / name) == errno.ELOOP, name
    for name in ("passed.bin/x", "data.h5/extent.npy/x", "data.h5/attrs.json/.", "passed.bin/"):
        assert errno_of(os.stat, f"{root}/{name}") == errno.ENOTDIR, name
    for folder in ("", "data.h5/"):
        assert errno_of(os.stat, root / f"{folder}{'x' * 256}") == errno.ENAMETOOLONG
        assert errno_of(os.stat, root / f"{folder}{'x' * 255}") == errno.ENOENT
    assert errno_of(os.stat, f"{root}/{'x/' * 3000}") == errno.ENAMETOOLONG
    assert errno_of(os.listdir, root / "passed.bin") == errno.ENOTDIR
    assert errno_of(os.readlink, root / "passed.bin") == errno.EINVAL
    assert (
        errno_of(opened_for(os.O_RDONLY | os.O_NOFOLLOW), root / "data.h5/link.npy") == errno.ELOOP
    )
    assert errno_of(opened_for(os.O_RDONLY | os.O_DIRECTORY), root / "passed.bin") == errno.ENOTDIR
    with open(root / "passed.bin", "rb") as file:
        assert errno_of(os.listdir, file.fileno()) == errno.ENOTDIR
    descriptor = os.open(root / "data.h5", os.O_RDONLY)
    assert errno_of(os.read, descriptor, 10) == errno.EISDIR
    os.close(descriptor)
