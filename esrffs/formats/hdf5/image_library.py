"""The calls of libhdf5 by which an image is written: values go from file to file as they are.

h5py would make Python objects of texts, sequences and references, and lose what it does not know.
The GIL is kept (`PyDLL`): libhdf5 does one thing at a time, and calls back into Python to write.
"""

import ctypes
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_uint64, c_ulong, c_void_p
from typing import Any, Final

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.hdf5.library import h5p
from esrffs.model import Box

Hid = int  # of an open object of HDF5

GROUP, DATATYPE, DATASET = 2, 3, 5  # H5I_type_t
NULL_SPACE: Final = 2  # H5S_NULL
REGION: Final = 1  # H5R_DATASET_REGION
_BASIC = 1  # H5O_INFO_BASIC
NBYTES_REGION: Final = 12  # of a reference to a region, in memory
NBYTES_REFERENCE: Final = 64  # of a reference of HDF5 1.12, in memory
_TO_OBJECT = 2  # H5R_OBJECT2


class CallError(DamagedError):
    """libhdf5 has refused a call."""


class _ObjectInfo(ctypes.Structure):
    """`H5O_info2_t`."""

    _fields_ = (
        ("fileno", c_ulong),
        ("token", ctypes.c_uint8 * 16),
        ("type", c_int),
        ("rc", ctypes.c_uint),
        ("times", c_int64 * 4),
        ("num_attrs", c_uint64),
    )


