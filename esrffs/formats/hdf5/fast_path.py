"""What a listing asks of every dataset and every attribute, asked without h5py's objects.

Decided here: which of them are plain enough for that (contiguous datasets; attributes that are a
number or a text, or a short row of them).  How they look is decided in `hdf5`, `hdf5_layout` and
`hdf5_attributes`: these give the same answers in three times the time, and do so wherever the
answer here is `None` or `NOT_SIMPLE`.

These are calls by ctypes into the libhdf5 that h5py has loaded, in signatures that have not
changed since HDF5 1.10.  The GIL is kept (`PyDLL`): libhdf5 does one thing at a time, and a
worker has nothing else to do.
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
_ROOM = 4096  # bytes: an attribute that is longer is not plain
_COMPACT = 8  # so many attributes stand in the object's header, in the order of their making
_DATASET = 5  # H5I_DATASET
_SCALAR, _SIMPLE, _NULL = 0, 1, 2  # H5S_class_t
_NAME, _NATIVE = 0, 2  # H5_INDEX_NAME, H5_ITER_NATIVE
_NOWHERE = (1 << 64) - 1  # HADDR_UNDEF

_scratch = (c_uint64 * (_ROOM // 8))()
_at = ctypes.addressof(_scratch)
_bytes = memoryview(_scratch).cast("B")
_axes = (c_uint64 * 32)()  # H5S_MAX_RANK
_axes_at = ctypes.addressof(_axes)
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
class ContiguousDataset:
    """A contiguous dataset, `offset` bytes from the start of the file."""

    shape: tuple[int, ...]
    element: ElementType
    offset: int
    stored: int  # bytes
    attributes: dict[str, object]


def describe_contiguous_dataset(group: int, name: bytes) -> ContiguousDataset | None:
    """The member `name` of this group (its HDF5 id), if it is one and its attributes are plain."""
    if _hdf5 is None or (opened := _hdf5.o_open(group, name, 0)) < 0:
        return None
    try:
        return _dataset(_hdf5, opened) if _hdf5.i_type(opened) == _DATASET else None
    finally:
        _hdf5.o_close(opened)


def read_simple_attribute(holder: int, name: bytes) -> object:
    """The value of an attribute of this object (its HDF5 id), or `NOT_SIMPLE`."""
    if _hdf5 is None or (opened := _hdf5.a_open(holder, name, 0)) < 0:
        return NOT_SIMPLE
    try:
        return _value(_hdf5, opened)
    finally:
        _hdf5.a_close(opened)


def can_read_sequences() -> bool:
    """Whether `read_sequences` is there."""
    return _hdf5 is not None


def read_sequences(
    dataset: h5d.DatasetID,
    memory_type: h5t.TypeID,
    memory: h5s.SpaceID,
    file: h5s.SpaceID,
    sequences: np.ndarray[Any, Any],
) -> None:
    """Elements of variable length as counts and addresses (`hvl_t`), to be freed; DamagedError.

    h5py would make an object of each of them.
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
    """What `read_sequences` has allocated."""
    if _hdf5 is not None:
        _hdf5.reclaim(memory_type.id, memory.id, 0, sequences.ctypes.data)


def _dataset(hdf5: _Libhdf5, opened: int) -> ContiguousDataset | None:
    offset = hdf5.d_offset(opened)
    if offset == _NOWHERE:
        return None
    stored = hdf5.d_type(opened)
    try:
        kind = _kind(hdf5, stored)
    finally:
        hdf5.t_close(stored)
    if kind is None:
        return None
    space = hdf5.d_space(opened)
    shape = _shape(hdf5, space)
    hdf5.s_close(space)
    attributes = _attributes(hdf5, opened) if shape is not None else None
    if shape is None or attributes is None:
        return None
    return ContiguousDataset(shape, kind.element, offset, hdf5.d_stored(opened), attributes)


def _shape(hdf5: _Libhdf5, space: int) -> tuple[int, ...] | None:
    kind = hdf5.s_class(space)
    if kind == _SIMPLE:
        rank = hdf5.s_axes(space, _axes_at, None)
        return tuple(_axes[:rank]) if rank > 0 else None
    return () if kind == _SCALAR else None


class _TypeInfo(NamedTuple):
    """What is known of a type.  `room`: bytes of one element, 0 where an attribute is not plain."""

    element: ElementType
    room: int
    text: bool  # of variable length


_KINDS: dict[bytes, _TypeInfo | None] = {}  # by encoded types: a file has few
_REMEMBERED = 1024


def _kind(hdf5: _Libhdf5, stored: int) -> _TypeInfo | None:
    """What elements of this type are; None where only h5py will know."""
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
        return _TypeInfo(element, 0, False)
    if element.object_fields:
        text = element.object_fields == ((),) and h5py.check_string_dtype(held) is not None
        return _TypeInfo(element, 8 if text else 0, text)
    return _TypeInfo(element, held.itemsize if held.char in "?bBhHiIlLqQefdS" else 0, False)


def _attributes(hdf5: _Libhdf5, opened: int) -> dict[str, object] | None:
    """All attributes in the order of the file; None if any is not plain."""
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
            found[name] = value = _value(hdf5, attribute)
        finally:
            hdf5.a_close(attribute)
        if value is NOT_SIMPLE:
            return None
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
