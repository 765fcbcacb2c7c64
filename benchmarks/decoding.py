"""How long the decoders alone take: all chunks of a dataset, on all cores.

With the codecs that esrffs uses, from the page cache, into memory that nobody reads.  What a first
read needs beyond this and the floor of FUSE is what esrffs itself costs.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import h5py

from esrffs.formats.filters import codecs


@dataclass(frozen=True, slots=True)
class Decoding:
    """The dataset `data` of this HDF5 file; without chunks, there is nothing to decode."""

    name: str

    def __call__(self, folder: Path) -> Callable[[], int]:
        """What is to be timed; the places of the chunks are looked up before."""
        path = folder / self.name
        with h5py.File(path) as file:
            data = file["data"]
            if data.chunks is None:
                return lambda: 0
            plist, size = data.id.get_create_plist(), data.dtype.itemsize
            found = [plist.get_filter(k) for k in range(plist.get_nfilters())]
            filters = tuple((one[0], tuple(one[2])) for one in found)
            nbytes = size * prod(data.chunks)
            chunks: list[h5py.h5d.StoreInfo] = []
            data.id.chunk_iter(chunks.append)
            places = [(one.byte_offset, one.size) for one in chunks]

        def decode(descriptor: int, offset: int, stored: int) -> int:
            raw = os.pread(descriptor, stored, offset)
            return len(codecs.decode(raw, filters, 0, size, nbytes))

        def go() -> int:
            with open(path, "rb") as opened, ThreadPoolExecutor(os.cpu_count()) as threads:
                number = opened.fileno()
                return sum(threads.map(lambda place: decode(number, *place), places))

        return go
