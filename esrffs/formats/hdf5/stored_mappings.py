"""The mappings of a virtual dataset, read from the file itself.

libhdf5 copies all of them several times for each question about one; a dataset may have thousands,
and a file hundreds of such datasets.  So they are taken from where they stand: the dataset's
object header (layout message of class 3) names an object of the global heap, which holds them.
Whole sources and regular hyperslabs are understood.  For everything else `stored_mappings` is None,
and libhdf5 has to be asked.

The format is that of the HDF5 File Format Specification, VII and VIII.
libhdf5 has verified the checksums when it opened the dataset.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from esrffs.formats import budget
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5d, object_address
from esrffs.formats.hdf5.links import OpenFile
from esrffs.formats.hdf5.object_header import virtual_heap_object
from esrffs.formats.hdf5.stored_selections import EVER, StoredSelection, selection_of

_MAX_RANK = 32  # H5S_MAX_RANK
_MANY = 1024  # entries: then it is looked how long this takes
_FAR = 2.0**62  # elements: beyond, numbers of 64 bits may wrap
_ALL, _HYPERSLAB = 3, 2  # H5S_sel_type
_SHARED_FILE, _SHARED_NAME, _SAME_FILE = 1, 2, 4  # flags of a mapping, since HDF5 2.0


@dataclass(frozen=True, slots=True, eq=False)
class StoredMappings:
    """All mappings of a dataset: names, and selections as arrays [mapping, 4, axis] of uint64."""

    files: tuple[bytes, ...]
    names: tuple[bytes, ...]
    virtual: tuple[npt.NDArray[np.uint64], ...]  # in runs of mappings that look alike, …
    source: tuple[npt.NDArray[np.uint64] | None, ...]  # … None where they take all of a source

    def __len__(self) -> int:
        return len(self.files)

    @property
    def open_ended(self) -> bool:
        return any((run[:, 2:] == EVER).any() for run in self.virtual)

    @property
    def numbered(self) -> bool:
        return any(b"%" in name for name in {*self.files, *self.names})

    def rows(
        self, start: Sequence[int] | None = None, stop: Sequence[int] | None = None
    ) -> Iterator[tuple[bytes, bytes, StoredSelection, StoredSelection]]:
        """File, dataset and selections of each mapping; of those that may meet a box."""
        first = 0
        for virtual, source in zip(self.virtual, self.source, strict=True):
            budget.check("its mappings")
            for index in _meeting(virtual, start, stop):
                number = first + index
                taken = None if source is None else source[index]
                yield (
                    self.files[number],
                    self.names[number],
                    selection_of(virtual[index]),
                    selection_of(taken),
                )
            first += len(virtual)


def _meeting(
    run: npt.NDArray[np.uint64], start: Sequence[int] | None, stop: Sequence[int] | None
) -> Sequence[int]:
    """The mappings of a run that may meet a box; all where one has no end, or a far one."""
    if not start or stop is None or (run[:, 2:] == EVER).any():
        return range(len(run))
    numbers = run.astype(np.float64)
    if (numbers[:, 0] + numbers[:, 2] * numbers[:, 1] + numbers[:, 3] > _FAR).any():
        return range(len(run))
    low, step, count, block = (run[:, i].astype(np.int64) for i in range(4))
    past = low + (count - 1) * step + block
    meets = ((low < np.array(stop)) & (past > np.array(start))).all(axis=1)
    found: list[int] = np.flatnonzero(meets).tolist()
    return found


def stored_mappings(file: OpenFile, dataset: h5d.DatasetID) -> StoredMappings | None:
    """The mappings of a dataset of this file; None where it has none, or other ones."""
    address = object_address(dataset)
    if address not in file.mappings:
        found = _read(file, address)
        file.mappings.put(address, found, 1 if found is None else len(found))
    told: StoredMappings | None = file.mappings[address]
    return told


def _read(file: OpenFile, address: int) -> StoredMappings | None:
    plist = file.id.get_create_plist()
    if plist.get_sizes() != (8, 8) or plist.get_userblock():
        return None
    try:
        heap = virtual_heap_object(file.id.get_vfd_handle(), address, file.heaps)
        return None if heap is None else _parsed(heap)
    except (struct.error, IndexError, *H5PY_EXCEPTIONS):
        return None


def _parsed(heap: bytes) -> StoredMappings | None:
    version, count = struct.unpack_from("<BQ", heap, 0)
    if version not in (0, 1) or count > len(heap):
        return None
    files: list[bytes] = []
    names: list[bytes] = []
    virtual: list[npt.NDArray[np.uint64]] = []
    source: list[npt.NDArray[np.uint64] | None] = []
    at, end = 9, len(heap) - 4  # a checksum
    while len(files) < count:
        budget.check("its mappings")
        entry = _entry(heap, at, version)
        if entry is None:
            return None
        alike = _alike(np.frombuffer(heap, np.uint8, end - at, at), entry, count - len(files))
        for number, row in enumerate(alike):
            if number % _MANY == 0:
                budget.check("its mappings")
            content = row.tobytes()
            files.append(entry.file.of(content, files))
            names.append(entry.name.of(content, names))
        source.append(None if entry.source is None else entry.source.of(alike))
        virtual.append(entry.virtual.of(alike))
        at += len(alike) * entry.nbytes
    return StoredMappings(tuple(files), tuple(names), tuple(virtual), tuple(source))


@dataclass(frozen=True, slots=True)
class _Name:
    """Where a name stands in an entry, or the number of the mapping that has it already."""

    at: int
    end: int  # just past its NUL, or the number
    shared: bool = False

    def of(self, entry: bytes, names: Sequence[bytes]) -> bytes:
        if self.at == self.end:
            return b"."
        if self.shared:
            return names[int.from_bytes(entry[self.at : self.end], "little")]
        return entry[self.at : self.end - 1]


@dataclass(frozen=True, slots=True)
class _Slab:
    """Where a regular hyperslab stands in an entry, in numbers of so many bytes.

    `box`: as its first and last element, else as start, stride, count and block of each axis.
    """

    at: int
    width: int
    rank: int
    box: bool = False

    @property
    def nbytes(self) -> int:
        return (2 if self.box else 4) * self.rank * self.width

    def of(self, entries: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
        raw = np.ascontiguousarray(entries[:, self.at : self.at + self.nbytes])
        told = raw.view(f"<u{self.width}").astype(np.uint64)
        if self.box:
            first, last = told.reshape(-1, 2, self.rank).swapaxes(0, 1)
            one = np.ones_like(first)
            return np.stack([first, one, one, last - first + one], axis=1)
        if self.width < 8:
            told[told == (1 << 8 * self.width) - 1] = EVER
        return told.reshape(-1, self.rank, 4).swapaxes(1, 2)


@dataclass(frozen=True, slots=True)
class _Entry:
    """How one mapping is written: where its names end, where its numbers are."""

    nbytes: int
    file: _Name
    name: _Name
    fixed: tuple[slice, ...]  # bytes that are the same in entries that are alike
    source: _Slab | None
    virtual: _Slab


def _entry(heap: bytes, start: int, version: int) -> _Entry | None:
    flags = heap[start] if version else 0
    if flags & ~7:
        return None
    file = _name(heap, start, start + version, flags & _SHARED_FILE, flags & _SAME_FILE)
    name = _name(heap, start, start + file.end, flags & _SHARED_NAME, 0)
    first = _written(heap, start + name.end)
    second = None if first is None else _written(heap, first[0])
    if first is None or second is None or second[1] is None:
        return None
    virtual = replace(second[1], at=second[1].at - start)
    source = first[1] and replace(first[1], at=first[1].at - start)
    fixed = (
        slice(0, version),
        slice(name.end, _head(source, first[0] - start)),
        slice(first[0] - start, virtual.at),
    )
    return _Entry(second[0] - start, file, name, fixed, source, virtual)


def _name(heap: bytes, start: int, at: int, shared: int, same: int) -> _Name:
    if same:
        return _Name(at - start, at - start)
    end = at + 8 if shared else heap.index(b"\0", at) + 1
    return _Name(at - start, end - start, bool(shared))


def _head(slab: _Slab | None, end: int) -> int:
    return end if slab is None else slab.at


def _written(heap: bytes, at: int) -> tuple[int, _Slab | None] | None:
    """Where the selection that begins here ends, and its numbers; None: not understood."""
    kind, version = struct.unpack_from("<II", heap, at)
    if kind == _ALL:
        return at + 16, None
    if kind == _HYPERSLAB and version == 1:
        rank, blocks = struct.unpack_from("<II", heap, at + 16)
        slab = _Slab(at + 24, 4, rank, box=True)
        return (slab.at + slab.nbytes, slab) if blocks == 1 and 0 < rank <= _MAX_RANK else None
    if kind != _HYPERSLAB or version not in (2, 3) or not heap[at + 8] & 1:
        return None
    width = 8 if version == 2 else heap[at + 9]
    start = at + (17 if version == 2 else 14)
    rank = struct.unpack_from("<I", heap, start - 4)[0]
    if width not in (2, 4, 8) or not 0 < rank <= _MAX_RANK:
        return None
    slab = _Slab(start, width, rank)
    return slab.at + slab.nbytes, slab


def _alike(rest: npt.NDArray[np.uint8], entry: _Entry, most: int) -> npt.NDArray[np.uint8]:
    """As many of the entries that follow as are written like the first one.

    Looked at are at most twice as many: the next run, which may be as long, is looked at by itself.
    """
    count = min(most, len(rest) // entry.nbytes)
    entries = rest[: count * entry.nbytes].reshape(count, entry.nbytes)
    if not count:
        raise ValueError("the mappings end early")
    known = 1
    while known < count:
        same = _same(entries[known : 2 * known], entries[0], entry)
        other = np.flatnonzero(~same)
        if other.size:
            return entries[: known + int(other[0])]
        known += len(same)
    return entries


def _same(
    entries: npt.NDArray[np.uint8], first: npt.NDArray[np.uint8], entry: _Entry
) -> npt.NDArray[np.bool_]:
    """Which of these entries are written like the first one."""
    same = np.ones(len(entries), np.bool_)
    for part in entry.fixed:
        same &= (entries[:, part] == first[part]).all(axis=1)
    for name in (entry.file, entry.name):
        if not name.shared and name.end > name.at:
            same &= (entries[:, name.at : name.end - 1] != 0).all(axis=1)
            same &= entries[:, name.end - 1] == 0
    return same
