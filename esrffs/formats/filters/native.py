"""C functions of the filter libraries of hdf5plugin, called without HDF5.

The libraries are found without importing hdf5plugin, which would import h5py.
"""

import ctypes
import importlib.util
from collections.abc import Callable
from pathlib import Path


def function(library: str, name: str, *arguments: type) -> Callable[..., int] | None:
    """A C function of a library of hdf5plugin; None if this build does not have it."""
    spec = importlib.util.find_spec("hdf5plugin")
    for folder in (spec and spec.submodule_search_locations) or ():
        try:
            found = getattr(ctypes.CDLL(str(Path(folder, "plugins", library))), name)
        except (OSError, AttributeError):  # another build of hdf5plugin: a worker decodes
            continue
        found.argtypes, found.restype = arguments, ctypes.c_int64
        return found  # type: ignore[no-any-return]  # ctypes calls it Any
    return None


def _of_bitshuffle(name: str) -> Callable[..., int] | None:
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    return function("libh5bshuf.so", name, pointer, pointer, size, size, size)


bitunshuffle = {
    client: found
    for client, name in {
        0: "bshuf_bitunshuffle",
        2: "bshuf_decompress_lz4",
        3: "bshuf_decompress_zstd",
    }.items()
    if (found := _of_bitshuffle(name)) is not None
}

blosc2_unshuffle = function(
    "libh5blosc2.so",
    "blosc2_unshuffle",
    *(ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p),
)
