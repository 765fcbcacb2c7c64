"""Mistakes of ours: told as any other error, once, at the object and at its file."""

import errno
import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from esrffs import errors
from esrffs.fuse.attributes import AttributeOptions
from esrffs.fuse.error_log import ErrorLog
from esrffs.fuse.filesystem import Caller, Filesystem
from esrffs.tree.nodes import Path


@dataclass
class Faulty:
    """A directory of which nothing can be told, as our program is wrong."""

    path: Path
    root: Path = ()
    key: bytes = b"directory"

    async def stat(self) -> object:
        return {}["st_mode"]  # type: ignore[misc]

    async def children(self) -> object:
        raise RuntimeError("dictionary changed size during iteration")

    async def child(self, name: bytes) -> object:
        return await self.children()

    async def open(self) -> object:
        raise AssertionError

    def error_text(self) -> str | None:
        return "a trouble of its own"


async def nothing() -> Any:
    return {}


@pytest.fixture
def operations() -> Filesystem:
    made = Filesystem(Faulty((), (b"elsewhere",)), AttributeOptions(), nothing, nothing)
    for number, path in ((2, (b"a.h5",)), (3, (b"a.h5", b"x"))):
        made.inodes.add_lookup(number, Faulty(path, (b"a.h5",)))
    return made


ROOT_USER = Caller(0, 0, set)


async def code(work: Any) -> int:
    with pytest.raises(errors.EsrffsError) as caught:
        await work
    return caught.value.code


def test_told_once_at_the_object_and_at_its_file(
    operations: Filesystem, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "esrffs")

    async def ask() -> tuple[bytes, bytes, list[str]]:
        for _ in range(45):
            assert await code(operations.getattr(3)) == errno.EIO
            assert await code(operations.lookup(3, b"y")) == errno.EIO
            assert await code(operations.open(3, 0)) == errno.EIO
        own = await operations.getxattr(3, b"user.esrffs.error", ROOT_USER)
        file = await operations.getxattr(2, b"user.esrffs.error", ROOT_USER)
        status = json.loads(await operations.getxattr(1, b"user.esrffs.status", ROOT_USER))
        return own, file, status["errors"]

    own, file, last = trio.run(ask)
    assert own.startswith(b"a trouble of its own\nan internal error, ")
    assert b"internal error" in file
    assert len(last) == len(caplog.records) == 3
    assert "a.h5/x: getattr failed: an internal error, KeyError" in last[0]
    assert "test_error_log.py:" in last[0], "the place in the program"
    assert "please report it" in last[0]


@pytest.mark.parametrize("text", ["short", "long " * 300, "é" * 3000])
def test_the_status_tells_how_many_errors_there_were(text: str) -> None:
    """And the last of them, as many as an extended attribute can hold."""
    log = ErrorLog()
    for number in range(250):
        for _ in range(3):
            log.record(errno.EIO, f"{number} {text}")
    content = log.status({"pid": 7}, errors=True)
    assert len(content) <= 65536
    told = json.loads(content)
    assert (told["pid"], told["error_count"]) == (7, 250)
    numbers = [int(error.split()[0]) for error in told["errors"]]
    assert numbers == list(range(250 - len(numbers), 250))
    assert len(numbers) == 100 if text == "short" else len(numbers) >= 9
    assert json.loads(log.status({"pid": 7}, errors=False)) == {"pid": 7}


def test_while_a_directory_is_read(operations: Filesystem) -> None:
    async def ask() -> bytes:
        number = operations._directories.open(Faulty((b"folder",)))  # type: ignore[arg-type]
        assert await code(operations.readdir(number, 0, None)) == errno.EIO  # type: ignore[arg-type]
        operations.inodes.add_lookup(4, Faulty((b"folder",)))  # type: ignore[arg-type]
        return await operations.getxattr(4, b"user.esrffs.error", ROOT_USER)

    assert b"RuntimeError (dictionary changed size" in trio.run(ask)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files (see `ulimit -n`)"),
        (OSError(errno.EAGAIN, "Resource busy"), "Resource busy (see `ulimit -u`)"),
        (FileNotFoundError(2, "No such file", b"a\xff"), "a\udcff: No such file"),
        (RuntimeError("can't start new thread"), "no thread can be started; see `ulimit -u`"),
        (ExceptionGroup("", [ExceptionGroup("", [EOFError()])]), "it ended at once; memory or"),
        (ImportError("numpy\nfailed to map\n"), "or a damaged installation (failed to map); see"),
        (KeyError("x"), "an internal error, KeyError ('x'); please report it"),
    ],
    ids=repr,
)
def test_what_nobody_has_foreseen_is_a_sentence(error: Exception, text: str) -> None:
    assert text in errors.unforeseen(error)
