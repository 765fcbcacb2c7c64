"""`linux/mountinfo`: lines of the table, and which mounts are ours, asked from several threads."""

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from esrffs.linux import mountinfo
from esrffs.linux.mountinfo import TYPE, Mount, OwnMounts


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


LINE = (
    b"412 29 0:57 / %s rw,nosuid,nodev,relatime shared:5 master:1 - fuse.esrffs %s "
    b"rw,user_id=1000,group_id=100,default_permissions\n"
)


def test_a_line_of_the_table() -> None:
    [found] = mountinfo._parsed([LINE % (b"/data/mnt", b"/data/source")])
    assert found.id == 412
    assert (found.target, found.type, found.device) == ("/data/mnt", TYPE, "0:57")
    assert (found.source, found.user, found.group) == ("/data/source", 1000, 100)


def test_a_line_without_optional_fields() -> None:
    line = b"25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro\n"
    [found] = mountinfo._parsed([line])
    assert (found.target, found.type, found.device_name) == ("/", "ext4", "/dev/sda1")
    assert (found.user, found.group) == (None, None)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (rb"/a\040b", "/a b"),
        (rb"/tab\011and\012newline", "/tab\tand\nnewline"),
        (rb"/back\134slash", "/back\\slash"),
        (rb"/\134040", r"/\040"),
        (b"/caf\xc3\xa9\xff", "/caf\xe9\udcff"),
    ],
)
def test_names_are_spelled_as_the_kernel_does(target: bytes, path: str) -> None:
    [found] = mountinfo._parsed([LINE % (target, b"x")])
    assert found.target == path


@pytest.mark.parametrize(
    ("device", "source"), [(b"/a%20b%2Cc", "/a b,c"), (b"/caf%C3%A9%FF", "/caf\xe9\udcff")]
)
def test_the_source_is_unquoted(device: bytes, source: str) -> None:
    [found] = mountinfo._parsed([LINE % (b"/mnt", device)])
    assert found.source == source


def test_the_table_of_this_machine_has_its_root() -> None:
    found = list(mountinfo.mounts())
    assert "/" in {mount.target for mount in found}
    assert all(":" in mount.device for mount in found)


def test_the_mount_of_a_descriptor() -> None:
    descriptor = os.open("/proc/self", os.O_PATH)
    try:
        number = mountinfo.mount_id(descriptor)
    finally:
        os.close(descriptor)
    assert number in {mount.id for mount in mountinfo.mounts() if mount.type == "proc"}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnMounts]:
    """Of a machine with two mounts of esrffs and others."""
    table = [
        Mount("/data/mnt", TYPE, "/data/source", "0:57", 7),
        Mount("/data/other", "ext4", "/dev/sda1", "8:1", 8),
        Mount("/data/deep/mnt", TYPE, "/", "0:58", 9),
    ]
    monkeypatch.setattr(mountinfo, "mounts", lambda: iter(table))
    found = OwnMounts()
    yield found
    found.forget()


def test_what_lies_in_a_mount_of_ours(own: OwnMounts) -> None:
    for path in ("/data/mnt", "/data/mnt/a.h5/x.npy", "/data/deep/mnt"):
        assert own.cover(path), path
    for path in ("/data", "/data/mnt2", "/data/other/x", "/data/deep", "/"):
        assert not own.cover(path), path


def test_mount_points_in_a_folder(own: OwnMounts) -> None:
    assert own.within("/data") == {"mnt"}
    assert own.within("/data/deep") == {"mnt"}
    assert own.within("/data/mnt") == frozenset()


def test_a_descriptor_outside_of_all_mounts_of_ours(own: OwnMounts) -> None:
    descriptor = os.open("/", os.O_PATH)
    try:
        assert not own.holds(descriptor) or mountinfo.mount_id(descriptor) in {7, 9}
    finally:
        os.close(descriptor)
