"""The dtype for each HDF5 datatype, and the conversion of values (the type table of CONTRACT §3).

A datatype is one of four kinds:

* NumPy has it: the dtype is that of h5py, byte order kept, without h5py's metadata;
* it holds variable-length text or references: `<U…`, as wide as the longest one;
* NumPy could hold it only by pickling (variable-length sequences): JSON;
* h5py has no dtype for it, but its bytes are its own (3-byte integers, time): `V<n>`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.recfunctions import repack_fields

from esrffs.errors import StaleError, UnsupportedError
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5py, h5r, h5t
from esrffs.formats.hdf5.new_references import is_new_reference
from esrffs.formats.hdf5.references import References, decoded

Array: TypeAlias = npt.NDArray[Any]
DType: TypeAlias = np.dtype[Any]
FieldPath = tuple[str, ...]  # the names that lead to a field of a compound; () where it is none


@dataclass(frozen=True, slots=True)
class ElementType:
    """One element: `held` is the dtype of h5py's buffer, `memory` what HDF5 converts it to.

    `dims` are those of an array type: they follow the axes of the dataset.  `verbatim`: the bytes
    in the file are those in memory.  `leaves`: the fields that become `<U…`.
    """

    memory: h5t.TypeID
    buffer_dtype: DType
    dims: tuple[int, ...] = ()
    verbatim: bool = False
    object_fields: tuple[FieldPath, ...] = ()
    needs_json: bool = False  # only JSON can hold it
    enumeration: object = None  # names and values; field by field in a compound
    object_reference: bool = False  # and nothing else: 8 bytes, an address
    new_reference: bool = False  # read as `V64`, which `hdf5_new_references` makes into paths

    def dtype(self, widths: Mapping[FieldPath, int]) -> DType:
        """The dtype that `numpy.save` is given."""
        return _saved(self.buffer_dtype, widths, bool(self.object_fields))


class NoDtypeError(UnsupportedError):
    """h5py has no dtype for elements that hold addresses, or are relative to something."""


_TEXT = h5py.string_dtype()
_ELEMENT_TYPES: dict[bytes, ElementType] = {}  # a file has many datasets, but few types
_REMEMBERED = 1024


def element_type(stored: h5t.TypeID) -> ElementType:
    """How elements of this type in the file are read; UnsupportedError where they cannot be."""
    encoded = stored.encode()
    if encoded not in _ELEMENT_TYPES:
        if len(_ELEMENT_TYPES) >= _REMEMBERED:
            _ELEMENT_TYPES.clear()
        _ELEMENT_TYPES[encoded] = _element_type(stored.copy())  # which outlives the file
    return _ELEMENT_TYPES[encoded]


def _element_type(stored: h5t.TypeID) -> ElementType:
    _refuse_what_crashes(stored)
    try:
        known = _known(stored)
    except H5PY_EXCEPTIONS as error:
        if is_new_reference(stored):
            return ElementType(stored, _TEXT, object_fields=((),), new_reference=True)
        if _points(stored):
            text = "no dtype for its datatype, which h5py does not know; read it with h5dump"
            raise NoDtypeError(text) from error
        return ElementType(stored, np.dtype(("V", stored.get_size())), verbatim=True)
    return replace(known, enumeration=_enumeration(stored))


def _known(stored: h5t.TypeID) -> ElementType:
    dtype = stored.dtype
    if isinstance(stored, h5t.TypeEnumID) and dtype.kind != "b":
        base = stored.get_super()  # HDF5 would convert by name, and refuse numbers without one
        return ElementType(stored, _bare(base.dtype), verbatim=h5t.py_create(base.dtype) == base)
    if isinstance(stored, h5t.TypeBitfieldID | h5t.TypeOpaqueID):  # a tag of its own, perhaps
        return ElementType(stored, _bare(dtype), verbatim=True)
    held, dims = _flat(dtype)
    if held.names and not held.hasobject and not _has_header(held):
        held = repack_fields(held, recurse=True)  # HDF5 goes by the names of the fields
        dtype = np.dtype((held, dims)) if dims else held
    memory = h5t.py_create(dtype)
    if h5t.find(stored, memory) is None:
        raise TypeError(f"HDF5 cannot convert it to {dtype}")
    pickled = any(_is_sequence(held, leaf) for leaf in _leaves(held))
    leaves = () if pickled else tuple(_leaves(held))
    if held.names:
        _saved(held, dict.fromkeys(leaves, 1), bool(leaves))
        repr(held).encode()  # a name that is not UTF-8 could not stand in the header
    same = stored in (memory, h5t.py_create(dtype, logical=True))
    verbatim = same and not held.hasobject and not _has_gaps(held)
    address = not held.names and not dims and h5py.check_ref_dtype(held) is h5r.Reference
    return ElementType(memory, held, dims, verbatim, leaves, pickled, object_reference=address)


def _flat(dtype: DType) -> tuple[DType, tuple[int, ...]]:
    """What an array type consists of and all its axes: it may be an array of arrays."""
    dims: tuple[int, ...] = ()
    while dtype.subdtype:
        dtype, more = dtype.subdtype
        dims += more
    return dtype, dims


def _has_header(dtype: DType) -> bool:
    """Whether `numpy.save` can describe it: fields that are not in the order of bytes it cannot."""
    try:
        return bool(dtype.descr)
    except ValueError:
        return False


def _has_gaps(dtype: DType) -> bool:
    """Whether there are bytes between fields: those in the file are anything, h5py makes them 0."""
    base = dtype.subdtype[0] if dtype.subdtype else dtype
    fields = [base[name] for name in base.names or ()]
    whole = not fields or sum(field.itemsize for field in fields) == base.itemsize
    return not whole or any(map(_has_gaps, fields))


def _enumeration(stored: h5t.TypeID) -> object:
    if isinstance(stored, h5t.TypeEnumID):
        count = range(stored.get_nmembers())  # not `enum_valueof`: it sorts all names each time
        values = {decoded(stored.get_member_name(i)): stored.get_member_value(i) for i in count}
        return None if {*values.items()} == {("FALSE", 0), ("TRUE", 1)} else values
    if isinstance(stored, h5t.TypeArrayID):
        return _enumeration(stored.get_super())
    if isinstance(stored, h5t.TypeCompoundID):
        names = [decoded(stored.get_member_name(i)) for i in range(stored.get_nmembers())]
        fields = [_enumeration(stored.get_member_type(i)) for i in range(stored.get_nmembers())]
        return {name: field for name, field in zip(names, fields, strict=True) if field} or None
    return None


def _below(stored: h5t.TypeID) -> Iterator[h5t.TypeID]:
    """The type itself and every type that it is made of."""
    yield stored
    if isinstance(stored, h5t.TypeArrayID | h5t.TypeVlenID):
        yield from _below(stored.get_super())
    if isinstance(stored, h5t.TypeCompoundID):
        for index in range(stored.get_nmembers()):
            yield from _below(stored.get_member_type(index))


_SIMPLE = h5t.TypeIntegerID | h5t.TypeFloatID


def _refuse_what_crashes(stored: h5t.TypeID) -> None:
    if isinstance(stored, _SIMPLE):
        return
    for outer in _below(stored):
        if isinstance(outer, h5t.TypeVlenID):
            for inner in _below(outer.get_super()):
                if isinstance(inner, h5t.TypeReferenceID) and inner == h5t.STD_REF_DSETREG:
                    raise UnsupportedError("reading sequences of region references crashes h5py")


def _points(stored: h5t.TypeID) -> bool:
    """Whether elements in memory hold addresses, so that their bytes mean nothing."""
    return any(
        isinstance(part, h5t.TypeVlenID | h5t.TypeReferenceID)
        or (isinstance(part, h5t.TypeStringID) and part.is_variable_str())
        for part in _below(stored)
    )


def _leaves(dtype: DType, above: FieldPath = ()) -> Iterator[FieldPath]:
    """Where in an element Python objects stand."""
    base = dtype.subdtype[0] if dtype.subdtype else dtype
    if base.names and base.hasobject:
        for name in base.names:
            yield from _leaves(base[name], (*above, name))
    elif base.hasobject:
        yield above


def _at(dtype: DType, leaf: FieldPath) -> DType:
    for name in leaf:
        dtype = (dtype.subdtype[0] if dtype.subdtype else dtype)[name]
    return dtype.subdtype[0] if dtype.subdtype else dtype


def _is_sequence(dtype: DType, leaf: FieldPath) -> bool:
    found = _at(dtype, leaf)
    return h5py.check_string_dtype(found) is None and h5py.check_ref_dtype(found) is None


def _bare(dtype: DType) -> DType:
    return np.dtype(dtype.str)


def _saved(
    dtype: DType, widths: Mapping[FieldPath, int], packed: bool, leaf: FieldPath = ()
) -> DType:
    """Without h5py's metadata, text in place of objects; packed where text changed the sizes."""
    if dtype.subdtype:
        return np.dtype((_saved(dtype.subdtype[0], widths, packed, leaf), dtype.subdtype[1]))
    if dtype.names:
        formats = [_saved(dtype[name], widths, packed, (*leaf, name)) for name in dtype.names]
        record: Any = {"names": list(dtype.names), "formats": formats}
        if not packed:
            fields: Any = dtype.fields
            record |= {"offsets": [fields[name][1] for name in dtype.names]}
            record |= {"itemsize": dtype.itemsize}
        saved: DType = np.dtype(record)
        return saved
    return np.dtype(("U", max(1, widths.get(leaf, 1)))) if dtype.hasobject else _bare(dtype)


