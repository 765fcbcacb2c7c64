"""`linux/mountinfo`: lines of the table, and which mounts are ours, asked from several threads."""

import errno
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
