"""The structure of HDF5 files, found without libhdf5, and asked of the kernel before it is read."""

import os
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.formats.hdf5 import metadata_prefetch
from esrffs.formats.hdf5.library import object_address
from esrffs.formats.hdf5.metadata_prefetch import (
    MAX_GAP_NBYTES,
    PIECE_NBYTES,
    WHOLE_DEPTH,
    MetadataPrefetch,
    pieces,
)
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.formats.hdf5.stored_structure import Block, next_blocks, object_header
from esrffs.model import GroupInfo

Write = Callable[[h5py.File], None]


def scans(file: h5py.File) -> None:
    """Groups of many and of few members, as they come in the file of an experiment."""
    for scan in range(12):
        entry = file.create_group(f"{scan}.1")
        entry.attrs["NX_class"] = "NXentry"
        for number in range(40 if scan % 2 else 3):
            data = entry.create_dataset(f"counter {number}", data=np.arange(500.0) + number)
            data.attrs["units"] = "counts"
            entry[f"link {number}"] = h5py.SoftLink(f"counter {number}")
        nested = entry.create_group("instrument/detector")
        for number in range(20):
            nested.attrs[f"key {number}"] = "x" * 50
        nested["data"] = np.zeros((4, 4))
        entry["elsewhere"] = h5py.ExternalLink("other.h5", "/x")


def many(file: h5py.File) -> None:
    for number in range(1500):
        file[f"a rather long name of a dataset {number}"] = number


FILES: dict[str, tuple[Write, dict[str, object]]] = {
    "old": (scans, {}),
    "new": (scans, {"libver": "latest"}),
    "ordered": (scans, {"track_order": True}),
    "behind a user block": (scans, {"userblock_size": 2048}),
    "many, old": (many, {}),
    "many, new": (many, {"libver": "latest"}),
}


@pytest.fixture(params=list(FILES))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write, options = FILES[request.param]
    order = h5py.get_config().track_order
    h5py.get_config().track_order = bool(options.get("track_order"))
    try:
        with h5py.File(tmp_path / "a.h5", "w", locking=False, **options) as file:
            write(file)
    finally:
        h5py.get_config().track_order = order
    return tmp_path / "a.h5"


def addresses(path: Path) -> set[int]:
    """Where h5py says that the objects of a file are."""
    found: set[int] = set()
    with h5py.File(path, locking=False) as file:
        file.visititems(lambda _, one: found.add(h5py.h5o.get_info(one.id).addr))
        assert {object_address(file[name].id) for name in file} <= found
    return found


def test_every_object_is_found(path: Path) -> None:
    with h5py.File(path, locking=False) as file:
        root, base = h5py.h5o.get_info(file.id).addr, file.userblock_size
    content = path.read_bytes()[base:]
    level, seen = [object_header(root, WHOLE_DEPTH)], set()
    while level:
        seen |= {block.address for block in level}
        blocks = [
            further
            for block in level
            for further in next_blocks(block, content[block.address :][: block.nbytes])
        ]
        level = [block for block in blocks if block.address not in seen]
    assert addresses(path) <= seen


def test_damage_leads_nowhere(path: Path) -> None:
    """However the bytes are damaged, the next blocks are blocks, and of finite number."""
    draw = random.Random(3)
    content = bytearray(path.read_bytes())
    with h5py.File(path, locking=False) as file:
        root = file.userblock_size + h5py.h5o.get_info(file.id).addr
        base = file.userblock_size
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(200):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        level: list[Block] = [object_header(root - base, 3)]
        for _ in range(6):
            level = [
                further
                for block in level[:50]
                for further in next_blocks(
                    block, bytes(damaged[base + block.address :][: min(block.nbytes, 1 << 20)])
                )
            ]
            assert len(level) < 100_000
    for kind in (b"FRHP", b"FHIB", b"FHDB", b"BTHD", b"BTIN", b"TREE", b"SNOD", b"HEAP", b"OHDR"):
        for _ in range(200):
            block = object_header(0, 2)
            list(next_blocks(block, kind + draw.randbytes(draw.randrange(200))))