def texts(array: Array, leaf: FieldPath, references: References) -> list[str]:
    """The variable-length strings or references at one place of every element."""
    for name in leaf:
        array = array[name]
    return [
        decoded(value) if isinstance(value, bytes) else references.text(value)
        for value in array.ravel().tolist()
    ]


def to_fixed_width_text(
    array: Array, element: ElementType, dtype: DType, references: References
) -> Array:
    """The same elements with `<U…` in place of objects."""
    out: Array = np.zeros(array.shape, dtype)
    _copy(array, out)
    for leaf in element.object_fields:
        column = out
        for name in leaf:
            column = column[name]
        found = texts(array, leaf, references)
        if max(map(len, found), default=0) > max(1, column.dtype.itemsize // 4):
            raise StaleError("a text is longer than any was when the group was listed")
        column[...] = np.array(found, dtype=column.dtype).reshape(column.shape)
    return out


def _copy(array: Array, out: Array) -> None:
    for name in array.dtype.names or ():
        if array.dtype[name].hasobject:
            _copy(array[name], out[name])
        else:
            out[name] = array[name]


def to_json_value(value: object, references: References) -> object:
    """A value of any type with paths in place of references: what `encoders/json_text` takes."""
    match value:
        case np.ndarray() if not value.dtype.hasobject:
            return value if value.ndim else value[()]
        case np.ndarray() if value.ndim == 0:
            return to_json_value(value[()], references)
        case np.ndarray() | list():
            return [to_json_value(inner, references) for inner in value]
        case np.void() if value.dtype.names:
            return {name: to_json_value(value[name], references) for name in value.dtype.names}
        case h5r.Reference():
            return references.text(value)
        case _:
            return value
