"""Closes databases that tests leave open: Python 3.13 warns of them, and a warning fails a test."""

import sqlite3
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def closed_databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connect_and_note(*words: object, **options: object) -> sqlite3.Connection:
        opened.append(connect(*words, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_and_note)
    yield
    for connection in opened:
        connection.close()
