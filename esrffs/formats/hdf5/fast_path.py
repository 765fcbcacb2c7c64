"""Describes the usual objects of a group quickly, without h5py's objects.

The usual objects are groups, and contiguous or chunked datasets whose attributes are simple: one
number or text, or a short row of them.  For everything else the answer is `None` or `NOT_SIMPLE`,
and `reader`, `layout` and `attributes` describe it by h5py, which takes twice the time.  Both ways
give equal answers (a test compares them).

The functions are called by ctypes in the libhdf5 that h5py has loaded, with signatures that have
not changed since HDF5 1.12.  The GIL is kept (`PyDLL`): libhdf5 does one thing at a time, and a
worker process has nothing else to do.

Does not: decide how an object is shown.
"""

import ctypes
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_uint64, c_void_p, string_at
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.hdf5.datatypes import ElementType, element_type
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5d, h5p, h5py, h5s, h5t
from esrffs.formats.hdf5.references import decoded

NOT_SIMPLE: Final = object()  # an attribute that h5py has to read
GROUP: Final = object()  # a member that is a group
_ROOM = 4096  # bytes: an attribute that is longer is not simple
_COMPACT = 8  # so many attributes stand in the object's header, in the order of their making
_GROUP, _DATASET = 2, 5  # H5I_type_t
_SCALAR, _SIMPLE, _NULL = 0, 1, 2  # H5S_class_t
_NAME, _NATIVE = 0, 2  # H5_INDEX_NAME, H5_ITER_NATIVE
_NOWHERE = (1 << 64) - 1  # HADDR_UNDEF

