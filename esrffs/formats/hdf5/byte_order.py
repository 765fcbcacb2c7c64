"""Sequences of numbers in the byte order of their file.

h5py (3.16 at least) gives the bytes of a sequence as they are in the file, with a dtype in the byte
order of this machine.  This module gives them the dtype of the file.
"""

from functools import cache
from typing import Any

import numpy as np

from esrffs.formats.hdf5.datatypes import Array, DType
from esrffs.formats.hdf5.library import h5py


def in_order(array: Array) -> Array:
    """The same elements as h5py has read them, each sequence with the byte order that it has."""
    if array.dtype.hasobject and _has_foreign_order(array.dtype) and _mislabels():
        _put_in_order(array)
    return array


def _has_foreign_order(dtype: DType) -> bool:
    if dtype.subdtype:
        return _has_foreign_order(dtype.subdtype[0])
    if dtype.names:
        return any(_has_foreign_order(dtype[name]) for name in dtype.names)
    base = h5py.check_vlen_dtype(dtype)
    if not isinstance(base, np.dtype):
        return False
    return _has_foreign_order(base) if base.hasobject else base.newbyteorder("=") != base


@cache
def _mislabels() -> bool:
    """Whether this h5py does so."""
    with h5py.File("probe", "w", driver="core", backing_store=False) as file:
        swapped = np.dtype(np.uint16).newbyteorder()
        made = file.create_dataset("x", (1,), h5py.vlen_dtype(swapped))
        made[0] = np.array([1], swapped)
        return bool(made[0][0] != 1)


def _put_in_order(array: Array) -> None:
    for name in array.dtype.names or ():
        if array.dtype[name].hasobject:
            _put_in_order(array[name])
    base = h5py.check_vlen_dtype(array.dtype)
    if isinstance(base, np.dtype):
        flat: Any = array.reshape(-1)  # of a field: a view, or what is put in it is lost
        for index, value in enumerate(flat.tolist()):
            flat[index] = _named(value, base)
        if not np.shares_memory(flat, array):
            array[...] = flat.reshape(array.shape)


def _named(value: object, base: DType) -> object:
    if not isinstance(value, np.ndarray):
        return value
    if base.hasobject:
        inner = value.astype(base)
        _put_in_order(inner)
        return inner
    alike = value.dtype == base.newbyteorder("=") or value.dtype.itemsize == base.itemsize
    return value.view(base) if alike and value.dtype != base else value
