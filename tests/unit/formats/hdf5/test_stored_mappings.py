"""Mappings of virtual datasets, as they stand in the file, are those that libhdf5 tells."""

import math
import random
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from esrffs.formats import budget
from esrffs.formats.hdf5 import object_header
from esrffs.formats.hdf5 import stored_mappings as module
from esrffs.formats.hdf5.links import FileSet
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.formats.hdf5.stored_mappings import stored_mappings
from esrffs.formats.hdf5.weighted_dict import WeightedDict
from esrffs.model import BrokenInfo, DatasetInfo
from tests.support.reader_contract import whole

VERSIONS = ["earliest", "v110", ("v110", "v112"), "latest"]


def mapped(plist: h5p.PropDCID, shape: tuple[int, ...], count: int, random_: random.Random) -> None:
    """Adds mappings of many sorts to the properties of a dataset."""
    rank = len(shape)
    far = random_.choice([0, 1 << 33])  # beyond 32 bits, numbers are written otherwise
    for number in range(count):
        target = h5s.create_simple(shape)
        start = (number * 4, *[0] * (rank - 1))
        if random_.random() < 0.3:
            target.select_hyperslab(start, (2, *[1] * (rank - 1)), (2, *[6] * (rank - 1)))
        else:
            target.select_hyperslab(start, (1,) * rank, None, (2, *shape[1:]))
        points = target.get_select_npoints()
        source = h5s.create_simple((points,))
        if random_.random() < 0.7:
            source = h5s.create_simple((far + 200_000,))
            source.select_hyperslab((far + number,), (points,))
        file = random_.choice([b"source.h5", b".", b"s%d.h5" % number, b"a%%b.h5"])
        name = random_.choice([b"d", b"/entry/data/number", b"/entry/%03d/a long name" % number])
        plist.set_virtual(target, file, name, source)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_they_are_what_the_library_tells(tmp_path: Path, version: object) -> None:
    random_ = random.Random(str(version))
    understood = 0
    for case in range(40):
        count, rank = random_.choice([1, 3, 40]), random_.choice([1, 2, 3])
        shape = (count * 4 + 5, *[6] * (rank - 1))
        plist = h5p.create(h5p.DATASET_CREATE)
        mapped(plist, shape, count, random_)
        path = tmp_path / f"{case}.h5"
        with h5py.File(path, "w", libver=version) as file:
            made = h5d.create(file.id, b"v", h5t.STD_U16LE, h5s.create_simple(shape), plist)
            for number in range(random_.choice([0, 3, 9])):
                h5py.Dataset(made).attrs[f"a{number}"] = np.arange(30)
        files = FileSet(str(path), None)
        dataset = h5d.open(files.main.id, b"v")
        stored = stored_mappings(files.main, dataset)
        if stored is not None:
            understood += 1
            check(stored, dataset.get_create_plist(), shape, random_)
        files.close()
    assert understood > (30 if version == "latest" else 4)


def check(stored, told: h5p.PropDCID, shape: tuple[int, ...], random_: random.Random) -> None:
    start = tuple(random_.randrange(n) for n in shape)
    stop = tuple(random_.randrange(a, n) + 1 for a, n in zip(start, shape, strict=True))
    count = tuple(b - a for a, b in zip(start, stop, strict=True))
    rows, meeting = list(stored.rows()), list(stored.rows(start, stop))
    assert len(rows) == len(stored) == told.get_virtual_count()
    for number, row in enumerate(rows):
        file, name, virtual, source = row
        assert file == told.get_virtual_filename(number).encode()
        assert name == told.get_virtual_dsetname(number).encode()
        target, taken = told.get_virtual_vspace(number), told.get_virtual_srcspace(number)
        for ours, theirs in ((virtual, target), (source, taken)):
            assert ours.get_select_type() == theirs.get_select_type()
            if ours.get_select_type() == h5s.SEL_HYPERSLABS:
                assert ours.get_regular_hyperslab() == theirs.get_regular_hyperslab()
                assert ours.get_select_npoints() == theirs.get_select_npoints()
                assert ours.get_select_bounds() == theirs.get_select_bounds()
        both = [space.copy() for space in (virtual, target)]
        for space in both:
            space.select_hyperslab(start, count, op=h5s.SELECT_AND)
        assert both[0].get_select_npoints() == both[1].get_select_npoints()
        assert row in meeting or both[1].get_select_npoints() == 0


def test_other_datasets_have_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file["plain"] = np.arange(3)
        file.create_dataset("chunked", (9,), "f4", chunks=(3,))
        file.create_dataset("empty", (9,), "f4")
    files = FileSet(str(tmp_path / "a.h5"), None)
    for name in (b"plain", b"chunked", b"empty"):
        assert stored_mappings(files.main, h5d.open(files.main.id, name)) is None
    files.close()


