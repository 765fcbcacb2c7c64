"""`fuse/error_log`: each error is logged once, and told at its object, its file and the root."""

import errno
import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from esrffs import errors
from esrffs.fuse import error_log
from esrffs.fuse.attributes import AttributeOptions
from esrffs.fuse.error_log import EXPECTED_ERRNOS, MAX_ERROR_CHARS, ErrorLog
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
    return caught.value.errno


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


@pytest.mark.parametrize("code", sorted(EXPECTED_ERRNOS))
def test_an_answer_is_no_warning(code: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "esrffs")
    log = ErrorLog()
    log.record(code, "a.h5: no such object")
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert json.loads(log.status({}, errors=True)) == {"error_count": 0, "errors": []}


def test_a_failure_is_one_line_with_its_errno(caplog: pytest.LogCaptureFixture) -> None:
    log = ErrorLog()
    for _ in range(3):
        log.record(errno.EIO, "a.h5: damaged")
        log.record(errno.EACCES, "b.h5: permission denied")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["a.h5: damaged (EIO)", "b.h5: permission denied (EACCES)"]


def test_a_long_text_is_whole_in_the_log_and_cut_in_the_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = ErrorLog()
    log.record(errno.EIO, "x" * 5000)
    [line] = [record.getMessage() for record in caplog.records]
    assert line == "x" * 5000 + " (EIO)"
    assert json.loads(log.status({}, errors=True))["errors"] == ["x" * MAX_ERROR_CHARS]


def test_texts_that_were_logged_long_ago_are_forgotten(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory is bounded: the oldest may be logged once more."""
    monkeypatch.setattr(error_log, "MAX_LOGGED", 3)
    log = ErrorLog()
    for text in ("a", "b", "c", "d", "d", "b", "a"):
        log.record(errno.EIO, text)
    lines = [record.getMessage()[0] for record in caplog.records]
    assert lines == ["a", "b", "c", "d", "a"]


def test_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_log, "MAX_LOGGED", 2)
    log = ErrorLog()
    nodes: list[Any] = [Faulty((name,)) for name in (b"a", b"b", b"c")]
    for node in nodes:
        log.note(node, "getattr", "an internal error")
    texts = [log.error_text(node).get(b"user.esrffs.error", b"") for node in nodes]
    assert [b"internal" in text for text in texts] == [False, True, True]


def test_an_error_without_an_object_is_one_of_the_root(caplog: pytest.LogCaptureFixture) -> None:
    ErrorLog().note(None, "statfs", "an internal error")
    assert caplog.records[0].getMessage() == "/: statfs failed: an internal error (EIO)"
