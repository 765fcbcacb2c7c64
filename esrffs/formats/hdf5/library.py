"""Loads h5py and libhdf5, opens and closes files, and translates errors.

The environment that libhdf5 reads is set before it is loaded: no locks, no plugins, no prefixes for
other files.  Therefore the other modules of `formats/hdf5` take h5py from here.
"""

import ctypes
import functools
import os
import resource
from collections.abc import Callable
from typing import cast

# An acquisition that opens the file for writing must not fail because it is mounted here.
os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
# What a file's sources are is said by the file, not by the environment of whoever mounts it; …
os.environ.pop("HDF5_EXT_PREFIX", None)
os.environ.pop("HDF5_VDS_PREFIX", None)
os.environ.pop("HDF5_EXTFILE_PREFIX", None)
os.environ.pop("HDF5_DRIVER", None)
os.environ.pop("HDF5_DRIVER_CONFIG", None)
os.environ.pop("HDF5_VOL_CONNECTOR", None)
os.environ.pop("HDF5_PLUGIN_PATH", None)
# … and no file makes the library load code from anywhere: all filters are hdf5plugin's.
os.environ["HDF5_PLUGIN_PRELOAD"] = "::"

import h5py
import hdf5plugin  # noqa: F401  (its import is what registers its filters)
from h5py import h5, h5a, h5d, h5f, h5g, h5i, h5l, h5o, h5p, h5r, h5s, h5t, h5z

from esrffs.errors import (
    AccessDeniedError,
    DamagedError,
    EsrffsError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)

__all__ = [
    "h5",
    "h5a",
    "h5d",
    "h5f",
    "h5g",
    "h5i",
    "h5l",
    "h5o",
    "h5p",
    "h5py",
    "h5r",
    "h5s",
    "h5t",
]
__all__ += [
    "H5PY_EXCEPTIONS",
    "close_file",
    "h5z",
    "is_chunked",
    "object_address",
    "open_file",
    "partial_chunks_unfiltered",
    "translate_errors",
]
__all__ += ["sentence"]

H5PY_EXCEPTIONS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
)


class translate_errors:  # noqa: N801  # named as what it is used like: contextlib.suppress
    """`with ours(what)` turns every failure of h5py into one of ours that names `what` failed.

    A class and no generator, because a listing enters it for every object.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        what = self._what
        match error:
            case PermissionError():
                raise AccessDeniedError(f"{what}: {sentence(error)}") from error
            case FileNotFoundError():
                raise NotFoundError(f"{what}: {sentence(error)}") from error
            case MemoryError():
                raise TooLargeError(f"{what}: {sentence(error)}") from error
        if isinstance(error, H5PY_EXCEPTIONS):
            raise DamagedError(f"{what}: {sentence(error)}") from error


def sentence(error: BaseException) -> str:
    """What one of h5py's exceptions, or one of ours, means to a user, and what to do."""
    match error:
        case EsrffsError():
            return str(error)
        case MemoryError():
            return "not enough memory for it (memory_limit)"
        case PermissionError():
            return "you may not read the file; ask its owner for the right"
        case FileNotFoundError():
            return "there is no such file any more; list the folder again"
        case KeyError(args=[text, *_]):
            words = str(text)
        case _:
            words = str(error) or type(error).__name__
    return (
        f"HDF5 cannot read it ({_stripped(words)}); look at the file with h5dump, or copy it again"
    )


def _stripped(words: str) -> str:
    """The words of an error of libhdf5 on one line, without what h5py adds for programmers."""
    return " ".join(words.replace('"', "'").split())


_CHUNK_SLOTS = 4001
_CHUNK_CACHE_NBYTES = 128 << 20  # decoded chunks that an open dataset keeps, at most


