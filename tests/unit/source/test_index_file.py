"""`source/index_file`: bounded, shared by several mounts, ours alone, and replaced when damaged."""

import logging
import os
import pwd
import sqlite3
import time
from pathlib import Path

import pytest

from esrffs.source import index_file
from esrffs.source.index_file import FOLDER, NAME, IndexFile, IndexUnusableError, cache_home

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def key(number: int) -> bytes:
    return b"%016d" % number


def database(home: Path) -> Path:
    return home / FOLDER / NAME


def test_values_by_key_in_a_folder_of_our_own(tmp_path: Path) -> None:
    home = tmp_path / "new" / "cache"
    index = IndexFile(str(home))
    index.put({key(1): b"one", key(2): b""})
    index.put({key(1): b"uno"})
    assert index.get([key(1), key(2), key(3)]) == {key(1): b"uno", key(2): b""}
    assert index.get([]) == {}
    assert index.count() == 2
    index.close()
    assert (home / FOLDER).stat().st_mode & 0o777 == 0o700
    assert database(home).stat().st_mode & 0o777 == 0o600
    again = IndexFile(str(home))
    assert again.get([key(1)]) == {key(1): b"uno"}
    again.close()


def test_thousands_of_keys_at_once(tmp_path: Path) -> None:
    index = IndexFile(str(tmp_path))
    entries = {key(number): b"%d" % number for number in range(3000)}
    index.put(entries)
    assert index.get([*entries, key(9999)]) == entries
    index.close()


def test_what_was_used_longest_ago_makes_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 1 << 18
    clock = [1e9]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    index = IndexFile(str(tmp_path), limit)
    index.put({key(0): b"used every day"})
    for number in range(1, 200):
        clock[0] += 90_000
        assert index.get([key(0)])
        index.put({key(number): os.urandom(4000)})
        assert database(tmp_path).stat().st_size <= limit
    assert index.get([key(0)]) == {key(0): b"used every day"}
    assert index.get([key(1)]) == {}
    assert index.get([key(199)])
    index.put({key(number): os.urandom(100_000) for number in range(300, 310)})  # more than fits
    index.put({key(500): b"goes on"})
    assert index.get([key(500)]) == {key(500): b"goes on"}
    index.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"no database" * 1000,
        lambda content: content[: len(content) // 2],
        lambda content: content[:100] + b"\xff" * (len(content) - 100),
        lambda content: content[:4096] + b"\0" * (len(content) - 4096),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_damaged_file_is_replaced_and_told_once(
    tmp_path: Path, damage: object, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    index = IndexFile(str(tmp_path))
    entries = {key(number): os.urandom(50) for number in range(500)}
    index.put(entries)
    if not is_open:
        index.close()
    with database(tmp_path).open("r+b") as file:
        content = damage(file.read())  # type: ignore[operator]
        file.seek(0)
        file.truncate()
        file.write(content)
    with caplog.at_level(logging.WARNING):
        if not is_open:
            index = IndexFile(str(tmp_path))
        found = index.get([*entries])
        assert found.items() <= entries.items()
        index.put({key(7777): b"new"})
        index.put({key(8888): b"newer"})
        assert index.get([key(7777), key(8888)])[key(8888)] == b"newer"
    assert len([line for line in caplog.messages if "damaged" in line]) <= 1
    assert caplog.messages or found == entries or is_open
    index.close()


def test_a_changed_value_is_none(tmp_path: Path) -> None:
    index = IndexFile(str(tmp_path))
    index.put({key(1): b"one", key(2): b"two"})
    other = sqlite3.connect(database(tmp_path))
    with other:
        other.execute("UPDATE entries SET value = ? WHERE key = ?", (b"two", key(1)))
        other.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", ("text", "text", "x", 1))
        other.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key(3), b"x", b"y", "odd"))
    other.close()
    assert index.get([key(1), key(2), key(3)]) == {key(2): b"two"}
    index.close()


def test_another_table_is_no_index(tmp_path: Path) -> None:
    IndexFile(str(tmp_path)).close()
    other = sqlite3.connect(database(tmp_path))
    with other:
        other.execute("DROP TABLE entries")
        other.execute("CREATE TABLE entries (other)")
    other.close()
    index = IndexFile(str(tmp_path))
    index.put({key(1): b"one"})
    index.put({key(1): b"one"})
    assert index.get([key(1)]) == {key(1): b"one"}
    index.close()


def test_another_mount_that_writes_for_long_is_a_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_file, "_WAIT_SECONDS", 0.05)
    index = IndexFile(str(tmp_path))
    index.put({key(1): b"one"})
    other = sqlite3.connect(database(tmp_path), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert index.get([key(1)]) == {}
    index.put({key(2): b"two"})
    other.execute("COMMIT")
    other.close()
    assert index.get([key(1)]) == {key(1): b"one"}
    index.close()


def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(mode=0o755)
    with pytest.raises(IndexUnusableError, match="only you can enter"):
        IndexFile(str(tmp_path))
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / FOLDER).symlink_to("elsewhere")
    with pytest.raises(IndexUnusableError):
        IndexFile(str(tmp_path))
    (tmp_path / FOLDER).unlink()
    (tmp_path / FOLDER).mkdir(mode=0o700)
    (tmp_path / "precious").write_text("precious")
    database(tmp_path).symlink_to("../precious")
    with pytest.raises(IndexUnusableError):
        IndexFile(str(tmp_path))
    assert (tmp_path / "precious").read_text() == "precious"
    database(tmp_path).unlink()
    os.mkfifo(database(tmp_path))
    with pytest.raises(IndexUnusableError):
        IndexFile(str(tmp_path))


@as_root
@pytest.mark.parametrize("what", [".", FOLDER, f"{FOLDER}/{NAME}"])
def test_what_belongs_to_another_user_is_not_used(tmp_path: Path, what: str) -> None:
    IndexFile(str(tmp_path)).close()
    os.chown(tmp_path / what, 12345, 12345)
    with pytest.raises(IndexUnusableError):
        IndexFile(str(tmp_path))


def test_where_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert cache_home({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == "/x"
    assert cache_home({"XDG_CACHE_HOME": "relative", "HOME": ""}) == f"{home}/.cache"
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # sudo may leave HOME as it was
    assert cache_home({"HOME": "/users/somebody"}) == f"{pwd.getpwuid(0).pw_dir}/.cache"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cache_home({"HOME": "/users/somebody"}) == "/users/somebody/.cache"


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", "/proc/nowhere"):
        with pytest.raises(IndexUnusableError):
            IndexFile(str(home))
