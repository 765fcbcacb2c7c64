"""What tests of HDF5 views need: the file that an image stands for, what two files have alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5l, h5p, h5t

from esrffs.errors import EsrffsError
from esrffs.formats.hdf5.image import ALIGNMENT, Hdf5Image
from esrffs.formats.hdf5.image_types import rebuilt
from esrffs.model import Box, Reader


def check_places(image: Hdf5Image) -> None:
    """Literals and runs are in order, apart from each other, aligned, and within the file."""
    for pieces in (image.literals, image.runs):
        assert [piece[0] for piece in pieces] == sorted(piece[0] for piece in pieces)
    pieces = [(at, len(content)) for at, content in image.literals]
    pieces += [(run.offset, run.nbytes) for run in image.runs]
    end = 0
    for at, nbytes in sorted(pieces):
        assert at >= end
        assert nbytes > 0
        assert at % ALIGNMENT == 0
        end = at + nbytes
    assert end == image.nbytes


def data_of(reader: Reader, address: str, shape: tuple[int, ...]) -> bytes:
    return reader.read(address, Box((0,) * len(shape), shape)).tobytes()


def assemble(reader: Reader, image: Hdf5Image, path: Path) -> list[str]:
    """Write the file of the image; the addresses of arrays that cannot be read."""
    check_places(image)
    unreadable = []
    with path.open("wb") as file:
        for at, content in image.literals:
            file.seek(at)
            file.write(content)
        for run in image.runs:
            try:
                content = data_of(reader, run.address, run.shape)
            except EsrffsError:
                unreadable.append(run.address)
                continue
            assert len(content) == run.nbytes
            file.seek(run.offset)
            file.write(content)
        file.truncate(image.nbytes)
    return unreadable


def canonical(value: Any, file: h5py.File) -> Any:
    """A value that can be compared: references by the names of their targets."""
    match value:
        case h5py.RegionReference():
            if not value:
                return None
            return file[value].name, file[value][value].tobytes()
        case h5py.Reference():
            return file[value].name if value else None
        case h5py.Empty():
            return "empty", value.dtype.str
        case np.ndarray() | np.void() if value.dtype.hasobject:
            if isinstance(value, np.void):
                return [canonical(value[name], file) for name in value.dtype.names]
            return value.shape, [canonical(inner, file) for inner in value.ravel()]
        case np.ndarray() | np.generic() if value.dtype.names:
            return [canonical(value[name], file) for name in value.dtype.names]
        case np.ndarray() | np.generic():
            return value.dtype.str, value.shape, value.tobytes()
    return value


def type_of(stored: h5t.TypeID) -> bytes:
    return rebuilt(stored).encode()


def attributes_of(obj: Any, file: h5py.File) -> dict[str, Any]:
    found = {}
    for name in obj.attrs:
        attribute = obj.attrs.get_id(name)
        found[name] = (
            type_of(attribute.get_type()),
            attribute.get_space().get_simple_extent_type(),
            attribute.shape,
            canonical(obj.attrs[name], file),
        )
    return found


def walk(group: h5py.Group, seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any, Any]]:
    """Every link below a group: its path, and what a soft or external one says, or the object."""
    names: list[bytes] = []
    order = group.id.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED
    index = h5py.h5.INDEX_CRT_ORDER if order else h5py.h5.INDEX_NAME
    group.id.links.iterate(names.append, idx_type=index)
    for name in names:
        path = f"{group.name.rstrip('/')}/{name.decode('utf-8', 'surrogateescape')}"
        if group.id.links.get_info(name).type != h5l.TYPE_HARD:
            yield path, group.id.links.get_val(name), None
            continue
        obj = group[name]
        yield path, None, obj
        if isinstance(obj, h5py.Group):
            address = h5py.h5o.get_info(obj.id).addr
            if address not in seen:
                yield from walk(obj, seen | {address})


def object_of(obj: Any, file: h5py.File) -> Any:
    """All that a reader of HDF5 sees of an object."""
    told: list[Any] = [type(obj).__name__, attributes_of(obj, file)]
    if isinstance(obj, h5py.Dataset):
        told += [type_of(obj.id.get_type()), obj.shape, canonical(obj[()], file)]
    if isinstance(obj, h5py.Datatype):
        told.append(type_of(obj.id))
    return told


def check_plain(dataset: h5py.Dataset) -> None:
    plist = dataset.id.get_create_plist()
    assert plist.get_layout() == h5d.CONTIGUOUS
    assert dataset.maxshape == dataset.shape
    offset = dataset.id.get_offset()
    assert offset is None or offset % ALIGNMENT == 0
    assert (offset is None) == (not dataset.size)
