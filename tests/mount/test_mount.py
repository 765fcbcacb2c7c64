"""The mount as programs see it: tools, links, status, errors."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of
from tests.support.mounts import Mounted, MountFactory, drop_caches
from tests.support.npy import npy_bytes
from tests.support.one_of_each import one_of_each
from tests.support.programs import wait_for


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return one_of_each(tmp_path)


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=20, **options
    )
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def test_tools_that_walk_end_and_succeed(mount: MountFactory, source: Path, tmp_path: Path) -> None:
    # Yesterday's: rsync sets the time of a link only where it differs by a whole second.
    yesterday = time.time_ns() - 86_400 * 10**9
    os.utime(source / "data.h5", ns=(yesterday, yesterday))
    root = mount(source).path
    found = run("find", root).splitlines()
    assert f"{root}/data.h5/entry/image.npy" in found
    assert len(found) == len(set(found)) < 60
    assert "data.h5" in run("tree", root)
    run("du", "-s", root)
    run("ls", "-laR", root)
    run("cp", "-r", root, tmp_path / "copy")
    run("rsync", "-a", f"{root}/", tmp_path / "synced")
    run("tar", "-cf", tmp_path / "all.tar", "-C", root, ".")
    run("diff", "-r", "--no-dereference", root, tmp_path / "copy")
    run("diff", "-r", "--no-dereference", root, tmp_path / "synced")
    assert "data.h5/entry/image.attrs.json" in run("grep", "-rl", "counts", root)
    run("find", root, "-name", "*.json", "-exec", "jq", "-e", ".", "{}", "+")
    copied = {
        path.name: path.lstat().st_mtime_ns
        for path in (tmp_path / "synced/data.h5/entry").iterdir()
    }
    assert copied == dict.fromkeys(copied, yesterday)


def test_arrays_read_in_every_way(mount: MountFactory, source: Path, tmp_path: Path) -> None:
    entry = mount(source) / "data.h5/entry"
    with h5py.File(source / "data.h5") as file:
        for name in ("image", "stack", "packed"):
            array = file["entry"][name][()]
            shown = entry / f"{name}.npy"
            expected = npy_bytes(array)
            (tmp_path / "saved.npy").write_bytes(expected)
            assert shown.stat().st_size == len(expected)
            assert shown.read_bytes() == expected
            run("cmp", shown, tmp_path / "saved.npy")
            np.testing.assert_array_equal(np.load(shown), array)
            np.testing.assert_array_equal(np.load(shown, mmap_mode="r"), array)
            assert run("tail", "-c", 9, shown, encoding="latin1") == expected[-9:].decode("latin1")
            part = run("dd", f"if={shown}", "bs=7", "skip=11", "count=3", encoding="latin1")
            assert part == expected[77:98].decode("latin1")
    run("cp", "--sparse=always", entry / "packed.npy", tmp_path / "sparse.npy")
    run("cmp", tmp_path / "sparse.npy", entry / "packed.npy")


def test_links(mount: MountFactory, source: Path) -> None:
    entry = mount(source) / "data.h5/entry"
    assert os.readlink(entry / "link.npy") == "image.npy"
    assert os.readlink(entry / "self") == "."
    assert os.readlink(entry / "root") == ".."
    dangling = entry.parent / "dangling"
    assert dangling.is_symlink()
    assert not dangling.exists()


def test_status(mount: MountFactory, source: Path) -> None:
    os.utime(source / "data.h5", ns=(1_000_000_000_000_000_001, 1_000_000_000_000_000_002))
    (source / "data.h5").chmod(0o640)
    (source / "notes.txt").chmod(0o755)
    mounted = mount(source)
    directory = (mounted / "data.h5/entry").stat()
    file = (mounted / "data.h5/entry/stack.npy").stat()
    assert oct(directory.st_mode) == "0o40750"
    assert oct(file.st_mode) == "0o100640"
    assert file.st_mtime_ns == directory.st_mtime_ns == 1_000_000_000_000_000_002
    assert file.st_size == 128 + 3 * 50 * 60 * 2
    assert file.st_blocks == -(-file.st_size // 512)
    assert file.st_blksize >= 4096
    assert file.st_nlink == 1
    assert oct((mounted / "notes.txt").stat().st_mode) == "0o100755"
    space = os.statvfs(mounted.path)
    assert space.f_namemax == 255
    assert space.f_blocks == os.statvfs(source).f_blocks
    assert space.f_bavail > 0, "as `df` of the source shows it"


def test_inode_numbers_agree_and_stay(mount: MountFactory, source: Path) -> None:
    root = mount(source).path

    def numbers() -> dict[str, int]:
        found = {}
        for path, folders, files in os.walk(root):
            with os.scandir(path) as entries:
                for entry in entries:
                    assert entry.inode() == os.lstat(entry.path).st_ino
            found |= {
                f"{path}/{name}": os.lstat(f"{path}/{name}").st_ino for name in folders + files
            }
        return found

    before = numbers()
    assert len(set(before.values())) == len(before)
    drop_caches(2)
    assert numbers() == before


def test_the_kernel_forgets_and_so_do_we(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "many.h5", "w") as file:
        for i in range(2000):
            file[f"{i:04}"] = i
    mounted = mount(source)
    assert len(os.listdir(mounted / "many.h5")) == 2000
    run("ls", "-lR", mounted.path)
    assert mounted.status["inodes"] > 2000

    def forgotten() -> bool:
        drop_caches(3)
        return mounted.status["inodes"] < 50

    wait_for(forgotten)


@pytest.mark.parametrize(
    "name", ["new", "notes.txt", "data.h5", "data.h5/new", "data.h5/entry/image.npy"]
)
def test_nothing_can_be_changed(mount: MountFactory, source: Path, name: str) -> None:
    path = mount(source) / name
    attempts = [
        (os.mkdir, path / "x"),
        (os.mkdir, path),
        (os.rename, path, path.with_name("y")),
        (os.unlink, path),
        (os.rmdir, path),
        (os.symlink, "target", path.with_name("z")),
        (os.link, path, path.with_name("z")),
        (os.truncate, path, 0),
        (os.chmod, path, 0o777),
        (os.utime, path),
        (os.setxattr, path, "user.x", b""),
        (os.open, path, os.O_WRONLY),
        (os.open, path, os.O_RDWR),
        (os.open, path.with_name("z"), os.O_WRONLY | os.O_CREAT),
        (os.mkfifo, path.with_name("z")),
    ]
    expected = {
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
    }
    errors = [errno_of(*attempt) for attempt in attempts]
    assert set(errors) <= expected
    assert errno.EROFS in errors
    if path.is_file():
        assert errors[2] == errors[3] == errors[7] == errors[8] == errors[11] == errno.EROFS


def test_paths_that_are_not_there(mount: MountFactory, source: Path) -> None:
    root = mount(source).path
    assert errno_of(os.stat, root / "data.h5/none") == errno.ENOENT
    assert errno_of(os.stat, root / "data.h5/entry/image.npy/x") == errno.ENOTDIR
    assert errno_of(os.stat, root / ("x" * 256)) == errno.ENAMETOOLONG
    assert errno_of(os.listdir, root / "notes.txt") == errno.ENOTDIR
    assert errno_of(os.open, root / "data.h5", os.O_WRONLY) == errno.EISDIR


def test_rubbish_costs_the_file_that_is_rubbish(mount: MountFactory, source: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("noise.h5", "noise.edf", "noise.dat"):
        (source / name).write_bytes(rng.bytes(5000))
    (source / "empty.h5").touch()
    signature = (source / "data.h5").read_bytes()
    (source / "cut.h5").write_bytes(signature[:600])
    (source / "head.edf").write_text("{\nHeaderID = EH:000001:000000:000000 ;\nDim_1 = x ;\n")
    mounted = mount(source)
    names = set(os.listdir(mounted.path))
    assert {"noise.h5", "empty.h5", "cut.h5", "noise.dat", "data.h5"} <= names
    assert (mounted / "noise.h5").read_bytes() == (source / "noise.h5").read_bytes()
    assert (mounted / "empty.h5").read_bytes() == b""
    assert errno_of(os.listdir, mounted / "cut.h5") == errno.EIO
    text = os.getxattr(mounted / "cut.h5", "user.esrffs.error").decode()
    assert "cut.h5" in text
    assert sum(text in line for line in mounted.warnings) == 1
    np.load(mounted / "data.h5/entry/image.npy")
    mounted.expect("cut.h5", "head.edf", "noise")


def test_many_readers_at_once(mount: MountFactory, source: Path, tmp_path: Path) -> None:
    mounted = mount(source)
    with h5py.File(source / "data.h5") as file:
        expected = npy_bytes(file["entry/packed"][()])
    program = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    shown = mounted / "data.h5/entry/packed.npy"
    readers = [
        subprocess.Popen([sys.executable, "-c", program, shown], stdout=subprocess.PIPE)
        for _ in range(8)
    ]
    assert all(reader.communicate()[0] == expected for reader in readers)


def test_symlinks_of_the_source(mount: MountFactory, source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(source / "data.h5", outside / "far.h5")
    (outside / "round").symlink_to(outside)
    (source / "latest.h5").symlink_to("data.h5")
    (source / "absolute.h5").symlink_to(source / "data.h5")
    (source / "gone.h5").symlink_to("nothing.h5")
    (source / "far.h5").symlink_to(outside / "far.h5")
    (source / "far").symlink_to(outside)
    mounted = mount(source)
    assert os.readlink(mounted / "latest.h5") == "data.h5"
    assert os.readlink(mounted / "absolute.h5") == "data.h5"
    assert os.readlink(mounted / "gone.h5") == "nothing.h5"
    for name in ("latest.h5", "absolute.h5", "far.h5", "far/far.h5"):
        assert np.load(mounted / name / "entry/image.npy").shape == (3, 4)
    assert os.readlink(mounted / "far/round") == "."
    assert len(run("find", mounted.path).splitlines()) < 100


def test_external_links(mount: MountFactory, source: Path, tmp_path: Path) -> None:
    shutil.copy(source / "data.h5", tmp_path / "far.h5")
    with h5py.File(source / "master.h5", "w") as file:
        file["near"] = h5py.ExternalLink("data.h5", "/entry")
        file["dataset"] = h5py.ExternalLink("sub/other.h5", "/entry/image")
        file["far"] = h5py.ExternalLink("../far.h5", "/entry")
        file["missing"] = h5py.ExternalLink("no.h5", "/entry")
    mounted = mount(source)
    master = mounted / "master.h5"
    assert os.readlink(master / "near") == "../data.h5/entry"
    assert os.readlink(master / "dataset.npy") == "../sub/other.h5/entry/image.npy"
    assert not (master / "far").is_symlink()
    assert np.load(master / "far/image.npy").shape == (3, 4)
    assert os.readlink(master / "far/self") == "."
    assert np.load(master / "far/link.npy").shape == (3, 4)
    assert (master / "missing").is_symlink()
    assert not (master / "missing").exists()


def test_names(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "names.h5", "w", track_order=True) as file:
        file["a"] = 1
        file.create_group("a.npy")
        file[".."] = 2
        file["é"] = 3
        file["x" * 300] = 4
        file.create_group("attrs.json")
        file.attrs["of the root"] = 5
        file[b"\xff\xfe"] = 6
    root = mount(source) / "names.h5"
    assert int(np.load(root / "a~1.npy")) == 1
    assert (root / "a.npy").is_dir()
    assert int(np.load(root / "%2E%2E.npy")) == 2
    assert int(np.load(root / "é.npy")) == 3
    assert json.loads((root / "attrs~1.json").read_text()) == {"of the root": 5}
    long = [name for name in os.listdir(root) if name.startswith("xxx")]
    assert [len(name) for name in long] == [255]
    assert int(np.load(root / long[0])) == 4
    with open(os.fsencode(root) + b"/\xff\xfe.npy", "rb") as file:
        assert int(np.load(file)) == 6


def test_sizes_beyond_all_measure(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "huge.h5", "w") as file:
        file.create_dataset("bytes", (1 << 60,), "u1", chunks=(1 << 20,))
        file.create_dataset("doubles", (1 << 60,), "f8", chunks=(1 << 20,))
    mounted = mount(source)
    mounted.expect(r"/doubles: exceeds 2\^63 bytes")
    assert (mounted / "huge.h5/bytes.npy").stat().st_size == (1 << 60) + 128
    with open(mounted / "huge.h5/bytes.npy", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 5, 1 << 59) == bytes(5)
    assert errno_of(os.open, mounted / "huge.h5/doubles.npy", os.O_RDONLY) == errno.EFBIG
    assert b"2^63" in os.getxattr(mounted / "huge.h5/doubles.npy", "user.esrffs.error")


def test_the_mount_point_may_lie_in_the_source(source: Path, tmp_path: Path) -> None:
    inside = source / "mnt"
    mounted = Mounted(source, inside, tmp_path / "log")
    try:
        assert "mnt" not in os.listdir(inside)
        assert errno_of(os.stat, inside / "mnt") == errno.ENOENT
        assert np.load(inside / "data.h5/entry/image.npy").shape == (3, 4)
        mounted.unmount()
    finally:
        mounted.abandon()


def test_hard_links_are_taken_for_what_their_names_say(mount: MountFactory, tmp_path: Path) -> None:
    """Behind a user block HDF5 is looked for in files that are called so."""
    source = tmp_path / "hard"
    source.mkdir()
    with h5py.File(source / "b.h5", "w", userblock_size=8192) as file:
        file["x"] = 1
    os.link(source / "b.h5", source / "a.bin")
    mounted = mount(source)
    for name in ("a.bin", "b.h5", "a.bin"):
        assert (mounted / name).is_dir() == (name == "b.h5")
