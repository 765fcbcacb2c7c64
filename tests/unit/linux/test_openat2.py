"""What may not lead out of a folder: step by step the same as openat2(2) answers."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esrffs.linux import openat2

PLACE = os.O_PATH | os.O_CLOEXEC
LINKS = {
    "in": "a/b",
    "a/up": "..",
    "a/file": "b/deep",
    "a/b/back": "../../a/b/deep",
    "out": "..",
    "a/out": "../../outside/secret",
    "absolute": "/etc/passwd",
    "loop": "loop",
    "one": "two",
    "two": "one",
    "dangling": "nothing/at/all",
    "through": "a/up/a/b/deep",
    "slash": "a/",
    "file_slash": "plain/",
}
STEPS = ["a", "b", "deep", "plain", "closed", "up", "..", ".", "", "nothing", "back", "file"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    place = tmp_path_factory.mktemp("place")
    (place / "outside").mkdir()
    (place / "outside" / "secret").write_text("secret")
    folder = place / "root"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "deep").write_text("deep")
    (folder / "plain").write_text("plain")
    for name, text in LINKS.items():
        (folder / name).symlink_to(text)
    descriptor = os.open(folder, PLACE | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def answer(open_: Callable[[int, str, int], int], root: int, path: str, flags: int) -> object:
    try:
        descriptor = open_(root, path, flags)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    try:
        status = os.fstat(descriptor)
        readable = not flags & os.O_PATH and stat.S_ISREG(status.st_mode)
        return status.st_ino, os.read(descriptor, 100) if readable else b""
    finally:
        os.close(descriptor)


paths = st.lists(st.sampled_from(STEPS + list(LINKS)), min_size=1, max_size=6).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(
    paths.filter(bool), st.sampled_from([PLACE, PLACE | os.O_DIRECTORY, os.O_RDONLY | os.O_CLOEXEC])
)
def test_a_walk_gives_what_the_kernel_gives(root: int, path: str, flags: int) -> None:
    expected = answer(openat2.open_beneath, root, path, flags)
    assert answer(openat2.open_stepwise, root, path, flags) == expected
    open_before = len(os.listdir("/proc/self/fd"))
    answer(openat2.open_stepwise, root, path, flags)
    assert len(os.listdir("/proc/self/fd")) == open_before


@pytest.mark.parametrize("path", ["out", "a/out", "absolute", "../outside/secret", "/etc/passwd"])
def test_out(root: int, path: str) -> None:
    for open_ in (openat2.open_beneath, openat2.open_stepwise):
        assert answer(open_, root, path, os.O_RDONLY) == "EXDEV"


class Refusing:
    """A libc whose kernel lets nobody call openat2(2)."""

    def __init__(self, number: int) -> None:
        self.number = number

    def syscall(self, *_: object) -> int:
        ctypes.set_errno(self.number)
        return -1


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_where_openat2_is_forbidden(
    root: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As RestrictSUIDSGID= of systemd does it; as older containers do."""
    monkeypatch.setattr(openat2, "_libc", Refusing(number))
    assert answer(openat2.open_beneath, root, "in/deep", os.O_RDONLY)[1] == b"deep"
    assert answer(openat2.open_beneath, root, "a/out", os.O_RDONLY) == "EXDEV"
