"""A walk through groups that hold groups, as in the files of an experiment, is fetched ahead."""

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.formats.hdf5.metadata_prefetch import MetadataPrefetch
from esrffs.formats.hdf5.reader import Hdf5Reader


class PageCache:
    """A page cache that has what was asked of the kernel, and nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "posix_fadvise", self._advise)
        monkeypatch.setattr(MetadataPrefetch, "_is_cached", lambda _, offset: self.has(offset))

    def _advise(self, _descriptor: int, offset: int, nbytes: int, _advice: int) -> None:
        self.asked.append((offset, offset + nbytes))

    def has(self, offset: int) -> bool:
        return any(start <= offset < stop for start, stop in self.asked)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Groups of one group each, with data between them that are not to be fetched."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", locking=False) as file:
        groups = [file.create_group(f"g{number:02}") for number in range(30)]
        for group in groups:
            group["large"] = np.zeros(20_000)
            group["inner/x"] = 1
    return path


@pytest.fixture
def reader(path: Path) -> Iterator[Hdf5Reader]:
    made = Hdf5Reader(str(path), None)
    yield made
    made.close()


def inner_objects(path: Path) -> list[int]:
    with h5py.File(path, locking=False) as file:
        return [h5py.h5o.get_info(file[f"g{number:02}/inner/x"].id).addr for number in range(30)]


def test_headers_that_came_with_the_parent_do_not_end_the_walk(
    path: Path, reader: Hdf5Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, inner = PageCache(monkeypatch), inner_objects(path)
    reader.listing("")
    assert not any(map(cache.has, inner))
    for group in ("/g07", "/g07/inner", "/g08"):
        reader.listing(group)
    assert all(map(cache.has, inner[8:10])), "the next groups, with all that is in them"


def test_a_worker_that_has_not_listed_the_parent_knows_what_follows(
    path: Path, reader: Hdf5Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, inner = PageCache(monkeypatch), inner_objects(path)
    for group in ("/g07", "/g07/inner", "/g08", "/g08/inner", "/g09"):
        reader.listing(group)
    assert all(map(cache.has, inner[9:11]))


def test_a_file_that_the_page_cache_has_costs_nothing(
    path: Path, reader: Hdf5Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PageCache(monkeypatch)
    monkeypatch.setattr(MetadataPrefetch, "_is_cached", lambda *_: True)
    for group in ("", "/g07", "/g08", "/g08/inner"):
        reader.listing(group)
    assert cache.asked == []
