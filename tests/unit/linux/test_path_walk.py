"""Following a path: as os.path.realpath and stat(2) do, but without waiting for a mount."""

import errno
import os
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from esrffs.cli.mountpoint import check_mountpoint, make_default_mountpoint
from esrffs.errors import AccessDeniedError, EsrffsError, MountError
from esrffs.formats.hdf5 import links
from esrffs.formats.images.edf import EdfFrames
from esrffs.linux import openat2, path_walk
from esrffs.source.executor import is_remote
from esrffs.source.root import SourceRoot

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
