"""The values of an HDF5 dataset, box by box.

Decided here: how a hyperslab is read, and that nothing is given out that was not in the file.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from esrffs import limits
from esrffs.errors import EsrffsError, MissingError, StaleError, UnsupportedError
from esrffs.formats.hdf5_external import read_external
from esrffs.formats.hdf5_layout import check_within, missing_filters
from esrffs.formats.hdf5_library import h5d, h5p, h5s, ours
from esrffs.formats.hdf5_links import Files, Found
from esrffs.formats.hdf5_sources import check_sources, too_many
from esrffs.formats.hdf5_types import (
    Array,
    DType,
    ElementType,
    Leaf,
    as_text,
    element_type,
    plain,
    texts,
)
from esrffs.model import Box

_BLOCK = 1 << 16  # elements of variable length that are read at a time
_LEAST = 12  # bytes of JSON that an element of variable length has: brackets, indents, newlines


class Values:
    """Reads datasets; remembers how long their longest texts are."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._widths: dict[str, dict[Leaf, int]] = {}

    def dtype(self, found: Found, element: ElementType) -> DType:
        """What `numpy.save` is given; reads all of a dataset of texts, for the longest one."""
        if element.leaves and found.address not in self._widths:
            self._widths[found.address] = self._longest(found, element)
        return element.dtype(self._widths[found.address] if element.leaves else {})

    def _longest(self, found: Found, element: ElementType) -> dict[Leaf, int]:
        widths = dict.fromkeys(element.leaves, 0)
        for box in _blocks(shape_of(found, element)):
            array = self._held(found, element, box)
            for leaf in element.leaves:
                lengths = map(len, texts(array, leaf, found.file.references))
                widths[leaf] = max(widths[leaf], max(lengths, default=0))
        return widths

    def read(self, found: Found, box: Box) -> Array:
        """The elements of this box as `numpy.save` would have them."""
        element = element_type(dataset_of(found).get_type())
        dtype = self.dtype(found, element)
        array = self._held(found, element, box)
        if element.leaves:
            return as_text(array, element, dtype, found.file.references)
        return np.ascontiguousarray(array).view(dtype).reshape(box.shape)

    def nested(self, found: Found) -> object:
        """All elements as `esrffs.attributes` takes them."""
        element = element_type(dataset_of(found).get_type())
        shape = shape_of(found, element)
        limits.check_json(found.address, _LEAST * math.prod(shape))
        array = self._held(found, element, Box((0,) * len(shape), shape))
        return plain(array, found.file.references)

    def _held(self, found: Found, element: ElementType, box: Box) -> Array:
        """The elements of this box in h5py's buffer."""
        dataset = dataset_of(found)
        if any(b > n for b, n in zip(box.stop, shape_of(found, element), strict=True)):
            raise StaleError(f"{found.address} is smaller than it was")
        if not math.prod(box.shape):
            return np.zeros(box.shape, element.held)
        rank = len(box.start) - len(element.dims)
        outer = Box(box.start[:rank], box.stop[:rank])
        plist = dataset.get_create_plist()
        if plist.get_layout() == h5d.VIRTUAL and too_many(check_sources(self._files, found, outer)):
            return self._halves(found, element, box)
        if plist.get_external_count():
            array = read_external(self._files, found, element, outer)
        else:
            if found.file.truncated():
                check_within(dataset, plist, outer, found.file)
            array = _hyperslab(dataset, plist, element, outer)
        inner: Any = (..., *box.slices[rank:])
        part: Array = array[inner]
        return part

    def _halves(self, found: Found, element: ElementType, box: Box) -> Array:
        """In two parts, each with fewer sources: those of an open dataset stay open."""
        axis = next((axis for axis, n in enumerate(box.shape) if n > 1), None)
        if axis is None or element.leaves or element.pickled:
            raise UnsupportedError("more sources than files can be open")
        found.object.close()
        middle = (box.start[axis] + box.stop[axis]) // 2
        before, after = list(box.stop), list(box.start)
        before[axis] = after[axis] = middle
        boxes = Box(box.start, tuple(before)), Box(tuple(after), box.stop)
        parts = [self._held(self._files.find(found.address), element, half) for half in boxes]
        return np.concatenate(parts, axis)


def dataset_of(found: Found) -> h5d.DatasetID:
    """The dataset that was found; MissingError if it is something else."""
    if isinstance(found.object, h5d.DatasetID):
        return found.object
    raise MissingError(f"{found.address} is not a dataset")


def shape_of(found: Found, element: ElementType) -> tuple[int, ...]:
    """The shape of what `numpy.save` is given; a null dataspace holds no elements."""
    shape = dataset_of(found).shape
    return ((0,) if shape is None else tuple(shape)) + element.dims


def _hyperslab(
    dataset: h5d.DatasetID, plist: h5p.PropDCID, element: ElementType, box: Box
) -> Array:
    """`np.zeros`, not `np.empty`: where HDF5 writes nothing, nothing of ours must show."""
    array: Array = np.zeros(box.shape + element.dims, element.held)
    memory = file = h5s.ALL
    if box.start:
        memory, file = h5s.create_simple(box.shape), dataset.get_space()
        file.select_hyperslab(box.start, box.shape)
    try:
        with ours("values"):
            dataset.read(memory, file, array, mtype=element.memory)
    except EsrffsError as error:
        missing = missing_filters(plist)
        if not missing:
            raise
        numbers = ", ".join(map(str, missing))
        raise UnsupportedError(f"HDF5 filter {numbers} is not installed") from error
    return array


def _blocks(shape: tuple[int, ...]) -> Iterator[Box]:
    """Boxes of at most `_BLOCK` elements that make up the whole."""
    inner = len(shape)
    while inner and math.prod(shape[inner - 1 :]) <= _BLOCK:
        inner -= 1
    if not inner:
        yield Box((0,) * len(shape), shape)
        return
    axis, rest = inner - 1, shape[inner:]
    step = max(1, _BLOCK // max(1, math.prod(rest)))
    for index in np.ndindex(*shape[:axis]):
        after = tuple(i + 1 for i in index)
        for start in range(0, shape[axis], step):
            stop = min(start + step, shape[axis])
            yield Box((*index, start, *[0] * len(rest)), (*after, stop, *rest))
