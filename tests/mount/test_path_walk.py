"""Following a path: as os.path.realpath and stat(2) do, but never into a mount of esrffs."""

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.cli.mountpoint import check_mountpoint, make_default_mountpoint
from esrffs.errors import AccessDeniedError, EsrffsError, MountError, OwnMountError
from esrffs.formats.hdf5 import links
from esrffs.formats.images.edf import EdfFrames
from esrffs.linux import mountinfo, openat2, path_walk
from esrffs.linux.mountinfo import OWN, TYPE, Mount, OwnMounts
from esrffs.source.executor import is_remote
from esrffs.source.root import SourceRoot
from tests.support.marks import as_root, needs_fuse
from tests.support.mounts import Mounted, MountFactory
from tests.support.programs import esrffs, run, wait_for

LINKS = {
    "in": "a/b",
    "a/up": "..",
    "a/b/deep": "../../plain",
    "absolute": "{root}/a/b",
    "loop": "loop",
    "one": "two",
    "two": "one",
    "dangling": "nothing/at/../all",
    "through": "a/up/a/b/deep",
    "slash": "a/",
    "etc": "/etc/passwd",
    "out": "../../..",
    "long": "/" + "x" * 300,
}
STEPS = ["", ".", "..", "a", "b", "plain", "nothing", *LINKS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "plain").write_text("plain")
    for name, text in LINKS.items():
        (tmp_path / name).symlink_to(text.format(root=tmp_path))
    return tmp_path


def answer(look: object, *arguments: object) -> object:
    try:
        found = look(*arguments)  # type: ignore[operator]
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return found if isinstance(found, str) else (found.st_dev, found.st_ino)


def test_as_the_kernel_does(root: Path) -> None:
    for steps in product(STEPS, ("", "..", "b", "deep"), STEPS):
        path = os.path.join(root, *steps)
        told = answer(os.stat, path)
        assert answer(path_walk.status, path) == told, path
        if not isinstance(told, str):
            assert path_walk.resolve(path) == os.path.realpath(path, strict=True)


def test_what_is_not_there_is_told_as_realpath_tells_it(root: Path) -> None:
    for path in ("nothing", "dangling", "a/nothing/x/../y", "in/nothing", "a/../nothing/./x"):
        whole = os.path.join(root, path)
        assert path_walk.resolve(whole) == os.path.realpath(whole)


def test_no_descriptor_stays_open(root: Path) -> None:
    path_walk.resolve(str(root / "through"))
    before = len(os.listdir("/proc/self/fd"))
    for name in LINKS:
        answer(path_walk.status, str(root / name))
        answer(path_walk.resolve, str(root / name / "x"))
    os.close(path_walk.open_from(str(root), "a/b/deep", os.O_RDONLY))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("up", [100, 2000])
