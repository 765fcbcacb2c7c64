"""Several groups in one answer of a reader: in the order of the file, and not without end."""

import os
from pathlib import Path

import pytest

from esrffs.model import Generation
from esrffs.workers import protocol, server
from tests.support.many_groups import many_groups


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return many_groups(tmp_path)


def subject(path: Path) -> protocol.ReaderSpec:
    generation = Generation.of(os.stat(path))
    return protocol.ReaderSpec((str(path),), (generation,), "hdf5", series=False, boundary=None)


def test_what_comes_next_is_read_in_order_and_without_end(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PREFETCH_SECONDS", 10.0)
    path = subject(source / "many.h5")
    following = [f"/{k:02}" for k in range(30, 60)]
    found = list(server.list_groups(path, "/29", following, True))
    assert found[:3] == ["/29", "/29/below", "/30"]
    assert found[-1] == "/59/below"
    assert len(found) == 31 * 2 + 1  # the circle once
    shallow = server.list_groups(path, "/29", following[:2], False)
    assert list(shallow) == ["/29", "/30", "/31"]
    monkeypatch.setattr(server, "PREFETCH_MEMBERS", 5)
    assert len(server.list_groups(path, "/29", following, True)) < 5


def test_one_that_fails_ends_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PREFETCH_SECONDS", 10.0)
    path = subject(source / "many.h5")
    assert list(server.list_groups(path, "/29", ["/30", "/none", "/31"], True)) == [
        *("/29", "/29/below", "/30", "/30/below", "/30/below/circle")
    ]