def _chunk_cache_nbytes() -> int:
    """Texts are read bit by bit, and often lie in one large chunk, to be decoded once."""
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    return _CHUNK_CACHE_NBYTES if memory < 0 else min(_CHUNK_CACHE_NBYTES, memory // 4)


def open_file(path: str) -> h5f.FileID:
    """Open without a lock; a file that a SWMR writer has, or had when it died, as its reader.

    Weakly, as libhdf5 opens the sources of virtual datasets: of one file, which may be open as a
    reader's own and as another's source, it takes no other way beside the first.
    """
    name = os.fsencode(path)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_WEAK)
    access.set_file_locking(False, True)
    access.set_cache(0, _CHUNK_SLOTS, _chunk_cache_nbytes(), 0.75)
    with translate_errors("cannot be opened as HDF5"):
        try:
            return h5f.open(name, h5f.ACC_RDONLY, access)
        except OSError as error:
            if "already open for write" not in str(error):
                raise
        return _open_unfinished(name, access)


def _open_unfinished(name: bytes, access: h5p.PropFAID) -> h5f.FileID:
    try:
        return h5f.open(name, h5f.ACC_RDONLY | h5f.ACC_SWMR_READ, access)
    except OSError as error:
        raise UnsupportedError(
            "marked as open for writing, without SWMR: its writer is at work, or died"
            f" (then `h5clear -s` helps; HDF5 says: {_stripped(str(error))})"
        ) from error


def close_file(file: h5f.FileID) -> None:
    """Close a file and whatever is open in it by this way, not by another reader's.

    Objects that somebody still holds (the traceback of an error, say) go too: they would keep a
    weakly opened file open, and HDF5 then refuses to open it otherwise.
    """
    if file.valid:
        for opened in (*h5f.get_obj_ids(file, h5f.OBJ_ALL & ~h5f.OBJ_FILE | h5f.OBJ_LOCAL), file):
            while opened.valid:
                h5i.dec_ref(opened)


def partial_chunks_unfiltered(plist: h5p.PropDCID) -> bool:
    """H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, which h5py does not tell; True where unknown."""
    options = ctypes.c_uint()
    get = _function("H5Pget_chunk_opts")
    failed = get is None or get(ctypes.c_int64(plist.id), ctypes.byref(options)) < 0
    return failed or bool(options.value & 2)


def is_chunked(dataset: h5d.DatasetID) -> bool:
    """Whether the layout is certainly chunked; False for other layouts, and where unknown.

    The property list would say it too, but to make one takes long for a virtual dataset.
    """
    kind = ctypes.c_int()
    get = _function("H5Dget_chunk_index_type")
    return get is not None and get(ctypes.c_int64(dataset.id), ctypes.byref(kind)) >= 0


class _ObjectInfo(ctypes.Structure):
    """H5O_info2_t of <H5Opublic.h>; the native token is the address, little endian."""

    _fields_ = (
        ("fileno", ctypes.c_ulong),
        ("token", ctypes.c_uint8 * 16),
        ("type", ctypes.c_int),
        ("references", ctypes.c_uint),
        ("times", ctypes.c_int64 * 4),
        ("attributes", ctypes.c_uint64),
    )


_BASIC = 1  # H5O_INFO_BASIC


def object_address(opened: h5g.GroupID | h5d.DatasetID | h5t.TypeID) -> int:
    """Where the object header is in the file.

    `h5o.get_info` also tells the size of all indexes of the object, which it reads for that: of a
    chunked dataset the whole index of its chunks.
    """
    info = _ObjectInfo()
    get = _function("H5Oget_info3")
    if get is None or get(ctypes.c_int64(opened.id), ctypes.byref(info), _BASIC) < 0:
        return int(h5o.get_info(opened).addr)
    return int.from_bytes(bytes(info.token)[:8], "little")


@functools.cache
def _function(name: str) -> Callable[..., int] | None:
    """A function of the libhdf5 that h5py uses, which h5py does not offer; None: not there."""
    try:
        return cast("Callable[..., int]", getattr(ctypes.PyDLL(h5p.__file__), name))
    except (OSError, AttributeError):
        return None