def test_links_that_lead_up_and_down_hold_no_descriptors(tmp_path: Path, up: int) -> None:
    """Each step down is left again: only the last is open; and there is an end of steps."""
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    for number in range(20):
        (folder / f"link{number}").symlink_to("a/../" * (up // 20) + f"link{number + 1}")
    (folder / "link20").touch()
    root = os.open(folder, os.O_PATH)
    spare = os.dup(root)
    os.close(spare)
    numbers = []

    def opened(name: str, at: int) -> int:
        numbers.append(real(name, at))
        return numbers[-1]

    real = openat2.open_step
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(path_walk, "open_step", opened)
            patch.setattr(openat2, "open_step", opened)
            assert path_walk.resolve(str(folder / "link0")) == str(folder / "link20")
            os.close(openat2.open_stepwise(root, "link0", os.O_RDONLY))
        assert len(numbers) > 2 * up
        assert max(numbers) < spare + len(folder.parts) + 8
    finally:
        os.close(root)


def test_a_walk_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(20):
        (tmp_path / f"link{number}").symlink_to("a/../" * 200 + f"link{number + 1}")
    (tmp_path / "link20").touch()
    root = os.open(tmp_path, os.O_PATH)
    before = len(os.listdir("/proc/self/fd"))
    try:
        for look in (path_walk.resolve, path_walk.status):
            assert answer(look, str(tmp_path / "link0")) == "ELOOP"
        assert answer(openat2.open_stepwise, root, "link0", os.O_RDONLY) == "ELOOP"
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        os.close(root)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_what_cannot_be_looked_at_is_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A link out of a folder, as long as it cannot be read, must not count as what it is called."""

    def failing(name: str, at: int) -> int:
        if name == "b":
            raise OSError(number, os.strerror(number))
        return real(name, at)

    folders = SourceRoot(str(root), confined=True)
    entry = folders._one("", "in")
    real = path_walk.open_step
    monkeypatch.setattr(path_walk, "open_step", failing)
    code = errno.errorcode[number]
    for path in ("a/b", "a/b/deep", "in", "a/b/nothing"):
        whole = str(root / path)
        assert answer(path_walk.resolve, whole) == code
        assert answer(path_walk.status, whole) == code
        assert folders.path_inside(whole) is None
        assert not links.allowed(whole, str(root))
        assert is_remote(whole), "it may wait for a server, for all that is known"
    assert answer(path_walk.find_esrffs_mount, str(root / "a/b")) == code
    assert folders._followed(entry) == entry
    with pytest.raises(EsrffsError, match=os.strerror(number)):
        SourceRoot(str(root / "in"))
    (root / "data.edf").touch()
    frames = EdfFrames.__new__(EdfFrames)
    frames._path, frames._confine = str(root / "data.edf"), str(root)
    with pytest.raises(EsrffsError, match=os.strerror(number)):
        frames._permitted(str(root / "a/b/deep"))
    for work in (make_default_mountpoint, partial(check_mountpoint, source="/", shared=False)):
        with pytest.raises(MountError):
            work(str(root / "a/b/x"))


def test_the_source_is_where_it_was_not_where_a_link_in_its_place_leads(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    source = tmp_path / "source"
    source.symlink_to("/")
    frames = EdfFrames.__new__(EdfFrames)
    frames._path, frames._confine = str(source / "data.edf"), str(source)
    with pytest.raises(AccessDeniedError, match="outside the source"):
        frames._permitted(str(tmp_path / "secret"))
    assert not links.allowed(str(tmp_path / "secret"), str(source))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Its mount will be at `mnt0` beside it."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "notes.txt").write_text("hi")
    return folder


def links_into(folder: Path, mountpoint: Path) -> dict[str, str]:
    """Links of all kinds into a mount: by name, as they are to be shown."""
    texts = {}
    for name in ("notes.txt", "nothing", "sub", "", "sub/../notes.txt"):
        for kind, start in (("relative", f"../{mountpoint.name}"), ("absolute", str(mountpoint))):
            texts[f"{kind} {name.replace('/', '%')}"] = f"{start}/{name}"
    texts |= {"hop": "relative notes.txt", "hops": "hop", "back": "relative /../source"}
    for name, text in texts.items():
        (folder / name).symlink_to(text)
    return texts


def in_time(*words: object) -> subprocess.CompletedProcess[str]:
    """A program that looks into a mount: a daemon that waited for itself would not let it end."""
    done = run("timeout", "-s", "KILL", "60", *words)
    assert done.returncode != 137, "still waiting"
    return done


@needs_fuse
@pytest.mark.parametrize("options", [(), ("-o", "allow_other")], ids=["private", "shared"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_links_into_the_own_mount_stay_links(
    mount: MountFactory, source: Path, before: bool, options: tuple[str, ...]
) -> None:
    mountpoint = source.parent / "mnt0"
    texts = links_into(source, mountpoint) if before else {}
    mounted = mount(source, *options)
    texts = texts or links_into(source, mountpoint)
    wait_for(lambda: len(in_time("ls", mounted.path).stdout.splitlines()) == len(texts) + 2)
    for name, text in texts.items():
        assert in_time("readlink", mounted / name).stdout == f"{text}\n"
    assert in_time("cat", mounted / "hops").stdout == "hi", "the kernel of who looks follows it"
    assert mounted.status["errors"] == []


@needs_fuse
def test_two_mounts_whose_sources_lead_into_each_other(mount: MountFactory, source: Path) -> None:
    other = source.parent / "other"
    other.mkdir()
    (other / "notes.txt").write_text("other")
    (source / "there").symlink_to("../mnt1/notes.txt")
    (other / "there").symlink_to("../mnt0/there")
    (source / "round").symlink_to("../mnt1/round")
    (other / "round").symlink_to("../mnt0/round")
    first, second = mount(source), mount(other)
    for mounted in (first, second):
        assert {"there", "round"} <= set(in_time("ls", mounted.path).stdout.split())
        assert in_time("cat", mounted / "there").stdout == "other"
        assert "Too many levels" in in_time("cat", mounted / "round").stderr


@needs_fuse
@as_root
def test_a_mount_that_is_bound_into_its_own_source(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    run("mount", "--bind", mounted.path, source / "sub")
    try:
        (source / "link").symlink_to("sub/notes.txt")
        wait_for(lambda: in_time("ls", mounted.path).stdout.split() == ["link", "notes.txt"])
        assert in_time("ls", mounted / "sub").returncode != 0
        assert in_time("ls", mounted / "sub/sub").returncode != 0
    finally:
        mounted.expect("never follows")
        run("umount", source / "sub")
    wait_for(lambda: "sub" in os.listdir(mounted.path))


def in_files(mountpoint: Path, path: Path) -> None:
    """Everything of HDF5 that can name another file: each names one in the mount."""
    with h5py.File(path, "w") as file:
        file["sound"] = np.arange(5)
        for number, name in enumerate(
            ("../mnt0/a.h5", f"{mountpoint}/a.h5", "../mnt0/raw", "link")
        ):
            file[f"external{number}"] = h5py.ExternalLink(name, "/sound")
            file[f"soft{number}"] = h5py.SoftLink(f"/external{number}")
            layout = h5py.VirtualLayout((5,), "i8")
            layout[:] = h5py.VirtualSource(name, "sound", (5,))
            file.create_virtual_dataset(f"virtual{number}", layout)
            file.create_dataset(f"raw{number}", (4,), "u1", external=[(name, 0, 4)])


@needs_fuse
def test_links_in_data_files_that_lead_into_the_own_mount(
    mount: MountFactory, source: Path
) -> None:
    (source / "raw").write_bytes(b"1234")
    (source / "link").symlink_to("../mnt0/raw")
    in_files(source.parent / "mnt0", source / "a.h5")
    mounted: Mounted = mount(source)
    mounted.expect("never follows")
    names = in_time("ls", mounted / "a.h5").stdout.split()
    assert len(names) == 4 * 4 + 1
    assert np.load(mounted / "a.h5/sound.npy").tolist() == [0, 1, 2, 3, 4]
    for name in set(names) - {"sound.npy"}:
        done = in_time("cat", mounted / "a.h5" / name)
        assert "Permission denied" in done.stderr, name
        told = os.getxattr(mounted / "a.h5" / name, "user.esrffs.error").decode()
        assert "leads into a mount of esrffs" in told


@needs_fuse
def test_which_mounts_are_ours_is_known_at_once(mount: MountFactory, source: Path) -> None:
    path = str(source.parent / "mnt0")
    assert not OWN.cover(path)
    mounted = mount(source)
    assert OWN.cover(path)
    assert OWN.cover(path + "/sub")
    assert not OWN.cover(path + "x")
    assert OWN.within(str(source.parent)) == {"mnt0"}
    for look in (path_walk.resolve, path_walk.status):
        for name in ("", "/sub", "/nothing", "/../mnt0/sub"):
            with pytest.raises(OwnMountError, match="never follows"):
                look(path + name)
    found = path_walk.find_esrffs_mount(path)
    assert found is not None
    assert (found.source, found.user) == (str(source), os.geteuid())
    assert path_walk.find_esrffs_mount(path + "/sub") is None
    assert issubclass(OwnMountError, AccessDeniedError)
    run("umount", "-l", mounted.path)
    wait_for(lambda: mounted.process.poll() is not None)
    assert not OWN.cover(path)


@needs_fuse
@pytest.mark.parametrize("where", ["itself", "by a link", "by a bind mount"])
def test_a_folder_is_not_mounted_on_itself(tmp_path: Path, where: str) -> None:
    """An empty one: of others it would be said that they are not empty."""
    folder, other = tmp_path / "empty", tmp_path / "other"
    folder.mkdir()
    if where == "by a link":
        other.symlink_to(folder)
    elif where == "by a bind mount":
        other.mkdir()
        if run("mount", "--bind", folder, other).returncode:
            pytest.skip("only root can bind a folder elsewhere")
    try:
        done = esrffs(folder, folder if where == "itself" else other)
    finally:
        run("umount", other)
    assert done.returncode == 1
    assert "cannot be mounted on itself" in done.stderr


@needs_fuse
def test_neither_source_nor_mount_point_in_a_mount(mount: MountFactory, source: Path) -> None:
    mounted = mount(source)
    (source.parent / "empty").mkdir()
    for path in (mounted.path, mounted / "sub"):
        done = esrffs(path, source.parent / "empty")
        assert (done.returncode, "lies in a mount of esrffs" in done.stderr) == (2, True)
    done = esrffs(source, mounted / "sub")
    assert (done.returncode, "lies in a mount of esrffs" in done.stderr) == (1, True)


def test_threads_may_ask_at_once_what_is_mounted() -> None:
    """poll(2) objects of Python refuse a second thread."""
    own, failures = OwnMounts(), []

    def ask() -> None:
        for _ in range(300):
            try:
                own.cover("/nowhere")
            except RuntimeError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own.forget()
    assert failures == []


class Restless:
    """A table that has changed whenever it is asked for."""

    def register(self, *_: object) -> None: ...

    def poll(self, _: int) -> list[int]:
        return [1]


def test_a_table_that_always_changes_is_read_once_for_each_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, read = OwnMounts(), []

    def table() -> Iterator[Mount]:
        read.append(1)
        assert len(read) < 100, "it is read for ever"
        return iter([Mount("/there", TYPE, "", "", len(read))])

    monkeypatch.setattr(mountinfo, "mounts", table)
    monkeypatch.setattr(own, "_changes", Restless())
    for number in range(1, 4):
        assert own.cover("/there/x")
        assert len(read) == number
    own.forget()


def test_a_table_that_could_not_be_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its change was told, and will not be told again."""
    own = OwnMounts()
    own.cover("/there")

    def fails() -> Iterator[Mount]:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(own, "_changes", Restless())
        patch.setattr(mountinfo, "mounts", fails)
        with pytest.raises(OSError, match="too many"):
            own.cover("/there")
    with monkeypatch.context() as patch:
        patch.setattr(mountinfo, "mounts", lambda: iter([Mount("/there", TYPE, "", "")]))
        assert own.cover("/there")
    own.forget()
