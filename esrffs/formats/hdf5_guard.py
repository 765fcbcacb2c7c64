"""hdf5plugin's filters, watched.

Decided here: that a filter which gives less than its chunk has is one that failed.  libhdf5 would
take what it gave for a whole chunk, and read on behind it.
"""

import ctypes
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esrffs.formats.hdf5_library import h5p

_REVERSE = 0x100  # the flag of a filter that unpacks
_SIZE, _UINT = ctypes.c_size_t, ctypes.c_uint
_Filter = ctypes.CFUNCTYPE(
    _SIZE,
    *(_UINT, _SIZE, ctypes.POINTER(_UINT), _SIZE),
    *(ctypes.POINTER(_SIZE), ctypes.POINTER(ctypes.c_void_p)),
)


class _Class(ctypes.Structure):
    """`H5Z_class2_t` of HDF5."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("encodes", _UINT),
        ("decodes", _UINT),
        ("name", ctypes.c_char_p),
        ("can_apply", ctypes.c_void_p),
        ("set_local", ctypes.c_void_p),
        ("filter", _Filter),
    )


_least = 0  # bytes that a filter must give now: one thread of a worker reads HDF5
_kept: dict[int, _Class] = {}  # for as long as libhdf5 may call them


def guarded(number: int) -> bool:
    """Is this filter watched?"""
    return number in _kept


@contextmanager
def at_least(nbytes: int) -> Iterator[None]:
    """Meanwhile a filter that gives fewer bytes has failed."""
    global _least  # libhdf5 hands no context to a filter
    _least = nbytes
    try:
        yield
    finally:
        _least = 0


def _watched(original: Callable[..., int]) -> Any:
    def run(flags: int, *arguments: Any) -> int:
        given = original(flags, *arguments)
        return 0 if flags & _REVERSE and given < _least else given

    return _Filter(run)


def _watch() -> None:
    """Put a watched one in the place of each filter that hdf5plugin registered."""
    spec = importlib.util.find_spec("hdf5plugin")
    register = ctypes.CDLL(h5p.__file__).H5Zregister  # of the libhdf5 that h5py uses
    register.argtypes = [ctypes.POINTER(_Class)]
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder, "plugins").glob("libh5*.so")):
            try:
                tell = ctypes.CDLL(str(path)).H5PLget_plugin_info
            except (OSError, AttributeError):
                continue
            tell.restype = ctypes.POINTER(_Class)
            own = _Class.from_buffer_copy(tell().contents)
            # By its address: the field itself would become what is put in its place.
            original = _Filter(ctypes.cast(own.filter, ctypes.c_void_p).value or 0)
            own.filter = _watched(original)
            if register(ctypes.byref(own)) >= 0:
                _kept[own.id] = own


_watch()