def alternating(path: Path, count: int, datasets: int) -> None:
    """Mappings no two neighbours of which are written alike: their names are of two lengths."""
    plist = h5p.create(h5p.DATASET_CREATE)
    target, source = h5s.create_simple((count,)), h5s.create_simple((1,))
    for number in range(count):
        target.select_hyperslab((number,), (1,))
        plist.set_virtual(target, b"source.h5", b"d" * (1 + number % 2), source)
    with h5py.File(path, "w") as file:
        for number in range(datasets):
            h5d.create(file.id, b"v%02d" % number, h5t.STD_U8LE, target, plist)


def test_alternating_mappings_are_looked_at_twice_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 500
    alternating(tmp_path / "a.h5", count, 1)
    looked: list[int] = []
    real = module._same

    def same(entries: np.ndarray, *words: object) -> np.ndarray:
        looked.append(len(entries))
        return real(entries, *words)

    monkeypatch.setattr(module, "_same", same)
    files = FileSet(str(tmp_path / "a.h5"), None)
    stored = stored_mappings(files.main, h5d.open(files.main.id, b"v00"))
    assert stored is not None
    assert list(stored.names) == count // 2 * [b"d", b"dd"]
    assert sum(looked) < 2 * count
    files.close()


def test_mappings_without_number_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alternating(tmp_path / "a.h5", 200, 1)
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    now = iter(range(10_000))
    monkeypatch.setattr(budget.time, "monotonic", lambda: float(next(now)))
    budget.begin(100)
    try:
        (found,) = reader.listing("").members
    finally:
        budget.begin(math.inf)
    assert isinstance(found, BrokenInfo)
    assert "time_limit" in found.reason


def test_a_heap_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objects of several datasets lie in one: each walk is as long as it is large."""
    alternating(tmp_path / "a.h5", 4, 20)
    walked: list[int] = []
    real = object_header._heap_objects

    def walk(raw: int, address: int) -> object:
        walked.append(address)
        return real(raw, address)

    monkeypatch.setattr(object_header, "_heap_objects", walk)
    files = FileSet(str(tmp_path / "a.h5"), None)
    for number in range(20):
        stored = stored_mappings(files.main, h5d.open(files.main.id, b"v%02d" % number))
        assert stored is not None
        assert len(stored) == 4
    assert len(walked) == len(set(walked)) < 20
    files.close()


def test_what_is_too_much_is_forgotten_in_its_order() -> None:
    known = WeightedDict[str](10)
    for address in range(1000):
        known.put(address, str(address), 1)
    assert [address for address in range(1000) if address in known] == [*range(990, 1000)]
    assert known[995] == "995"
    known.put(1, "heavy", 8)
    assert [address for address in range(1000) if address in known] == [1, 998, 999]
    known.put(2, "too heavy", 50)
    assert 2 in known
    known.put(3, "light", 1)
    assert len(known) == 1


def test_a_mapping_that_ends_beyond_all_numbers_meets_every_box() -> None:
    """Its last element has no 64-bit number: it is for the library to say what it means."""
    slabs = np.array([[[0], [1 << 40], [1 << 25], [1]], [[9], [1], [1], [1]]], np.uint64)
    assert list(module._meeting(slabs, (5,), (6,))) == [0, 1]
    assert list(module._meeting(slabs[1:], (5,), (6,))) == []


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_many_small_mappings(tmp_path: Path, version: str) -> None:
    """Processor time that is bounded loosely: libhdf5 by itself takes fifty times as much."""
    count, rows = 2500, 12
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["d"] = np.arange(count * 4, dtype="<u2").reshape(count, 4)
    plist = h5p.create(h5p.DATASET_CREATE)
    target, source = h5s.create_simple((count, 4)), h5s.create_simple((count, 4))
    for number in range(count):
        target.select_hyperslab((number, 0), (1, 4))
        source.select_hyperslab((count - 1 - number, 0), (1, 4))
        plist.set_virtual(target, b"source.h5", b"d", source)
    with h5py.File(tmp_path / "many.h5", "w", libver=version) as file:
        for number in range(rows):
            h5d.create(file.id, b"v%02d" % number, h5t.STD_U16LE, target, plist)
    reader = Hdf5Reader(str(tmp_path / "many.h5"), None)
    started = time.process_time()
    found = reader.listing("").members
    assert time.process_time() - started < 2
    assert len(found) == rows
    info = found[3]
    assert isinstance(info, DatasetInfo)
    assert info.dependencies == (str(tmp_path / "source.h5"),)
    wanted = np.arange(count * 4, dtype="<u2").reshape(count, 4)[::-1]
    assert (reader.read(info.address, whole(info)) == wanted).all()
