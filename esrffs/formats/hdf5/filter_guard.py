"""Watches the filters of hdf5plugin, so that a damaged chunk is noticed.

A filter that gives fewer bytes than the chunk has counts as failed: libhdf5 would take the result
for a whole chunk, and read beyond its end.  A filter whose result depends on the memory behind the
stored chunk counts as failed, too: some filters read on there.
"""

import ctypes
import functools
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esrffs.formats.hdf5.library import h5p

_REVERSE = 0x100  # the flag of a filter that unpacks
_UNCHECKED = frozenset({32013, 32017, 32018, 32024, 32028})  # ZFP, SZ, FCI, SZ3, SPERR
_MARGIN = 1 << 16  # bytes, at least, behind what they are given
_SIZE, _UINT = ctypes.c_size_t, ctypes.c_uint
_Filter = ctypes.CFUNCTYPE(
    _SIZE,
    *(_UINT, _SIZE, ctypes.POINTER(_UINT), _SIZE),
    *(ctypes.POINTER(_SIZE), ctypes.POINTER(ctypes.c_void_p)),
)


_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [_SIZE]
_libc.free.argtypes = [ctypes.c_void_p]
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, _SIZE]


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


def _watched(number: int, original: Callable[..., int]) -> Any:
    twice = number in _UNCHECKED

    def run(flags: int, count: int, client: Any, nbytes: int, size: Any, chunk: Any) -> int:
        if not flags & _REVERSE:
            return original(flags, count, client, nbytes, size, chunk)
        if twice:
            work = functools.partial(original, flags, count, client, nbytes)
            given = _same_twice(work, nbytes, size, chunk)
        else:
            given = original(flags, count, client, nbytes, size, chunk)
        return 0 if given < _least else given

    return _Filter(run)


def _same_twice(work: Callable[..., int], nbytes: int, size: Any, chunk: Any) -> int:
    """What a filter gives of this chunk, if that is the same whatever stands behind it."""
    (one, first), (other, second) = (
        _behind(work, chunk[0], nbytes, filler) for filler in (0, 0xA5)
    )
    if one == other > 0 and not _libc.memcmp(first[0], second[0], one):
        _libc.free(chunk[0])
        chunk[0], size[0] = first[0].value, first[1].value
        _libc.free(second[0])
        return one
    for pointer, _ in first, second:
        _libc.free(pointer)
    return 0


def _behind(
    work: Callable[..., int], source: int, nbytes: int, filler: int
) -> tuple[int, tuple[ctypes.c_void_p, ctypes.c_size_t]]:
    """What the filter gives of a copy with so many of these bytes behind it; where that is."""
    room = ctypes.c_size_t(nbytes + 2 * _least + _MARGIN)
    copy = ctypes.c_void_p(_libc.malloc(room))
    if not copy:
        return 0, (copy, room)
    ctypes.memmove(copy, source, nbytes)
    ctypes.memset((copy.value or 0) + nbytes, filler, room.value - nbytes)
    return work(ctypes.byref(room), ctypes.byref(copy)), (copy, room)


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
            own.filter = _watched(own.id, original)
            if register(ctypes.byref(own)) >= 0:
                _kept[own.id] = own


_watch()
