"""Chunks as HDF5 stores them, made by hand."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from esrffs.formats.filters import codecs


def zeros(rows: int, width: int) -> bytes:
    """A deflate stream of so many bytes, made of one row; its checksum is wrong."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(width)) + packer.flush(zlib.Z_FULL_FLUSH)
    row = packer.compress(bytes(width)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + (rows - 1) * row + packer.flush()


COMPRESSORS: dict[str, Any] = (
    {"none": {}, "lzf": {"compression": "lzf"}}
    | {f"gzip{n}": {"compression": "gzip", "compression_opts": n} for n in (0, 1, 4, 9)}
    | {f"zstd{n}": dict(hdf5plugin.Zstd(clevel=n)) for n in (-5, 3, 19)}
    | {f"lz4 {n}": dict(hdf5plugin.LZ4(nbytes=n)) for n in (0, 64, 1000)}
    | {
        f"bitshuffle-{name} {n}": dict(hdf5plugin.Bitshuffle(nelems=n, cname=name))
        for name, n in product(("none", "lz4", "zstd"), (0, 8, 64))
    }
    | {
        f"blosc-{name} {n}": dict(hdf5plugin.Blosc(cname=name, shuffle=n))
        for name, n in product(("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"), (0, 1, 2))
    }
)


@contextmanager
def one_chunk(array: npt.NDArray[Any], options: dict[str, Any]) -> Iterator[h5py.File]:
    """A file with one dataset "x", closed: an open one answers from its chunk cache."""
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        file.create_dataset("x", data=array, chunks=array.shape, **options)
        yield file


def rewritten(file: h5py.File, raw: bytes, mask: int) -> bytes:
    """What h5py reads of this chunk: opened anew, for a handle that wrote keeps the old mask."""
    file["x"].id.write_direct_chunk((0,), raw, filter_mask=mask)
    return bytes(file["x"][...].tobytes())


def pipeline(stored: h5py.Dataset) -> codecs.Filters:
    plist = stored.id.get_create_plist()
    filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
    return tuple((number, tuple(client)) for number, _flags, client, _name in filters)


DTYPES = {n: f"V{n}" if n in (3, 5, 300) else f"u{n}" for n in (1, 2, 3, 4, 5, 8, 300)} | {
    16: "c16"
}


def values(seed: int, itemsize: int, count: int, noise: int) -> npt.NDArray[Any]:
    """From constant (noise 0) to incompressible (255)."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, noise + 1, count * itemsize, np.uint8)
    return np.frombuffer(found.tobytes(), DTYPES[itemsize])
