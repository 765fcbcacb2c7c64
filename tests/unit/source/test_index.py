"""`source/index`: what is remembered of which generation, and what ends it."""

import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio

from esrffs.formats.detect import Recognised
from esrffs.limits import Limits
from esrffs.model import DatasetInfo, Generation, GroupInfo, GroupListing
from esrffs.source import index as module
from esrffs.source.index import Index
from esrffs.source.index_file import IndexFile

OLD = Generation(5, 77, 1000, 10**18, 10**18)
LISTING = GroupListing((GroupInfo("g", "/g"), DatasetInfo("x", "/x", (2,), np.dtype("<i4"))))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def during(index: Index, work: Callable[[], Awaitable[object]]) -> object:
    """What `work` gives while the index is at work, which then has written all."""
    results = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(index.run)
            results.append(await work())
            nursery.cancel_scope.cancel()

    trio.run(main)
    return results[0]


def remember(index: Index, *files: tuple[str, Generation]) -> None:
    async def work() -> None:
        for name, generation in files:
            index.remember_recognised(name, generation, Recognised("image", False, b"head"))

    during(index, work)


def known(index: Index, *files: tuple[str, Generation]) -> set[tuple[str, Generation]]:
    found = trio.run(index.recognised, files)
    assert set(found.values()) <= {Recognised("image", False)}
    return set(found)


def test_the_next_mount_knows_the_same_generation_under_the_same_name() -> None:
    remember(Index(), ("a.edf", OLD))
    index = Index()
    others = [
        replace(OLD, **{name: getattr(OLD, name) + 1})
        for name in ("device", "inode", "size", "mtime_ns", "ctime_ns")
    ]
    files = [("a.edf", OLD), ("b.edf", OLD), *(("a.edf", other) for other in others)]
    assert known(index, *files) == {("a.edf", OLD)}
    assert (index.hits, index.misses) == (1, 6)


def test_what_changed_just_now_is_not_remembered() -> None:
    now = time.time_ns()
    files = [
        (name, replace(OLD, **{field: at}))
        for name, field in (("m", "mtime_ns"), ("c", "ctime_ns"))
        for at in (now, now + 10**10)
    ]
    settled = ("old", replace(OLD, mtime_ns=now - 10**10, ctime_ns=now - 10**10))
    remember(Index(), *files, settled)
    assert known(Index(), *files, settled) == {settled}


def test_other_versions_and_other_limits_know_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(Index((Limits(), 512)), ("a", OLD))
    assert known(Index((Limits(), 512)), ("a", OLD))
    assert not known(Index((Limits(json=1), 512)), ("a", OLD))
    monkeypatch.setattr(module, "_versions", lambda: ("another",))
    assert not known(Index((Limits(), 512)), ("a", OLD))


def test_listings_with_what_came_with_them() -> None:
    index = Index()
    whole = replace(LISTING, prefetched={"/g": GroupListing(())})

    async def work() -> None:
        index.remember_listing(b"v1", [OLD], "", whole)
        index.remember_listing(b"v2", [OLD, replace(OLD, mtime_ns=time.time_ns())], "", whole)

    during(index, work)
    assert trio.run(Index().listings, b"v1", ["", "/g", "/h"]) == {
        "": LISTING,
        "/g": GroupListing(()),
    }
    assert trio.run(Index().listings, b"v2", [""]) == {}


def test_an_index_that_is_off_does_nothing(home: Path) -> None:
    index = Index(enabled=False)
    remember(index, ("a", OLD))
    assert known(index, ("a", OLD)) == set()
    assert trio.run(index.status) == {"off": "index=none", "entries": None, "hits": 0, "misses": 0}
    assert list(home.iterdir()) == []


def test_a_local_mount_does_not_even_make_the_folder(home: Path) -> None:
    index = Index()
    assert trio.run(index.status) == {"entries": None, "hits": 0, "misses": 0}
    assert list(home.iterdir()) == []


def test_the_status_counts() -> None:
    index = Index()
    remember(index, ("a", OLD), ("b", OLD))
    assert known(index, ("a", OLD), ("c", OLD))
    assert trio.run(index.status) == {"entries": 2, "hits": 1, "misses": 1}


def test_a_folder_that_cannot_be_used_costs_the_index_alone(home: Path) -> None:
    (home / "esrffs").mkdir(mode=0o755)
    index = Index()
    remember(index, ("a", OLD))
    assert known(index, ("a", OLD)) == set()
    assert "only you can enter" in str(trio.run(index.status)["off"])


def test_a_silent_disk_costs_its_time_limit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    monkeypatch.setattr(IndexFile, "get", lambda *_, **__: end.wait(20))
    index = Index()
    start = time.monotonic()
    try:
        for _ in range(20):
            assert known(index, ("a", OLD)) == set()
        assert time.monotonic() - start < 3
        assert "no answer" in str(trio.run(index.status)["off"])
    finally:
        end.set()


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"[null]", b'["zip", true]', b'["edf", 1]', b'[["image"], true]', b"\x80"]
)
def test_odd_values_are_none(text: bytes) -> None:
    remember(Index(), ("a", OLD))
    file = IndexFile(module.cache_home(module.os.environ))
    index = Index()
    file.put({index._key(("recognised", "a", OLD)): text})
    file.close()
    assert known(index, ("a", OLD)) == set()
