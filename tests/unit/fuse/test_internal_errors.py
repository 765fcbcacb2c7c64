"""A mistake of esrffs itself is told at the object and at its data file, as any other error."""

from typing import Any

import pytest

from esrffs.encoders import xattrs
from esrffs.fuse.error_log import ErrorLog
from esrffs.tree.group import GroupDirectory

FILE = (b"folder", b"a.h5")


class NoFiles:
    """A mount in which nothing else went wrong."""

    files: Any = None

    def __init__(self) -> None:
        self.context = self.files = self

    path = "folder/a.h5"

    def last_seen(self, path: str) -> None:
        return None


def directory(*path: bytes) -> GroupDirectory:
    nothing: Any = NoFiles()
    return GroupDirectory(nothing, nothing, path, FILE)


@pytest.mark.parametrize(
    ("path", "told"),
    [((*FILE, b"group"), True), (FILE, True), ((*FILE, b"other"), False)],
)
def test_at_the_object_and_at_the_directory_of_its_file(
    path: tuple[bytes, ...], told: bool
) -> None:
    log = ErrorLog()
    log.note(directory(*FILE, b"group"), "getattr", "an internal error")
    found = log.error_text(directory(*path))
    assert found == ({xattrs.ERROR: b"an internal error"} if told else {})
