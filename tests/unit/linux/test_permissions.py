"""Which files may be referred to: those that everybody may read who reads what refers to them."""

import stat

import pytest

from esrffs.linux import permissions
from esrffs.model import FileStatus


def status(mode: int, uid: int = 1, gid: int = 1, mtime: int = 0) -> FileStatus:
    return FileStatus(stat.S_IFREG | mode, 1, 1, uid, gid, 0, 0, mtime * 10**9, 0)


@pytest.mark.parametrize(
    ("holder", "other", "may"),
    [
        (status(0o600), status(0o600), True),
        (status(0o644), status(0o600), False),
        (status(0o600), status(0o644), True),
        (status(0o640), status(0o640, gid=2), False),
        (status(0o600), status(0o600, uid=2), False),
        (status(0o644), status(0o644, uid=2, gid=2), True),
        (status(0o644), status(0o604, uid=2), False),
        (status(0o440), status(0o460), True),
    ],
)
def test_who_may_read_one_may_read_the_other(
    holder: FileStatus, other: FileStatus, may: bool
) -> None:
    assert permissions.covers(holder, other) is may


def test_the_narrowest_mode() -> None:
    def mode(*statuses: FileStatus) -> str:
        return oct(stat.S_IMODE(permissions.intersect(statuses).st_mode))

    assert mode(status(0o644)) == "0o644"
    assert mode(status(0o644), status(0o640)) == "0o640"
    assert mode(status(0o644, mtime=1), status(0o640, gid=2)) == "0o600"
    assert mode(status(0o644, mtime=1), status(0o644, uid=2, gid=2)) == "0o444"
    assert mode(status(0o600, mtime=1), status(0o600, uid=2)) == "0o0"
