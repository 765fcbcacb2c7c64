"""Reads the good elements of a box of an HDF5 dataset that cannot be read as a whole.

The box is halved again and again, until a part can be read, or is known to be bad completely: it
lies in one chunk, in one piece of a raw file, or in one source of a virtual dataset.
"""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from esrffs.damage import PARTIAL, Damage, DamagedArray
from esrffs.errors import DamagedError, EsrffsError, NotFoundError
from esrffs.formats.hdf5.datatypes import Array, DType
from esrffs.formats.hdf5.external_storage import segment_of
from esrffs.formats.hdf5.library import h5d, h5p
from esrffs.formats.hdf5.links import ResolvedObject
from esrffs.formats.hdf5.virtual_sources import SourceMapping, mappings
from esrffs.model import Box

_SECONDS = 5.0  # that the search may take: what was not looked at by then counts as bad


def sound(
    read: Callable[[Box], Array], found: ResolvedObject, dtype: DType, box: Box, name: str
) -> DamagedArray:
    """The elements that `read` gives, asked for smaller and smaller parts, and what is missing."""
    array: Array = np.zeros(box.shape, np.dtype((np.void, dtype.itemsize)))
    damage = Damage(box.shape)
    grain = _Grain(found, read)
    until = time.monotonic() + _SECONDS
    waiting = [box]
    while waiting:
        part = waiting.pop()
        where = tuple(
            slice(a - first, b - first)
            for a, b, first in zip(part.start, part.stop, box.start, strict=True)
        )
        try:
            array[where] = read(part).view(array.dtype)
        except PARTIAL as error:
            halves = [] if time.monotonic() > until else grain.halves(part)
            if halves:
                waiting += reversed(halves)
            else:
                damage.add(where, _named(error, name))
    return DamagedArray(array, damage.codes, tuple(damage.errors))


def _named(error: EsrffsError, name: str) -> EsrffsError:
    kind = DamagedError if isinstance(error, NotFoundError) else type(error)
    text = str(error)
    return kind(text if name in text else f"{name}: {text}")


class _Grain:
    """Which parts of one dataset are bad all over if they are bad."""

    def __init__(self, found: ResolvedObject, read: Callable[[Box], Array]) -> None:
        dataset: h5d.DatasetID = found.object
        plist: h5p.PropDCID = dataset.get_create_plist()
        self._plist = plist
        self._read = read
        self._shape: tuple[int, ...] = dataset.shape
        self._itemsize = dataset.get_type().get_size()
        layout = plist.get_layout()
        self._chunk: tuple[int, ...] = plist.get_chunk() if layout == h5d.CHUNKED else ()
        self._mappings: list[SourceMapping] = []
        if layout == h5d.VIRTUAL:
            self._mappings += mappings(found.file, dataset)
        self._external = plist.get_external_count() > 0
        self._monotone = layout == h5d.CONTIGUOUS

    def halves(self, part: Box) -> list[Box]:
        """Two halves along the outermost axis that has more than one piece; none if all is bad."""
        rank = len(self._shape)
        if math.prod(part.shape) <= 1 or self._bad_all_over(part):
            return []
        steps = [*self._chunk, *[1] * (len(part.start) - len(self._chunk))]
        if self._chunk:  # inner axes, those of an array type, are no reason to divide
            steps = [*self._chunk, *part.stop[rank:]]
        for axis, (a, b, k) in enumerate(zip(part.start, part.stop, steps, strict=True)):
            first, last = a // k, -(-b // k)
            if last - first > 1:
                middle = (first + last) // 2 * k
                stop = (*part.stop[:axis], middle, *part.stop[axis + 1 :])
                start = (*part.start[:axis], middle, *part.start[axis + 1 :])
                return [Box(part.start, stop), Box(start, part.stop)]
        return []

    def _bad_all_over(self, part: Box) -> bool:
        rank = len(self._shape)
        if self._mappings:
            outer = Box(part.start[:rank], part.stop[:rank])
            return self._in_one_source(outer) and not self._first_is_sound(part)
        if self._external:
            size, last = self._itemsize, [n - 1 for n in part.stop[:rank]]
            bytes_ = self._flat(part.start[:rank]) * size, (self._flat(last) + 1) * size - 1
            one, other = (segment_of(self._plist, byte) for byte in bytes_)
            return one == other and not self._first_is_sound(part)
        return self._monotone and not self._first_is_sound(part)

    def _flat(self, index: Sequence[int]) -> int:
        return int(np.ravel_multi_index(tuple(index), self._shape)) if self._shape else 0

    def _in_one_source(self, part: Box) -> bool:
        """Whether one mapping has all of it: along each axis its elements go on and on then."""
        for mapping in self._mappings:
            points = mapping.share(part)
            if points:
                return points == math.prod(part.shape)
        return False

    def _first_is_sound(self, part: Box) -> bool:
        try:
            self._read(Box(part.start, tuple(a + 1 for a in part.start)))
        except PARTIAL:
            return False
        return True
