"""What in the elements of a datatype leads elsewhere: variable-length parts, and references.

References are written anew, because objects have other addresses in the new file: one to an object
that is there leads to it, any other becomes null.
"""

import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from esrffs.errors import UnsupportedError
from esrffs.formats.hdf5.image_library import (
    NBYTES_REFERENCE,
    NBYTES_REGION,
    REGION,
    CallError,
    Hid,
    libhdf5,
)
from esrffs.formats.hdf5.image_types import rebuilt
from esrffs.formats.hdf5.library import h5t
from esrffs.formats.hdf5.new_references import is_new_reference

_MOST = 1 << 16  # places in one element
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Elements:
    """One element in memory: the offsets in it of what leads elsewhere."""

    nbytes: int
    texts: tuple[int, ...] = ()  # `char *`
    sequences: "tuple[tuple[int, Elements], ...]" = ()  # `hvl_t`
    objects: tuple[int, ...] = ()  # references to objects: addresses of headers
    regions: tuple[int, ...] = ()  # references to regions

    @property
    def variable(self) -> bool:
        """Whether libhdf5 allocates memory for its values."""
        return bool(self.texts or self.sequences)

    @property
    def refers(self) -> bool:
        """Whether there are references in it, however deep."""
        inside = any(inner.refers for _, inner in self.sequences)
        return bool(self.objects or self.regions or inside)

    @property
    def points(self) -> bool:
        """Whether its bytes mean nothing elsewhere."""
        return self.variable or self.refers


class CopiedType(NamedTuple):
    """A datatype for values on their way from one file to the other."""

    datatype: h5t.TypeID  # as which they are written, …
    elements: Elements
    read: h5t.TypeID | None = None  # … and read, where that is another: `as_old_references`

    @property
    def id(self) -> Hid:
        return int(self.datatype.id)


_known: dict[bytes, CopiedType] = {}  # a file has many attributes, but few types


def copied_type(stored: Hid) -> CopiedType:
    """That of an open datatype; UnsupportedError where its values cannot be copied."""
    encoded = libhdf5().encoded(stored)
    known = _known.get(encoded)
    if known is None:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        known = _known[encoded] = _copied_type(h5t.decode(encoded))
    return known


def _copied_type(stored: h5t.TypeID) -> CopiedType:
    if is_new_reference(stored):
        old = h5t.STD_REF_OBJ.copy()
        return CopiedType(old, _elements(old), stored)
    datatype = rebuilt(stored)
    return CopiedType(datatype, _elements(datatype))


def as_old_references(memory: int, count: int, own: bytes) -> "ctypes.Array[ctypes.c_char]":
    """References of HDF5 1.12 as those that all versions read; of objects in the file `own` only.

    Those in memory are freed.
    """
    places = range(memory, memory + count * NBYTES_REFERENCE, NBYTES_REFERENCE)
    addresses = np.array([libhdf5().target(at, own) for at in places], np.uint64)
    return ctypes.create_string_buffer(addresses.tobytes(), addresses.nbytes)


def _elements(datatype: h5t.TypeID) -> Elements:
    found: dict[str, list[int]] = {"texts": [], "objects": [], "regions": []}
    sequences: list[tuple[int, Elements]] = []
    for at, part in _parts(datatype, 0):
        match part:
            case Elements():
                sequences.append((at, part))
            case str():
                found[part].append(at)
        if len(sequences) + sum(map(len, found.values())) > _MOST:
            raise UnsupportedError("too many variable-length parts or references in one element")
    places = {kind: tuple(offsets) for kind, offsets in found.items()}
    return Elements(datatype.get_size(), sequences=tuple(sequences), **places)


def _parts(datatype: h5t.TypeID, at: int) -> Iterator[tuple[int, str | Elements]]:
    match datatype:
        case h5t.TypeStringID() if datatype.is_variable_str():
            yield at, "texts"
        case h5t.TypeVlenID():
            inner = _elements(datatype.get_super())
            if inner.regions:
                raise UnsupportedError("sequences of region references are not copied")
            yield at, inner
        case h5t.TypeReferenceID():
            yield at, _reference(datatype.get_size())
        case h5t.TypeArrayID():
            inside = datatype.get_super()
            if next(_parts(inside, 0), None) is not None:
                for index in range(math.prod(datatype.get_array_dims())):
                    yield from _parts(inside, at + index * inside.get_size())
        case h5t.TypeCompoundID():
            for index in range(datatype.get_nmembers()):
                part = datatype.get_member_type(index)
                yield from _parts(part, at + datatype.get_member_offset(index))


class _Sequence(ctypes.Structure):
    """`hvl_t`."""

    _fields_ = (("count", ctypes.c_size_t), ("at", ctypes.c_void_p))


def _reference(nbytes: int) -> str:
    """By size: HDF5 finds a type unequal to its own when it was part of another."""
    if nbytes == h5t.STD_REF_OBJ.get_size():
        return "objects"
    if nbytes == h5t.STD_REF_DSETREG.get_size():
        return "regions"
    raise UnsupportedError("references of HDF5 1.12 inside of records are not copied")


def nbytes_of(memory: int, count: int, kind: Elements) -> int:
    """What these elements, at this address, take with all that they point to."""
    total = count * kind.nbytes
    for at in kind.texts:
        for pointer in _column(memory + at, count, kind.nbytes, 1)[:, 0].tolist():
            total += len(ctypes.string_at(pointer)) if pointer else 0
    for at, inner in kind.sequences:
        for length, pointer in _column(memory + at, count, kind.nbytes, 2).tolist():
            if pointer and length:
                total += nbytes_of(pointer, length, inner)
    return total


Target = Callable[[int], int]
"""From the address of an object in the old file to that in the new one; 0: it is not there."""


def retarget(memory: int, count: int, kind: Elements, old: Hid, new: Hid, target: Target) -> None:
    """Write the references in these elements anew, where they stand in memory."""
    for at in kind.objects:
        column = _column(memory + at, count, kind.nbytes, 1)[:, 0]
        different, which = np.unique(column, return_inverse=True)
        there = [target(address) if address else 0 for address in different.tolist()]
        column[:] = np.array(there, np.uint64)[which.reshape(column.shape)]
    for at in kind.regions:
        for number in range(count):
            _retarget_region(memory + at + number * kind.nbytes, old, new, target)
    for at, inner in kind.sequences:
        if inner.refers:
            for length, pointer in _column(memory + at, count, kind.nbytes, 2).tolist():
                if pointer and length:
                    retarget(pointer, length, inner, old, new, target)


def _retarget_region(at: int, old: Hid, new: Hid, target: Target) -> None:
    hdf5 = libhdf5()
    if not any(ctypes.string_at(at, NBYTES_REGION)):
        return
    there = space = 0
    try:
        opened = hdf5.r_dereference(old, 0, REGION, at)
        there = target(hdf5.address(opened))
        hdf5.o_close(opened)
        space = hdf5.r_region(old, REGION, at)
    except CallError:
        there = 0  # one that leads nowhere
    ctypes.memset(at, 0, NBYTES_REGION)
    if there:
        opened = hdf5.o_open_by_address(new, there)
        hdf5.r_create(at, opened, b".", REGION, space)
        hdf5.o_close(opened)
    if space:
        hdf5.s_close(space)


def _column(at: int, count: int, stride: int, words: int) -> npt.NDArray[np.uint64]:
    """So many 8-byte words at every element: a view of memory, which may be written."""
    whole: Any = (ctypes.c_uint8 * ((count - 1) * stride + 8 * words)).from_address(at)
    return np.ndarray((count, words), np.uint64, whole, strides=(stride, 8))