_scratch = (c_uint64 * (_ROOM // 8))()
_at = ctypes.addressof(_scratch)
_bytes = memoryview(_scratch).cast("B")
_axes = (c_uint64 * 32)()  # H5S_MAX_RANK
_axes_at = ctypes.addressof(_axes)
_limits = (c_uint64 * 32)()
_limits_at = ctypes.addressof(_limits)
_size = c_size_t()
_size_at = ctypes.addressof(_size)


class _Libhdf5:
    """libhdf5's own names; AttributeError where the library that h5py has loaded lacks one."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(h5p.__file__)

        def bound(name: str, result: Any, *arguments: Any) -> Any:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            return function

        hid = c_int64
        self.o_open = bound("H5Oopen", hid, hid, c_char_p, hid)
        self.o_close = bound("H5Oclose", c_int, hid)
        self.i_type = bound("H5Iget_type", c_int, hid)
        self.d_offset = bound("H5Dget_offset", c_uint64, hid)
        self.d_stored = bound("H5Dget_storage_size", c_uint64, hid)
        self.d_index = bound("H5Dget_chunk_index_type", c_int, hid, c_void_p)
        self.d_plist = bound("H5Dget_create_plist", hid, hid)
        self.d_space = bound("H5Dget_space", hid, hid)
        self.d_type = bound("H5Dget_type", hid, hid)
        self.s_class = bound("H5Sget_simple_extent_type", c_int, hid)
        self.s_axes = bound("H5Sget_simple_extent_dims", c_int, hid, c_void_p, c_void_p)
        self.s_close = bound("H5Sclose", c_int, hid)
        self.t_encode = bound("H5Tencode", c_int, hid, c_void_p, c_void_p)
        self.t_close = bound("H5Tclose", c_int, hid)
        self.d_read = bound("H5Dread", c_int, hid, hid, hid, hid, hid, c_void_p)
        self.reclaim = bound("H5Dvlen_reclaim", c_int, hid, hid, hid, c_void_p)
        self.a_count = bound("H5Aget_num_attrs", c_int, hid)
        self.a_open = bound("H5Aopen", hid, hid, c_char_p, hid)
        numbered = (hid, c_char_p, c_int, c_int, c_uint64, hid, hid)
        self.a_open_by_idx = bound("H5Aopen_by_idx", hid, *numbered)
        self.a_name = bound("H5Aget_name", c_ssize_t, hid, c_size_t, c_void_p)
        self.a_type = bound("H5Aget_type", hid, hid)
        self.a_space = bound("H5Aget_space", hid, hid)
        self.a_read = bound("H5Aread", c_int, hid, hid, c_void_p)
        self.a_close = bound("H5Aclose", c_int, hid)


try:
    _hdf5: _Libhdf5 | None = _Libhdf5()
except (OSError, AttributeError):
    _hdf5 = None


@dataclass(frozen=True, slots=True)
class SimpleDataset:
    """A contiguous dataset with its place, or a chunked one with its properties.

    `shape` and `limits` (the maximal shape, `h5s.UNLIMITED` where there is none) are without the
    axes of an array type.  `offset` is in bytes from the start of the file, `stored` a number of
    bytes; both are 0 of a chunked dataset, and `properties` is None of a contiguous one.
    """

    shape: tuple[int, ...]
    limits: tuple[int, ...]
    element: ElementType
    dtype: np.dtype[Any]
    attributes: dict[str, object]
    offset: int = 0
    stored: int = 0
    properties: h5p.PropDCID | None = None


def describe_member(group: int, name: bytes) -> SimpleDataset | object | None:
    """The member `name` of a group (given by its HDF5 id): `GROUP`, or a dataset.

    None where h5py has to describe it, or to say what is wrong with it.
    """
    if _hdf5 is None or (opened := _hdf5.o_open(group, name, 0)) < 0:
        return None
    try:
        kind = _hdf5.i_type(opened)
        if kind == _GROUP:
            return GROUP
        return _dataset(_hdf5, opened) if kind == _DATASET else None
    finally:
        _hdf5.o_close(opened)


def read_simple_attributes(holder: int) -> dict[str, object] | None:
    """All attributes of an object (its HDF5 id) in the order of the file; None where unknown.

    A number is an int, float or bool, a text is bytes, a row of them a list; `NOT_SIMPLE` stands
    for what h5py has to read.
    """
    return None if _hdf5 is None else _attributes(_hdf5, holder)


def read_simple_attribute(holder: int, name: bytes) -> object:
    """The value of an attribute of an object (its HDF5 id), or `NOT_SIMPLE`."""
    if _hdf5 is None or (opened := _hdf5.a_open(holder, name, 0)) < 0:
        return NOT_SIMPLE
    try:
        return _value(_hdf5, opened)
    finally:
        _hdf5.a_close(opened)


def can_read_sequences() -> bool:
    """Whether `read_sequences` can be called."""
    return _hdf5 is not None


def read_sequences(
    dataset: h5d.DatasetID,
    memory_type: h5t.TypeID,
    memory: h5s.SpaceID,
    file: h5s.SpaceID,
    sequences: np.ndarray[Any, Any],
) -> None:
    """Read elements of variable length as counts and addresses (`hvl_t`); DamagedError.

    h5py would make an object of each of them.  `free_sequences` frees what this allocates.
    """
    if _hdf5 is None:
        raise UnsupportedError("libhdf5 cannot be called")
    spaces = memory.id, file.id
    if _hdf5.d_read(dataset.id, memory_type.id, *spaces, 0, sequences.ctypes.data) < 0:
        sequences.view(np.uint8)[:] = 0  # some of it may be freed already
        raise DamagedError("HDF5 cannot read its values; look at the file with h5dump")


def free_sequences(
    memory_type: h5t.TypeID, memory: h5s.SpaceID, sequences: np.ndarray[Any, Any]
) -> None:
    """Free the memory that `read_sequences` has allocated."""
    if _hdf5 is not None:
        _hdf5.reclaim(memory_type.id, memory.id, 0, sequences.ctypes.data)


def _dataset(hdf5: _Libhdf5, opened: int) -> SimpleDataset | None:
    offset = hdf5.d_offset(opened)
    if offset == _NOWHERE and hdf5.d_index(opened, _size_at) < 0:
        return None  # neither contiguous nor chunked
    stored = hdf5.d_type(opened)
    try:
        kind = _kind(hdf5, stored)
    finally:
        hdf5.t_close(stored)
    if kind is None or kind.dtype is None:
        return None
    space = hdf5.d_space(opened)
    shape = _shape(hdf5, space)
    limits = tuple(_limits[: len(shape)]) if shape else ()
    hdf5.s_close(space)
    attributes = _attributes(hdf5, opened) if shape is not None else None
    if shape is None or attributes is None or NOT_SIMPLE in attributes.values():
        return None
    told = shape, limits, kind.element, kind.dtype, attributes
    if offset == _NOWHERE:
        return SimpleDataset(*told, properties=h5p.PropDCID(hdf5.d_plist(opened)))
    return SimpleDataset(*told, offset, hdf5.d_stored(opened))


def _shape(hdf5: _Libhdf5, space: int) -> tuple[int, ...] | None:
    """The shape, and in `_limits` the maximal one; None of a null dataspace."""
    kind = hdf5.s_class(space)
    if kind == _SIMPLE:
        rank = hdf5.s_axes(space, _axes_at, _limits_at)
        return tuple(_axes[:rank]) if rank > 0 else None
    return () if kind == _SCALAR else None


class _TypeInfo(NamedTuple):
    """A type.  `room`: bytes of one element of an attribute, 0 where it is not simple."""

    element: ElementType
    room: int
    text: bool  # of variable length
    dtype: np.dtype[Any] | None  # of an array of it; None where that depends on the values


_KINDS: dict[bytes, _TypeInfo | None] = {}  # by encoded types: a file has few
_REMEMBERED = 1024


def _kind(hdf5: _Libhdf5, stored: int) -> _TypeInfo | None:
    """The type with this HDF5 id; None where h5py has to look at it."""
    _size.value = _ROOM
    if hdf5.t_encode(stored, _at, _size_at) < 0:
        return None
    size = _size.value
    if size > _ROOM:
        return None
    encoded = bytes(_bytes[:size])
    try:
        return _KINDS[encoded]
    except KeyError:
        if len(_KINDS) >= _REMEMBERED:
            _KINDS.clear()
        _KINDS[encoded] = known = _known(encoded)
        return known


def _known(encoded: bytes) -> _TypeInfo | None:
    try:
        element = element_type(h5t.decode(encoded))
    except (EsrffsError, *H5PY_EXCEPTIONS):
        return None
    held = element.buffer_dtype
    if element.needs_json or element.dims or element.new_reference:
        whole = None if element.needs_json or element.object_fields else element.dtype({})
        return _TypeInfo(element, 0, False, whole)
    if element.object_fields:
        text = element.object_fields == ((),) and h5py.check_string_dtype(held) is not None
        return _TypeInfo(element, 8 if text else 0, text, None)
    room = held.itemsize if held.char in "?bBhHiIlLqQefdS" else 0
    return _TypeInfo(element, room, False, element.dtype({}))


def _attributes(hdf5: _Libhdf5, opened: int) -> dict[str, object] | None:
    """All attributes in the order of the file, `NOT_SIMPLE` for some; None where h5py must look."""
    count = hdf5.a_count(opened)
    if not 0 <= count <= _COMPACT:
        return None
    found: dict[str, object] = {}
    for index in range(count):
        attribute = hdf5.a_open_by_idx(opened, b".", _NAME, _NATIVE, index, 0, 0)
        if attribute < 0:
            return None
        try:
            length = hdf5.a_name(attribute, _ROOM, _at)
            if not 0 <= length < _ROOM:
                return None
            name = decoded(bytes(_bytes[:length]))
            found[name] = _value(hdf5, attribute)
        finally:
            hdf5.a_close(attribute)
    return found


def _value(hdf5: _Libhdf5, attribute: int) -> object:
    space = hdf5.a_space(attribute)
    stored = hdf5.a_type(attribute)
    try:
        if hdf5.s_class(space) == _NULL:
            return None
        shape = _shape(hdf5, space)
        kind = _kind(hdf5, stored)
        if shape is None or len(shape) > 1 or kind is None:
            return NOT_SIMPLE
        count = shape[0] if shape else 1
        if not 0 < count * kind.room <= _ROOM:
            return NOT_SIMPLE
        values: list[object]
        if hdf5.a_read(attribute, stored if kind.text else kind.element.memory.id, _at) < 0:
            return NOT_SIMPLE
        if kind.text:
            try:
                values = [string_at(at) if at else b"" for at in _scratch[:count]]
            except MemoryError:  # h5py says so, of this attribute alone
                return NOT_SIMPLE
            finally:
                hdf5.reclaim(stored, space, 0, _at)
        else:
            values = np.frombuffer(_bytes, kind.element.buffer_dtype, count).tolist()
        return values if shape else values[0]
    finally:
        hdf5.t_close(stored)
        hdf5.s_close(space)
