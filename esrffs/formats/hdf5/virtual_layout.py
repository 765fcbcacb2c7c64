"""Describes virtual datasets and external raw storage: which files hold which values.

A virtual dataset that maps whole frames of other datasets, as acquisitions write them, gets a
`VirtualLayout`: the daemon reads its sources by itself.  `dependencies` are all files that hold
values of a dataset.  Does not: check the sources (`virtual_sources`).
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

from esrffs.errors import AccessDeniedError, NotFoundError
from esrffs.formats import budget
from esrffs.formats.hdf5.datatypes import ElementType
from esrffs.formats.hdf5.layout import fill_value
from esrffs.formats.hdf5.library import h5d, h5s
from esrffs.formats.hdf5.links import FileSet, OpenFile, ResolvedObject, expected_path, find_file
from esrffs.formats.hdf5.stored_mappings import stored_mappings
from esrffs.formats.hdf5.stored_selections import StoredSelection
from esrffs.formats.hdf5.virtual_sources import SourceMapping, mappings
from esrffs.formats.side_by_side import side_by_side
from esrffs.model import Layout, OpaqueLayout, VirtualLayout, VirtualMapping

_MANY = 256  # mappings; …
_SMALL_NBYTES = 4096  # … of less than so many bytes each are put together by a reader
_MOST = 100_000  # files that a dataset is said to depend on


def dependencies(files: FileSet, found: ResolvedObject) -> tuple[str, ...]:
    """The files, but the one of the dataset itself, that hold its values; absolute paths.

    A file that is not there is named too, where it would be looked for first: it may appear.
    """
    stored = stored_mappings(found.file, found.object)
    if stored is not None and not stored.numbered:
        named = iter(dict.fromkeys(stored.files))
        return _paths(named, found, files)
    plist = found.object.get_create_plist()
    if plist.get_external_count():
        named = (plist.get_external(index)[0] for index in range(plist.get_external_count()))
    elif plist.get_layout() == h5d.VIRTUAL:
        named = (
            name
            for mapping in mappings(found.file, found.object)
            for name in _files(mapping, files, found.file)
        )
    else:
        return ()
    return _paths(named, found, files)


def _paths(named: Iterator[bytes], found: ResolvedObject, files: FileSet) -> tuple[str, ...]:
    unique = dict.fromkeys(name for name, _ in zip(named, range(_MOST), strict=False))
    wanted = [name for name in unique if name != b"."]
    _locate(wanted, found.file, files)
    return tuple(dict.fromkeys(_path(name, found.file, files) for name in wanted))


def _files(mapping: SourceMapping, files: FileSet, holder: OpenFile) -> Iterator[bytes]:
    yield mapping.source_name(0)[0]
    block = 1
    while mapping.files_are_numbered and block < _MOST:
        budget.check("its sources")
        name = mapping.source_name(block)[0]
        yield name
        try:
            find_file(name, holder.path, files.confine)
        except (NotFoundError, AccessDeniedError):
            return  # the one that will come next
        block += 1


def _locate(names: Iterable[bytes], holder: OpenFile, files: FileSet) -> None:
    """Look for these files side by side: each may take some round trips to a file server.

    These are plain calls of the operating system; what they find holds for the call of the reader.
    """

    def locate(name: bytes) -> tuple[str, bool]:
        try:
            return find_file(name, holder.path, files.confine, by_library=True), False
        except (NotFoundError, AccessDeniedError) as error:
            return expected_path(name, holder.path), isinstance(error, AccessDeniedError)

    new = [name for name in dict.fromkeys(names) if (holder.path, name) not in files.located]
    for name, found in zip(new, side_by_side(locate, new), strict=True):
        files.located[holder.path, name] = found


def _path(name: bytes, holder: OpenFile, files: FileSet) -> str:
    _locate([name], holder, files)
    return files.located[holder.path, name][0]


def _forbidden(name: bytes, holder: OpenFile, files: FileSet) -> bool:
    _locate([name], holder, files)
    return files.located[holder.path, name][1]


def virtual_layout(
    files: FileSet, found: ResolvedObject, element: ElementType, shape: tuple[int, ...]
) -> Layout:
    """`VirtualLayout` where the dataset is made of whole frames of others, else `OpaqueLayout`."""
    stored = stored_mappings(found.file, found.object)
    if stored is not None and len(stored) > _MANY:
        nbytes = element.buffer_dtype.itemsize * math.prod(shape)
        if nbytes < _SMALL_NBYTES * len(stored):
            return OpaqueLayout()  # to open a source costs more than what is read of it
    fill = fill_value(found.object.get_create_plist(), element)
    if not element.verbatim or element.dims or fill is None or not shape:
        return OpaqueLayout()
    rows = list(mappings(found.file, found.object))
    named = (mapping.source_name(0)[0] for mapping in rows if not mapping.is_printf_style)
    _locate((name for name in named if name != b"."), found.file, files)
    parts = [_mapped(mapping, shape, found.file, files) for mapping in rows]
    known = sorted((part for part in parts if part is not None), key=lambda part: part.start)
    if len(known) < len(parts) or any(
        after.start < before.stop for before, after in pairwise(known)
    ):
        return OpaqueLayout()
    return VirtualLayout(tuple(known), fill)


def _mapped(
    mapping: SourceMapping, shape: tuple[int, ...], holder: OpenFile, files: FileSet
) -> VirtualMapping | None:
    """This mapping as a run of frames, if it is one."""
    if mapping.is_unlimited or mapping.is_printf_style:
        return None
    target = _selection_bounds(mapping.virtual)
    if target is None:
        return None
    (start, *low), (stop, *high) = target
    if any(low) or tuple(high) != shape[1:]:
        return None
    whole = mapping.source.get_select_type() == h5s.SEL_ALL  # its extent is not told
    first = (
        0
        if whole
        else _first_frame(_selection_bounds(mapping.source), mapping.source, (stop - start, *high))
    )
    if first is None:
        return None
    name, path = mapping.source_name(0)
    if name != b"." and _forbidden(name, holder, files):
        return None  # the reader says so when it is asked
    file = holder.path if name == b"." else _path(name, holder, files)
    return VirtualMapping(start, stop, file, path.decode("utf-8", "surrogateescape"), first, whole)


def _first_frame(
    origin: tuple[tuple[int, ...], tuple[int, ...]] | None,
    source: h5s.SpaceID | StoredSelection,
    wanted: tuple[int, ...],
) -> int | None:
    """The first frame of a selection of whole frames that has the wanted shape."""
    if origin is None:
        return None
    (low, high), extent = origin, tuple(source.get_simple_extent_dims())
    if len(extent) == len(wanted) - 1:  # the source is one frame
        return 0 if (0,) * len(low) == low and (1, *extent) == wanted and high == extent else None
    if len(extent) != len(wanted) or any(low[1:]) or high[1:] != extent[1:]:
        return None
    return low[0] if (high[0] - low[0], *extent[1:]) == wanted else None


def _selection_bounds(
    space: h5s.SpaceID | StoredSelection,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Start and stop of a selection that is a box."""
    if space.get_select_type() == h5s.SEL_ALL:
        extent = tuple(space.get_simple_extent_dims())
        return (0,) * len(extent), extent
    if space.get_select_type() != h5s.SEL_HYPERSLABS:
        return None
    low, last = space.get_select_bounds()
    high = tuple(n + 1 for n in last)
    size = 1
    for a, b in zip(low, high, strict=True):
        size *= b - a
    return (tuple(low), high) if size == space.get_select_npoints() else None