class Kernel:
    """Takes down what is asked of the kernel; `cached`: what it says of the page cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, cached: bool) -> None:
        self.asked: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "posix_fadvise", self._advise)
        monkeypatch.setattr(MetadataPrefetch, "_is_cached", lambda *_: cached)

    def _advise(self, _descriptor: int, offset: int, nbytes: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        self.asked.append((offset, offset + nbytes))

    def has(self, offset: int) -> bool:
        return any(start <= offset < stop for start, stop in self.asked)

    @property
    def nbytes(self) -> int:
        return sum(stop - start for start, stop in self.asked)


def walk(reader: Hdf5Reader, address: str = "") -> None:
    for member in reader.listing(address).members:
        if isinstance(member, GroupInfo):
            walk(reader, member.address)


def test_all_that_is_listed_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, cached=False)
    reader = Hdf5Reader(str(path), None)
    walk(reader)
    reader.close()
    with h5py.File(path, locking=False) as file:
        base = file.userblock_size
    assert all(kernel.has(base + address) for address in addresses(path))


def test_nothing_is_asked_for_what_is_cached(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, cached=True)
    reader = Hdf5Reader(str(path), None)
    walk(reader)
    reader.close()
    assert kernel.asked == []


def test_a_walk_is_ahead_and_a_single_look_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third group of those that are listed in turn brings the fourth, and so on."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", locking=False) as file:
        groups = [file.create_group(f"g{number:02}/inner") for number in range(30)]
        for group in groups:
            group["large"] = np.zeros(20_000)
            group["x"] = 1
    with h5py.File(path, locking=False) as file:
        inner = [h5py.h5o.get_info(file[f"g{n:02}/inner/x"].id).addr for n in range(30)]
    kernel = Kernel(monkeypatch, cached=False)
    reader = Hdf5Reader(str(path), None)
    reader.listing("")
    reader.listing("/g07")
    assert not any(map(kernel.has, inner))
    reader.listing("/g08")  # in turn
    assert all(map(kernel.has, inner[8:10]))
    assert not any(map(kernel.has, inner[14:]))
    for number in range(9, 15):
        reader.listing(f"/g{number:02}")
    assert all(map(kernel.has, inner[8:22]))
    assert not any(map(kernel.has, inner[28:]))
    reader.close()


def test_large_data_between_small_headers_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", locking=False) as file:
        for number in range(100):
            dataset = file.create_dataset(f"g{number // 10}/d{number}", (1 << 17,), "f8")
            dataset[-1] = 1.0  # 1 MiB, a hole
    kernel = Kernel(monkeypatch, cached=False)
    reader = Hdf5Reader(str(path), None)
    walk(reader)
    reader.close()
    assert all(kernel.has(address) for address in addresses(path))
    assert kernel.nbytes < path.stat().st_size // 10


def test_a_file_system_without_read_ahead_is_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    expected = Hdf5Reader(str(path), None).listing("")
    monkeypatch.setattr(os, "posix_fadvise", refuse)
    monkeypatch.setattr(MetadataPrefetch, "_is_cached", lambda *_: False)
    reader = Hdf5Reader(str(path), None)
    assert reader.listing("") == expected
    walk(reader)
    reader.close()


def test_a_damaged_file_is_bounded(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a damaged structure leads to is no larger than the file, and no more than so much."""
    draw = random.Random(1)
    content = bytearray(path.read_bytes())
    kernel = Kernel(monkeypatch, cached=False)
    monkeypatch.setattr(metadata_prefetch, "MAX_BLOCKS", 64)
    with h5py.File(path, locking=False) as file:
        base, root = file.userblock_size, h5py.h5o.get_info(file.id).addr
    for number in range(40):
        damaged = bytearray(content)
        for _ in range(100):
            damaged[draw.randrange(base, len(damaged))] = draw.randrange(256)
        copy = tmp_path / f"damaged{number}"
        copy.write_bytes(damaged)
        descriptor = os.open(copy, os.O_RDONLY)
        try:
            MetadataPrefetch(descriptor, base).group(root)
        finally:
            os.close(descriptor)
    assert kernel.nbytes < 40 * 64 * (PIECE_NBYTES + MAX_GAP_NBYTES + (1 << 20))
    assert max(start for start, _ in kernel.asked) < len(content)


def test_pieces() -> None:
    assert list(pieces([])) == []
    assert list(pieces([(5, 1)])) == [(0, PIECE_NBYTES)]
    assert list(pieces([(PIECE_NBYTES - 1, 2)])) == [(0, 2 * PIECE_NBYTES)]
    far = PIECE_NBYTES + MAX_GAP_NBYTES
    assert list(pieces([(far, 1), (0, 1)])) == [(0, far + PIECE_NBYTES)]
    assert list(pieces([(far + PIECE_NBYTES, 1), (0, 1)])) == [
        (0, PIECE_NBYTES),
        (far + PIECE_NBYTES, far + 2 * PIECE_NBYTES),
    ]
    draw = random.Random(2)
    for _ in range(200):
        blocks = [(draw.randrange(1 << 20), draw.randrange(1, 5000)) for _ in range(9)]
        found = list(pieces(blocks))
        for start, nbytes in blocks:
            assert any(a <= start and start + nbytes <= b for a, b in found)
        assert all(a[1] + MAX_GAP_NBYTES < b[0] for a, b in pairwise(found))


def test_what_is_looked_into_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heap of links to heaps of links, on and on: at most so many bytes are read."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", locking=False, libver="latest") as file:
        many(file)
        root = h5py.h5o.get_info(file.id).addr
    read: list[int] = []
    pread = os.pread

    def counted(descriptor: int, nbytes: int, offset: int) -> bytes:
        read.append(nbytes)
        return pread(descriptor, nbytes, offset)

    monkeypatch.setattr(os, "pread", counted)
    monkeypatch.setattr(metadata_prefetch, "MAX_READ_NBYTES", 50_000)
    Kernel(monkeypatch, cached=False)
    descriptor = os.open(path, os.O_RDONLY)
    MetadataPrefetch(descriptor).group(root)
    os.close(descriptor)
    assert 10_000 < sum(read) <= 50_000
