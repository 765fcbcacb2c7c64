"""Checks the sources of virtual datasets: datasets, mostly of other files, that have their values.

Each source must be allowed to be opened, and must have the elements that are wanted.  libhdf5 gives
fill values or zeros for a file that is missing or short, or that it cannot open because too many
are open.  So everything is checked just before it reads.
"""

import math
import os
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from esrffs.errors import DamagedError, EsrffsError, NotFoundError, UnsupportedError
from esrffs.formats import budget
from esrffs.formats.hdf5.library import h5d, h5s, is_chunked
from esrffs.formats.hdf5.links import FileSet, OpenFile, ResolvedObject, find_file
from esrffs.formats.hdf5.stored_mappings import stored_mappings
from esrffs.formats.hdf5.stored_selections import StoredSelection
from esrffs.model import Box

_DEPTH = 8  # virtual datasets of virtual datasets
_UNLIMITED = h5s.UNLIMITED
_Need = int | list[int]  # elements, of all of a source; or the lengths of its axes
_A_FEW = 256  # mappings: then it is looked how long this takes
_SPARE = 64  # file descriptors that others in this process may need


@dataclass(frozen=True, slots=True)
class _AxisSelection:
    """A regular hyperslab along one axis: `count` blocks of `block` elements every `stride`."""

    start: int
    stride: int
    count: int
    block: int

    @property
    def unlimited(self) -> bool:
        return _UNLIMITED in (self.count, self.block)

    def position(self, ordinal: int) -> int:
        """Where the selected element with this (1-based) number stands."""
        if self.block == _UNLIMITED:
            return self.start + ordinal - 1
        turns, rest = divmod(ordinal - 1, self.block)
        return self.start + turns * self.stride + rest

    def below(self, end: int) -> int:
        """How many selected elements there are before this position."""
        past = max(end - self.start, 0)
        if self.block == _UNLIMITED:
            return past
        if self.count == 1:
            return min(past, self.block)
        turns, rest = divmod(past, self.stride)
        found = turns * self.block + min(rest, self.block)
        return found if self.unlimited else min(found, self.count * self.block)

    def end(self) -> int:
        """Just past the last selected element."""
        return self.start + (self.count - 1) * self.stride + self.block

    def blocks(self, start: int, stop: int) -> range:
        """The numbers of the blocks that meet start … stop."""
        first = max(0, (start - self.start - self.block) // self.stride + 1)
        return range(first, max(first, -(-(stop - self.start) // self.stride)))


def _axes(space: h5s.SpaceID | StoredSelection) -> list[_AxisSelection]:
    return [_AxisSelection(*axis) for axis in zip(*space.get_regular_hyperslab(), strict=True)]


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """Elements of a virtual dataset and the elements of a source that they are."""

    file: bytes
    name: bytes
    virtual: h5s.SpaceID | StoredSelection
    source: h5s.SpaceID | StoredSelection

    @property
    def is_unlimited(self) -> bool:
        space = self.virtual
        return bool(
            space.get_select_type() == h5s.SEL_HYPERSLABS
            and space.is_regular_hyperslab()
            and any(axis.unlimited for axis in _axes(space))
        )

    @property
    def is_printf_style(self) -> bool:
        return b"%b" in (self.file + self.name).replace(b"%%", b"")

    @property
    def files_are_numbered(self) -> bool:
        """Whether each block has a file of its own, not only a dataset."""
        return b"%b" in self.file.replace(b"%%", b"")

    def share(self, box: Box) -> int:
        """How many elements of this box it maps; 0 where they are not those of one source."""
        space = self.virtual
        if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
            overlap = space.copy()
            overlap.select_hyperslab(box.start, box.shape, op=h5s.SELECT_AND)
            return int(overlap.get_select_npoints())
        rows = list(zip(_axes(space), box.start, box.stop, strict=True))
        if self.is_printf_style and any(
            a.unlimited and len(a.blocks(b, c)) > 1 for a, b, c in rows
        ):
            return 0
        return math.prod(axis.below(stop) - axis.below(start) for axis, start, stop in rows)

    def source_name(self, block: int) -> tuple[bytes, bytes]:
        """File and dataset for this block: `%b` is its number, `%%` a percent sign."""
        number = {b"%b": b"%d" % block, b"%%": b"%"}
        one, two = (
            re.sub(rb"%[b%]", lambda hit: number[hit[0]], name) for name in (self.file, self.name)
        )
        return one, two


def mappings(
    file: OpenFile, dataset: h5d.DatasetID, box: Box | None = None
) -> Iterator[SourceMapping]:
    """All mappings of a virtual dataset; with a (not empty) box, at least those that meet it."""
    stored = stored_mappings(file, dataset)
    rows = _asked_for(dataset) if stored is None else stored.rows(*_bounds(box))
    for number, row in enumerate(rows):
        if number % _A_FEW == 0:
            budget.check("its mappings")
        yield SourceMapping(*row)


def _bounds(box: Box | None) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    return (None, None) if box is None else (box.start, box.stop)


def _asked_for(
    dataset: h5d.DatasetID,
) -> Iterator[tuple[bytes, bytes, h5s.SpaceID, h5s.SpaceID]]:
    """The same from the library."""
    plist = dataset.get_create_plist()
    for index in range(plist.get_virtual_count()):
        yield (
            plist.get_virtual_filename(index).encode("utf-8", "surrogateescape"),
            plist.get_virtual_dsetname(index).encode("utf-8", "surrogateescape"),
            plist.get_virtual_vspace(index),
            plist.get_virtual_srcspace(index),
        )


def is_virtual(file: OpenFile, dataset: h5d.DatasetID) -> bool:
    """Whether this dataset is a virtual one."""
    if dataset.get_offset() is not None or is_chunked(dataset):
        return False
    if stored_mappings(file, dataset) is not None:
        return True
    return bool(dataset.get_create_plist().get_layout() == h5d.VIRTUAL)


def check_shape_allowed(files: FileSet, holder: OpenFile, dataset: h5d.DatasetID) -> None:
    """AccessDeniedError if libhdf5, to tell the shape, would open what this mount may not read."""
    if files.confine is None or dataset.get_offset() is not None:
        return
    if not is_virtual(holder, dataset):
        return
    stored = stored_mappings(holder, dataset)
    if stored is not None and not stored.open_ended:
        return
    for mapping in mappings(holder, dataset):
        if not mapping.is_unlimited:
            continue
        try:
            for block in count() if mapping.files_are_numbered else (0,):
                budget.check("its sources")
                _source_path(files, holder, mapping.source_name(block)[0])
        except NotFoundError:
            continue  # one that is not there cannot be opened


def _source_path(files: FileSet, holder: OpenFile, name: bytes) -> str:
    if name == b".":
        return holder.path
    return find_file(name, holder.path, files.confine, by_library=True)


def check_sources(files: FileSet, found: ResolvedObject, box: Box, depth: int = _DEPTH) -> int:
    """See that every source that a (not empty) box needs is there; returns how many files."""
    if depth == 0:
        raise UnsupportedError("virtual datasets of virtual datasets without end")
    names: set[bytes] = set()
    for mapping in mappings(found.file, found.object, box):
        for file, name, needed in _needed(mapping, box):
            budget.check("its sources")
            names.add(file)
            try:
                _check_source(files, found, file, name, needed, depth)
            except EsrffsError as error:
                text = f"source {os.fsdecode(file)}, {os.fsdecode(name)}: {error}"
                kind = DamagedError if isinstance(error, NotFoundError) else type(error)
                raise kind(text) from error
            if found.file is files.main and exceeds_open_files(files.count):
                files.release()
    return len(names)


def exceeds_open_files(number: int) -> bool:
    """Whether libhdf5 could run out of file descriptors, and say nothing, with so many sources."""
    return number + _SPARE > resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _needed(mapping: SourceMapping, box: Box) -> Iterator[tuple[bytes, bytes, _Need]]:
    """Each source that a box needs: file, dataset, and what must be in it."""
    if not mapping.is_unlimited:
        overlap = mapping.virtual.copy()
        if box.start:
            overlap.select_hyperslab(box.start, box.shape, op=h5s.SELECT_AND)
        if overlap.get_select_npoints():
            yield (*mapping.source_name(0), _lengths(mapping, box))
        return
    axes = _axes(mapping.virtual)
    for axis, start, stop in zip(axes, box.start, box.stop, strict=True):
        if axis.below(start) >= axis.below(stop):
            return
    axis, start, stop = next(
        row for row in zip(axes, box.start, box.stop, strict=True) if row[0].unlimited
    )
    if not mapping.is_printf_style:
        last = axis.below(stop)
        lengths = [a.position(last) + 1 if a.unlimited else a.end() for a in _axes(mapping.source)]
        yield (*mapping.source_name(0), lengths)
        return
    size = math.prod(a.block if a is axis else a.count * a.block for a in axes)
    for block in axis.blocks(start, stop):
        yield (*mapping.source_name(block), _whole(mapping.source, size))


def _regular(space: h5s.SpaceID | StoredSelection) -> list[_AxisSelection]:
    """Its axes where it is one regular hyperslab of an end; else none."""
    if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return []
    return _axes(space)


def _whole(source: h5s.SpaceID | StoredSelection, size: int) -> _Need:
    if source.get_select_type() == h5s.SEL_ALL:
        return size
    return [n + 1 for n in source.get_select_bounds()[1]]


def _lengths(mapping: SourceMapping, box: Box) -> _Need:
    """What a source needs to have; less than all of it where both selections are like boxes."""
    size = mapping.virtual.get_select_npoints()
    if mapping.source.get_select_type() == h5s.SEL_ALL and box.start:
        rows, end = _regular(mapping.virtual), 0  # its elements are taken in their order
        for axis, stop in zip(rows, box.stop, strict=bool(rows)):
            end = end * axis.count * axis.block + axis.below(min(stop, axis.end())) - 1
        return end + 1 if rows else size
    if not box.start:
        return _whole(mapping.source, size)
    axes = _regular(mapping.virtual), _regular(mapping.source)
    if all(axes) and [a.count * a.block for a in axes[0]] == [a.count * a.block for a in axes[1]]:
        # Along each axis the elements of one follow each other as those of the other do.
        both = zip(*axes, strict=True)
        return [
            b.position(a.below(min(stop, a.end()))) + 1
            for (a, b), stop in zip(both, box.stop, strict=True)
        ]
    low, high = mapping.source.get_select_bounds()
    first, last = mapping.virtual.get_select_bounds()
    counts = tuple(b - a + 1 for a, b in zip(low, high, strict=True))
    if counts != tuple(b - a + 1 for a, b in zip(first, last, strict=True)):
        return [n + 1 for n in high]
    if math.prod(counts) != size:
        return [n + 1 for n in high]
    ends = zip(low, first, last, box.stop, strict=True)
    return [a + min(c + 1, stop) - b for a, b, c, stop in ends]


def _check_source(
    files: FileSet, holder: ResolvedObject, file: bytes, name: bytes, needed: _Need, depth: int
) -> None:
    path = _source_path(files, holder.file, file)
    other = holder.file if file == b"." else files.other(path)
    source = files.walk(ResolvedObject(other.root, other, ""), name)
    if not isinstance(source.object, h5d.DatasetID):
        raise NotFoundError("not a dataset")
    plist = source.object.get_create_plist()
    virtual = plist.get_layout() == h5d.VIRTUAL
    check_shape_allowed(files, source.file, source.object)
    shape = source.object.shape
    if shape is None or not _holds(shape, needed):
        raise DamagedError(f"has only the shape {shape}, and more of it is needed")
    if plist.get_external_count():
        raise UnsupportedError("lies in raw files")
    if source.file.truncated():
        raise DamagedError("lies in a truncated file")
    if virtual and math.prod(shape):
        stop = shape if isinstance(needed, int) else tuple(needed)
        check_sources(files, source, Box((0,) * len(shape), stop), depth - 1)


def _holds(shape: tuple[int, ...], needed: _Need) -> bool:
    if isinstance(needed, int):
        return math.prod(shape) >= needed
    return len(needed) == len(shape) and all(n <= m for n, m in zip(needed, shape, strict=True))
