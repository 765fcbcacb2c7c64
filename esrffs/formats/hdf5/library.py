"""The HDF5 library, loaded and called so that it does no harm.

Decided here: the environment that it finds, how a file is opened, and what becomes of its errors.
The other `hdf5*` modules take h5py from here, because the environment is read when it is loaded.
"""

import ctypes
import os
import resource

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
    try:
        get = ctypes.CDLL(h5p.__file__).H5Pget_chunk_opts  # found in the libhdf5 that h5py uses
        failed = get(ctypes.c_int64(plist.id), ctypes.byref(options)) < 0
    except (OSError, AttributeError):
        return True
    return failed or bool(options.value & 2)