class _Libhdf5:
    """libhdf5's own names; AttributeError where the library that h5py has loaded lacks one.

    All raise CallError where they fail.
    """

    def __init__(self) -> None:
        library = ctypes.PyDLL(h5p.__file__)

        def bound(name: str, result: Any, *arguments: Any) -> Any:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments

            def check(value: int, *_: object) -> int:
                if value < 0:
                    raise CallError(f"HDF5 refuses it ({name}); look at the file with h5dump")
                return value

            function.errcheck = check
            return function

        hid, text = c_int64, c_char_p
        self.a_count = bound("H5Aget_num_attrs", c_int, hid)
        numbered = (hid, text, c_int, c_int, c_uint64, hid, hid)
        self.a_open_by_idx = bound("H5Aopen_by_idx", hid, *numbered)
        self.a_open = bound("H5Aopen", hid, hid, text, hid)
        self.a_name = bound("H5Aget_name", c_ssize_t, hid, c_size_t, c_void_p)
        self.a_type = bound("H5Aget_type", hid, hid)
        self.a_space = bound("H5Aget_space", hid, hid)
        self.a_read = bound("H5Aread", c_int, hid, hid, c_void_p)
        self.a_create = bound("H5Acreate2", hid, hid, text, hid, hid, hid, hid)
        self.a_write = bound("H5Awrite", c_int, hid, hid, c_void_p)
        self.a_close = bound("H5Aclose", c_int, hid)
        self.d_create = bound("H5Dcreate2", hid, hid, text, hid, hid, hid, hid, hid)
        self.d_read = bound("H5Dread", c_int, hid, hid, hid, hid, hid, c_void_p)
        self.d_write = bound("H5Dwrite", c_int, hid, hid, hid, hid, hid, c_void_p)
        self.d_close = bound("H5Dclose", c_int, hid)
        self.d_stored = bound("H5Dget_storage_size", c_int64, hid)
        self.d_offset = bound("H5Dget_offset", c_int64, hid)
        self.g_create = bound("H5Gcreate2", hid, hid, text, hid, hid, hid)
        self.i_type = bound("H5Iget_type", c_int, hid)
        self._p_create = bound("H5Pcreate", hid, hid)
        self._p_encoding = bound("H5Pset_char_encoding", c_int, hid, c_int)
        self._p_attribute = c_int64.in_dll(library, "H5P_CLS_ATTRIBUTE_CREATE_ID_g")
        self.l_soft = bound("H5Lcreate_soft", c_int, text, hid, text, hid, hid)
        self.l_hard = bound("H5Lcreate_hard", c_int, hid, text, hid, text, hid, hid)
        self.l_external = bound("H5Lcreate_external", c_int, text, text, hid, text, hid, hid)
        self.l_delete = bound("H5Ldelete", c_int, hid, text, hid)
        self.o_open = bound("H5Oopen", hid, hid, text, hid)
        self.o_open_by_address = bound("H5Oopen_by_addr", hid, hid, c_uint64)
        self.o_close = bound("H5Oclose", c_int, hid)
        self._o_info = bound("H5Oget_info3", c_int, hid, c_void_p, ctypes.c_uint)
        self.r_create = bound("H5Rcreate", c_int, c_void_p, hid, text, c_int, hid)
        self.r_dereference = bound("H5Rdereference2", hid, hid, hid, c_int, c_void_p)
        self.r_region = bound("H5Rget_region", hid, hid, c_int, c_void_p)
        self.d_type = bound("H5Dget_type", hid, hid)
        self.d_space = bound("H5Dget_space", hid, hid)
        self._s_simple = bound("H5Screate_simple", hid, c_int, c_void_p, c_void_p)
        self._s_select = bound("H5Sselect_hyperslab", c_int, hid, c_int, *[c_void_p] * 4)
        self.r_type = bound("H5Rget_type", c_int, c_void_p)
        self.r_open = bound("H5Ropen_object", hid, c_void_p, hid, hid)
        self.r_file = bound("H5Rget_file_name", c_ssize_t, c_void_p, c_void_p, c_size_t)
        self.r_destroy = bound("H5Rdestroy", c_int, c_void_p)
        self.s_class = bound("H5Sget_simple_extent_type", c_int, hid)
        self.s_count = bound("H5Sget_simple_extent_npoints", c_int64, hid)
        self.s_close = bound("H5Sclose", c_int, hid)
        self.t_commit = bound("H5Tcommit2", c_int, hid, text, hid, hid, hid, hid)
        self.t_copy = bound("H5Tcopy", hid, hid)
        self.t_close = bound("H5Tclose", c_int, hid)
        self.t_encode = bound("H5Tencode", c_int, hid, c_void_p, c_void_p)
        self.reclaim = bound("H5Dvlen_reclaim", c_int, hid, hid, hid, c_void_p)
        self._info = _ObjectInfo()
        self._info_at = ctypes.addressof(self._info)

    def address(self, opened: Hid) -> int:
        """Where the header of this object lies in its file."""
        self._o_info(opened, self._info_at, _BASIC)
        return int.from_bytes(bytes(self._info.token)[:8], "little")

    def attribute_properties(self, encoding: int) -> Hid:
        """A property list for new attributes whose names have this character set."""
        made: int = self._p_create(self._p_attribute.value)
        self._p_encoding(made, encoding)
        return made

    def row(self, count: int) -> Hid:
        """The dataspace of so many elements in memory, to be closed."""
        return int(self._s_simple(1, (c_uint64 * 1)(count), None))

    def selected(self, dataset: Hid, box: Box) -> Hid:
        """The dataspace of a dataset with this (not empty) box selected, to be closed."""
        space: int = self.d_space(dataset)
        if rank := len(box.start):
            corner, shape = (c_uint64 * rank)(*box.start), (c_uint64 * rank)(*box.shape)
            self._s_select(space, 0, corner, None, shape, None)
        return space

    def target(self, reference: int, own: bytes) -> int:
        """The address of what a reference of HDF5 1.12 (in memory, freed here) leads to.

        0 where that is no object, or one of another file than `own`: none is opened to see.
        """
        if not any(ctypes.string_at(reference, NBYTES_REFERENCE)):
            return 0
        try:
            if self.r_type(reference) != _TO_OBJECT:
                return 0
            name = ctypes.create_string_buffer(len(own) + 2)
            if self.r_file(reference, name, len(name)) != len(own) or name.value != own:
                return 0
            opened = self.r_open(reference, 0, 0)
            address = self.address(opened)
            self.o_close(opened)
        except CallError:
            return 0
        finally:
            self.r_destroy(reference)
        return address

    def encoded(self, datatype: Hid) -> bytes:
        """The type as bytes, alike for like types."""
        size = c_size_t(0)
        self.t_encode(datatype, None, ctypes.addressof(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.t_encode(datatype, buffer, ctypes.addressof(size))
        return buffer.raw


try:
    _libhdf5: _Libhdf5 | None = _Libhdf5()
except (OSError, AttributeError):
    _libhdf5 = None


def libhdf5() -> _Libhdf5:
    """The library; UnsupportedError where h5py's has not all of these calls."""
    if _libhdf5 is None:
        raise UnsupportedError("HDF5 views need h5py with HDF5 1.14 or later; update h5py")
    return _libhdf5
