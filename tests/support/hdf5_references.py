"""Files with the new references of HDF5, which h5py does not write."""

import ctypes
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5p, h5s

_hid = ctypes.c_int64


_libhdf5 = ctypes.PyDLL(h5p.__file__)


def libhdf5(name: str, *arguments: Any) -> int:
    """A call that h5py lacks; numbers are identifiers."""
    function = getattr(_libhdf5, name)
    function.restype = _hid
    function.argtypes = [
        {int: _hid, bytes: ctypes.c_char_p}.get(type(argument), ctypes.c_void_p)
        for argument in arguments
    ]
    result = int(function(*arguments))
    assert result & 0xFFFFFFFF < 1 << 31, name
    return result


STD_REF = _hid.in_dll(_libhdf5, "H5T_STD_REF_g").value


def with_references(path: Path) -> None:
    """A dataset and an attribute of an object, a region, an attribute, another file, and none."""
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["there"] = 1
    room = (ctypes.c_uint8 * 64 * 5)()
    places = [ctypes.addressof(room) + 64 * number for number in range(5)]
    with (
        h5py.File(path, "w", libver="latest") as file,
        h5py.File(path.with_name("other.h5")) as other,
    ):
        file["data"] = np.arange(20).reshape(4, 5)
        file["data"].attrs["units"] = "mm"
        region = h5s.create_simple((4, 5))
        region.select_hyperslab((1, 2), (2, 2))
        libhdf5("H5Rcreate_object", file.id.id, b"/data", 0, ctypes.c_void_p(places[0]))
        libhdf5("H5Rcreate_region", file.id.id, b"/data", region.id, 0, ctypes.c_void_p(places[1]))
        libhdf5("H5Rcreate_attr", file.id.id, b"/data", b"units", 0, ctypes.c_void_p(places[2]))
        libhdf5("H5Rcreate_object", other.id.id, b"/there", 0, ctypes.c_void_p(places[3]))
        space = h5s.create_simple((5,))
        made = libhdf5("H5Dcreate2", file.id.id, b"refs", STD_REF, space.id, 0, 0, 0)
        libhdf5("H5Dwrite", made, STD_REF, 0, 0, 0, ctypes.c_void_p(places[0]))
        libhdf5("H5Dclose", made)
        one = h5s.create_simple((1,))
        data = file["data"]  # its identifier is valid for as long
        made = libhdf5("H5Acreate2", data.id.id, b"ref", STD_REF, one.id, 0, 0)
        libhdf5("H5Awrite", made, STD_REF, ctypes.c_void_p(places[0]))
        libhdf5("H5Aclose", made)
