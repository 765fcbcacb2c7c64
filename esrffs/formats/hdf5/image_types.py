"""The HDF5 datatype that the bytes of an `.npy` are of.

That of the source, wherever those bytes are its bytes.  Where `.npy` holds converted values (text
padded with blanks, numbers with padding bits, compounds that were packed), it is the type that they
were converted to, with as much of the other as fits: enumerations, character sets, padding.

The values would be wrong otherwise: an image never holds bytes that its datatype reads differently.
"""

import math

import numpy as np

from esrffs.errors import UnsupportedError
from esrffs.formats.hdf5.datatypes import ElementType
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5t

_COMPLEX = getattr(h5t, "TypeComplexID", None)  # since HDF5 2.0


def image_type(stored: h5t.TypeID, element: ElementType) -> h5t.TypeID:
    """The type for the elements of an `.npy` of this element type; UnsupportedError for none."""
    made = _image_type(stored, element)
    if made.get_size() != element.buffer_dtype.itemsize * math.prod(element.dims):
        raise UnsupportedError("its array has no datatype of HDF5")
    return made


def _image_type(stored: h5t.TypeID, element: ElementType) -> h5t.TypeID:
    if element.verbatim or element.memory == stored:
        return rebuilt(stored)
    dtype = np.dtype((element.buffer_dtype, element.dims)) if element.dims else element.buffer_dtype
    if h5t.py_create(dtype, logical=True) == stored:
        return rebuilt(stored)
    return _refined(stored, element.memory)


def rebuilt(stored: h5t.TypeID) -> h5t.TypeID:
    """The same type, in the oldest form in which HDF5 can write it, for values in memory.

    A copy would have the form of its file: that of HDF5 2.0 is read by nothing older, and older
    programs may refuse a whole file for it.
    """
    match stored:
        case h5t.TypeStringID() if stored.is_variable_str():
            made = h5t.C_S1.copy()
            made.set_size(h5t.VARIABLE)
            made.set_cset(stored.get_cset())
            made.set_strpad(stored.get_strpad())
        case h5t.TypeVlenID():
            made = h5t.vlen_create(rebuilt(stored.get_super()))
        case h5t.TypeArrayID():
            made = h5t.array_create(rebuilt(stored.get_super()), stored.get_array_dims())
        case h5t.TypeEnumID():
            made = _rebuilt_enum(stored)
        case h5t.TypeCompoundID():
            made = h5t.create(h5t.COMPOUND, stored.get_size())
            for index in range(stored.get_nmembers()):
                part = rebuilt(stored.get_member_type(index))
                made.insert(stored.get_member_name(index), stored.get_member_offset(index), part)
        case h5t.TypeReferenceID() if stored.get_size() == h5t.STD_REF_OBJ.get_size():
            made = h5t.STD_REF_OBJ.copy()
        case h5t.TypeReferenceID() if stored.get_size() == h5t.STD_REF_DSETREG.get_size():
            made = h5t.STD_REF_DSETREG.copy()
        case _ if _COMPLEX is not None and isinstance(stored, _COMPLEX):
            made = h5t.py_create(stored.dtype)  # a compound of two: HDF5 1.14 has no other
        case _:
            made = stored.copy()
    return made


def _rebuilt_enum(stored: h5t.TypeEnumID) -> h5t.TypeID:
    made = h5t.enum_create(rebuilt(stored.get_super()))
    try:
        for index in range(stored.get_nmembers()):
            made.enum_insert(stored.get_member_name(index), stored.get_member_value(index))
    except H5PY_EXCEPTIONS:  # numbers of 64 bits without a sign
        return stored.copy()
    return made if made == stored else stored.copy()


def _refined(stored: h5t.TypeID, memory: h5t.TypeID) -> h5t.TypeID:
    """`memory`, which is how the bytes lie, with what of `stored` means the same."""
    match stored, memory:
        case h5t.TypeStringID(), h5t.TypeStringID() if _ends_in_zeros(stored, memory):
            return stored.copy()
        case h5t.TypeEnumID(), h5t.TypeIntegerID() if stored.get_super() == memory:
            return rebuilt(stored)
        case h5t.TypeArrayID(), h5t.TypeArrayID() if _dims(stored) == _dims(memory):
            inner = _refined(stored.get_super(), memory.get_super())
            return h5t.array_create(inner, memory.get_array_dims())
        case h5t.TypeCompoundID(), h5t.TypeCompoundID():
            return _refined_compound(stored, memory)
    return memory.copy()


def _ends_in_zeros(stored: h5t.TypeStringID, memory: h5t.TypeStringID) -> bool:
    """Whether it differs only in that a zero ends it, as one does after HDF5's conversion."""
    return bool(
        not stored.is_variable_str()
        and stored.get_strpad() in (h5t.STR_NULLTERM, h5t.STR_NULLPAD)
        and stored.get_size() == memory.get_size()
        and stored.get_cset() == memory.get_cset()
    )


def _dims(stored: h5t.TypeArrayID) -> tuple[int, ...]:
    return tuple(stored.get_array_dims())


def _refined_compound(stored: h5t.TypeCompoundID, memory: h5t.TypeCompoundID) -> h5t.TypeID:
    made = h5t.create(h5t.COMPOUND, memory.get_size())
    members = {
        stored.get_member_name(index): stored.get_member_type(index)
        for index in range(stored.get_nmembers())
    }
    for index in range(memory.get_nmembers()):
        name, part = memory.get_member_name(index), memory.get_member_type(index)
        refined = _refined(members[name], part) if name in members else part
        made.insert(name, memory.get_member_offset(index), refined)
    return made
