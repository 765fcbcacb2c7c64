"""HDF5 datasets whose values lie in raw files beside the HDF5 file (external raw storage).

The raw files are read without libhdf5, which would look for them in the working directory, and
give zeros for a file that is missing or short.
"""

import math
import os
from collections.abc import Iterator, Sequence

import numpy as np

from esrffs.errors import DamagedError, NotFoundError, UnsupportedError
from esrffs.formats.hdf5.datatypes import Array, ElementType
from esrffs.formats.hdf5.library import h5p, h5t
from esrffs.formats.hdf5.links import FileSet, OpenFile, ResolvedObject, find_file
from esrffs.model import Box


def read_external(files: FileSet, found: ResolvedObject, element: ElementType, box: Box) -> Array:
    """A (not empty) box of values that lie in raw files, read without libhdf5.

    Relative paths start at the folder of the HDF5 file; libhdf5 would take the working directory.
    """
    dataset, plist = found.object, found.object.get_create_plist()
    if element.object_fields or element.needs_json:
        raise UnsupportedError("variable-length values in external raw storage")
    stored = dataset.get_type()
    size = stored.get_size()
    nbytes = math.prod(dataset.shape) * size
    segments = [plist.get_external(index) for index in range(plist.get_external_count())]
    content = b"".join(
        piece
        for start, count in _runs(dataset.shape, box)
        for piece in _pieces(files, found.file, segments, start * size, count * size, nbytes)
    )
    return _converted(content, stored, element).reshape(box.shape + element.dims)


def _runs(shape: tuple[int, ...], box: Box) -> Iterator[tuple[int, int]]:
    """First element and number of elements of each stretch of the box without a gap."""
    inner = len(shape)
    while inner and box.shape[inner - 1] == shape[inner - 1]:
        inner -= 1
    outer = max(0, inner - 1)
    for index in np.ndindex(*box.shape[:outer]):
        corner = np.add(box.start, (*index, *[0] * (len(shape) - outer)))
        first = np.ravel_multi_index(tuple(corner), shape) if shape else 0
        yield int(first), math.prod(box.shape[outer:])


def _pieces(
    files: FileSet,
    holder: OpenFile,
    segments: Sequence[tuple[bytes, int, int]],
    at: int,
    count: int,
    rest: int,
) -> Iterator[bytes]:
    """`count` bytes from byte `at` of the raw data, which these segments of files make up.

    `rest`: bytes that these segments hold in all; the last one may be declared as without end.
    """
    for name, offset, size in segments:
        if count and at < size:
            wanted = min(count, size - at)
            yield _pread(
                _raw_file(files, holder, name), wanted, offset + at, offset + min(size, rest)
            )
            at, count = at + wanted, count - wanted
        at -= size
        rest -= size
    if count:
        raise DamagedError("its raw files hold fewer values than it has")


def _raw_file(files: FileSet, holder: OpenFile, name: bytes) -> str:
    """Where a raw file lies.  One that is not there is damage: the dataset itself is there."""
    try:
        return find_file(name, holder.path, files.confine)
    except NotFoundError as error:
        raise DamagedError(f"its values lie in a raw file that cannot be had: {error}") from error


def segment_of(plist: h5p.PropDCID, byte: int) -> int:
    """The number of the piece of a raw file that holds this byte of the raw data."""
    for index in range(plist.get_external_count()):
        size = plist.get_external(index)[2]
        if byte < size:
            return index
        byte -= size
    return int(plist.get_external_count())


def _pread(path: str, count: int, offset: int, end: int) -> bytes:
    """These bytes of a raw file, which is to have so many that it ends at `end`."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read(count)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DamagedError(f"its raw data: {path} cannot be read: {error.strerror}") from error
    if len(content) < count:
        raise DamagedError(f"truncated: {path} has {size} bytes where {end} belong")
    return content


def _converted(content: bytes, stored: h5t.TypeID, element: ElementType) -> Array:
    number = len(content) // stored.get_size()
    size = max(stored.get_size(), element.memory.get_size())
    buffer = np.zeros(number * size, np.uint8)
    buffer[: len(content)] = np.frombuffer(content, np.uint8)
    if not element.verbatim:
        h5t.convert(stored, element.memory, number, buffer)
    return buffer[: number * element.memory.get_size()].view(element.buffer_dtype)
