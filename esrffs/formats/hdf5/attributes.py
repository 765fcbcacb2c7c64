"""Reads the attributes of an HDF5 object.

They are in the order of their creation where the file has it, else as they stand in the file.  An
attribute that cannot be read is null, and the reason stands under `"__error__"`.  The names and
values of an enumeration come last, under `"__enum__"`.
"""

import numpy as np

from esrffs import limits
from esrffs.encoders.json_text import to_bytes
from esrffs.errors import EsrffsError
from esrffs.formats import budget
from esrffs.formats.budget import TooSlowError
from esrffs.formats.hdf5.byte_order import in_order
from esrffs.formats.hdf5.datatypes import Array, element_type, to_json_value
from esrffs.formats.hdf5.fast_path import (
    NOT_SIMPLE,
    read_simple_attribute,
    read_simple_attributes,
)
from esrffs.formats.hdf5.library import (
    H5PY_EXCEPTIONS,
    h5,
    h5a,
    h5d,
    h5g,
    h5i,
    h5p,
    h5s,
    h5t,
    sentence,
)
from esrffs.formats.hdf5.new_references import NBYTES, paths
from esrffs.formats.hdf5.references import References, decoded

_LEAST = 4  # bytes of JSON that a byte of an attribute makes, about
_COMPACT = 8  # so many stand in the object's header, in the order in which they were made


def read_attributes(
    holder: h5g.GroupID | h5d.DatasetID | h5t.TypeID, references: References
) -> dict[str, object]:
    """All attributes, as `encoders/json_text` takes them.  Raises nothing of ours."""
    errors: dict[str, str] = {}
    simple = read_simple_attributes(holder.id)
    found: dict[str, object] = simple or {}
    try:
        for name in _names(holder) if simple is None else _not_simple(simple):
            budget.check("its attributes")
            _take(holder, name, references, found, errors)
    except (TooSlowError, *H5PY_EXCEPTIONS) as error:
        errors["*"] = sentence(error)
    if errors:
        found["__error__"] = errors
    if not isinstance(holder, h5g.GroupID):
        _enumerate(holder, found)
    return found


def _take(
    holder: h5g.GroupID | h5d.DatasetID | h5t.TypeID,
    name: bytes,
    references: References,
    found: dict[str, object],
    errors: dict[str, str],
) -> None:
    key = decoded(name)
    if key not in found:
        found[key] = read_simple_attribute(holder.id, name)
    if found[key] is not NOT_SIMPLE:
        return
    try:
        found[key] = _value(h5a.open(holder, name), references)
    except (EsrffsError, MemoryError, *H5PY_EXCEPTIONS) as error:
        found[key], errors[key] = None, sentence(error)


def _not_simple(found: dict[str, object]) -> list[bytes]:
    """The names of the attributes that h5py has to read."""
    return [to_bytes(key) for key, value in found.items() if value is NOT_SIMPLE]


def _names(holder: h5g.GroupID | h5d.DatasetID | h5t.TypeID) -> list[bytes]:
    count = h5a.get_num_attrs(holder)
    if not count:
        return []
    names: list[bytes] = []
    index = h5.INDEX_NAME
    if count > _COMPACT and not isinstance(holder, h5t.TypeID):
        tracked = holder.get_create_plist().get_attr_creation_order() & h5p.CRT_ORDER_TRACKED
        index = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME
    h5a.iterate(holder, names.append, index_type=index, order=h5.ITER_NATIVE)
    return names


def _value(attribute: h5a.AttrID, references: References) -> object:
    space = attribute.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    size = space.get_simple_extent_npoints() and attribute.get_storage_size()  # fails for none
    limits.check_json("an attribute", _LEAST * size)
    element = element_type(attribute.get_type())
    held = np.dtype(f"V{NBYTES}") if element.new_reference else element.buffer_dtype
    value: Array = np.zeros(space.shape + element.dims, held)
    if value.size:
        attribute.read(value, mtype=element.memory)
    if element.new_reference:
        value = paths(value, h5i.get_file_id(attribute), references)
    return to_json_value(in_order(value), references)


def _enumerate(holder: h5d.DatasetID | h5t.TypeID, found: dict[str, object]) -> None:
    try:
        stored = holder.get_type() if isinstance(holder, h5d.DatasetID) else holder
        named = element_type(stored).enumeration
    except (EsrffsError, *H5PY_EXCEPTIONS):
        return  # the dataset itself says why
    if named:
        found["__enum__"] = named
