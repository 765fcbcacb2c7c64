"""References of HDF5 1.12 and later (`H5T_STD_REF`), for which h5py has no calls.

Elements of this type are 64 bytes in memory, and hold addresses of this process: they are turned
into text here, as `hdf5_references` spells it, and never leave.  A reference to an attribute reads
`/path@name`.  One that leads into another file is `"?"`: nothing is opened to find out.
"""

import ctypes
import os
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_void_p
from typing import Any, Final

import numpy as np

from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5f, h5i, h5p, h5s, h5t
from esrffs.formats.hdf5.references import References

NBYTES: Final = 64  # H5R_REF_BUF_SIZE
_OBJECT, _REGION, _ATTRIBUTE = 2, 3, 4  # H5R_type_t
_NAME_NBYTES = 1 << 16  # of an attribute, or a file


class _Libhdf5:
    """The calls of H5R; AttributeError where the library that h5py has loaded lacks one."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(h5p.__file__)

        def bound(name: str, result: Any, *arguments: Any) -> Any:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            return function

        self.type = bound("H5Rget_type", c_int, c_void_p)
        self.destroy = bound("H5Rdestroy", c_int, c_void_p)
        self.file_name = bound("H5Rget_file_name", c_ssize_t, c_void_p, c_char_p, c_size_t)
        self.attribute = bound("H5Rget_attr_name", c_ssize_t, c_void_p, c_char_p, c_size_t)
        self.open_object = bound("H5Ropen_object", c_int64, c_void_p, c_int64, c_int64)
        self.open_region = bound("H5Ropen_region", c_int64, c_void_p, c_int64, c_int64)


try:
    _libhdf5: _Libhdf5 | None = _Libhdf5()
except (OSError, AttributeError):
    _libhdf5 = None


def is_new_reference(stored: h5t.TypeID) -> bool:
    """Whether elements of this type can be read by `paths`."""
    old = (h5t.STD_REF_OBJ, h5t.STD_REF_DSETREG)
    return (
        _libhdf5 is not None
        and isinstance(stored, h5t.TypeReferenceID)
        and stored not in old
        and stored.get_size() == NBYTES
    )


def paths(buffer: np.ndarray[Any, Any], file: h5f.FileID, references: References) -> Any:
    """The text of each element (dtype `V64`, as HDF5 has read them) as bytes; they are freed."""
    told = np.empty(buffer.shape, object)
    start = buffer.ctypes.data
    own = h5f.get_name(file)
    for number in range(buffer.size):
        told.flat[number] = _text(start + number * NBYTES, own, references)
    return told


def _text(address: int, own: bytes, references: References) -> bytes:
    if _libhdf5 is None or not any(ctypes.string_at(address, NBYTES)):
        return b""
    try:
        return _target(_libhdf5, address, own, references).encode("utf-8", "surrogateescape")
    except H5PY_EXCEPTIONS:
        return b"?"
    finally:
        _libhdf5.destroy(address)


def _target(libhdf5: _Libhdf5, address: int, own: bytes, references: References) -> str:
    kind = libhdf5.type(address)
    if kind not in (_OBJECT, _REGION, _ATTRIBUTE):
        return ""  # a null reference
    if _named(libhdf5.file_name, address) != own:
        return "?"
    opened = libhdf5.open_object(address, 0, 0)
    if opened < 0:
        return "?"
    path = references.path_of(h5i.wrap_identifier(opened))
    if kind == _ATTRIBUTE:
        return f"{path}@{os.fsdecode(_named(libhdf5.attribute, address))}"
    if kind == _REGION:
        space = libhdf5.open_region(address, 0, 0)
        return path + ("[?]" if space < 0 else references.selection(h5s.SpaceID(space)))
    return path


def _named(ask: Any, address: int) -> bytes:
    name = ctypes.create_string_buffer(_NAME_NBYTES)
    return name.value if 0 <= ask(address, name, _NAME_NBYTES) < _NAME_NBYTES else b""
