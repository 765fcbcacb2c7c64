"""Reads the values of an HDF5 dataset, box by box.

Before libhdf5 reads, it is checked that the bytes are there: it would give zeros or fill values for
what is missing.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from esrffs.damage import DamagedArray
from esrffs.errors import EsrffsError, NotFoundError, StaleError, UnsupportedError
from esrffs.formats.budget import TooSlowError
from esrffs.formats.hdf5.byte_order import in_order
from esrffs.formats.hdf5.chunk_check import SoundChunks, check_chunks
from esrffs.formats.hdf5.datatypes import (
    Array,
    DType,
    ElementType,
    element_type,
    to_fixed_width_text,
)
from esrffs.formats.hdf5.external_storage import read_external
from esrffs.formats.hdf5.filter_guard import at_least
from esrffs.formats.hdf5.json_values import json_of_dataset
from esrffs.formats.hdf5.layout import check_within, missing_filters
from esrffs.formats.hdf5.library import h5d, h5p, h5s, h5t, translate_errors
from esrffs.formats.hdf5.links import FileSet, ResolvedObject
from esrffs.formats.hdf5.new_references import NBYTES, paths
from esrffs.formats.hdf5.partial_read import sound
from esrffs.formats.hdf5.text_widths import TextWidths, measure
from esrffs.formats.hdf5.virtual_sources import check_sources, exceeds_open_files
from esrffs.model import Box


class DatasetValues:
    """Reads datasets; remembers how long their longest texts are."""

    def __init__(self, files: FileSet) -> None:
        self._files = files
        self._widths: dict[tuple[int, str], TextWidths | TooSlowError] = {}  # by file and address
        self._dtypes: dict[str, DType] = {}  # that a listing of another reader has told
        self._sound_chunks = SoundChunks()  # of texts and sequences, which are read bit by bit
        self._last: h5d.DatasetID | None = None  # stays open, with its decoded chunks

    def dtype(self, found: ResolvedObject, element: ElementType) -> DType:
        """What `numpy.save` is given; reads all of a dataset of texts once, for the longest one."""
        if not element.object_fields:
            return element.dtype({})
        known = self._dtypes.get(found.address)
        return element.dtype(self._measured(found, element).by_field) if known is None else known

    def as_json(self, found: ResolvedObject, element: ElementType) -> bool:
        """Whether no array is made of it, but JSON: one of texts may be far too wide."""
        if element.needs_json or not element.object_fields or found.address in self._dtypes:
            return element.needs_json
        shape = shape_of(found, element)
        return self._measured(found, element).too_wide(self.dtype(found, element), shape)

    def learn(self, address: str, dtype: DType) -> None:
        """The dtype of a dataset of texts, as a listing of this state of the file has told it."""
        self._dtypes[address] = dtype

    def _measured(self, found: ResolvedObject, element: ElementType) -> TextWidths:
        """That it is too slow is remembered, too: it would take as long again."""
        key = found.file.id_prefix, found.address
        known = self._widths.get(key)
        if known is None:
            self._keep(found)
            shape = shape_of(found, element)
            try:
                known = measure(found, element, shape, partial(self._read_buffer, found, element))
            except TooSlowError as error:
                known = TooSlowError(*error.args)  # without what was open then
            self._widths[key] = known
        if isinstance(known, TooSlowError):
            raise TooSlowError(*known.args)
        return known

    def only_text(self, found: ResolvedObject) -> bytes | None:
        """The text of a scalar, where its width had to be found out."""
        known = self._widths.get((found.file.id_prefix, found.address))
        return known.only if isinstance(known, TextWidths) else None

    def _keep(self, found: ResolvedObject) -> None:
        """Leave a dataset of texts open: its chunks would be decoded anew for each block."""
        if found.file is self._files.main:
            self._last = dataset_of(found)

    def read(self, found: ResolvedObject, box: Box) -> Array:
        """The elements of this box as `numpy.save` would have them."""
        element = element_type(dataset_of(found).get_type())
        dtype = self.dtype(found, element)
        if element.object_fields:
            self._keep(found)
        array = self._read_buffer(found, element, box)
        if element.object_fields:
            return to_fixed_width_text(array, element, dtype, found.file.references)
        return np.ascontiguousarray(array).view(dtype).reshape(box.shape)

    def sound(self, found: ResolvedObject, box: Box) -> DamagedArray:
        """Those elements of this box that can be had, and which cannot, of a box that failed."""
        address, state = found.address, [found]

        def read(part: Box) -> Array:
            if not state[0].object.valid:  # closed, for the files that were open with it
                state[0] = self._files.find(address)
            return self.read(state[0], part)

        element = element_type(dataset_of(found).get_type())
        return sound(read, found, self.dtype(found, element), box, address)

    def json(self, found: ResolvedObject) -> bytes:
        """All elements as JSON."""
        element = element_type(dataset_of(found).get_type())
        self._keep(found)
        read = partial(self._read_buffer, found, element)
        shape = shape_of(found, element)
        return json_of_dataset(found.address, shape, read, found.file.references)

    def _read_buffer(self, found: ResolvedObject, element: ElementType, box: Box) -> Array:
        """The elements of this box in h5py's buffer."""
        dataset = dataset_of(found)
        if any(b > n for b, n in zip(box.stop, shape_of(found, element), strict=True)):
            raise StaleError(f"{found.address} is smaller than it was")
        if not math.prod(box.shape):
            return np.zeros(box.shape, element.buffer_dtype)
        rank = len(box.start) - len(element.dims)
        outer = Box(box.start[:rank], box.stop[:rank])
        plist = dataset.get_create_plist()
        if plist.get_layout() == h5d.VIRTUAL and exceeds_open_files(
            check_sources(self._files, found, outer)
        ):
            return self._read_in_halves(found, element, box)
        if plist.get_external_count():
            array = read_external(self._files, found, element, outer)
        else:
            if found.file.truncated():
                check_within(dataset, plist, outer, found.file)
            chunked = plist.get_layout() == h5d.CHUNKED
            checked = self._sound_chunks if element.buffer_dtype.hasobject else None
            with at_least(check_chunks(dataset, plist, outer, checked) if chunked else 0):
                array = _hyperslab(dataset, plist, element, outer)
                if element.object_reference:
                    known = found.file.references.paths(array)
                    if known is None:  # h5py knows more
                        element = replace(element, object_reference=False)
                        known = _hyperslab(dataset, plist, element, outer)
                    array = known
        if element.new_reference:
            array = paths(array, found.file.id, found.file.references)
        array = in_order(array)
        inner: Any = (..., *box.slices[rank:])
        part: Array = array[inner]
        return part

    def _read_in_halves(self, found: ResolvedObject, element: ElementType, box: Box) -> Array:
        """In two parts, each with fewer sources: those of an open dataset stay open."""
        axis = next((axis for axis, n in enumerate(box.shape) if n > 1), None)
        if axis is None or element.object_fields or element.needs_json:
            raise UnsupportedError("more sources than files can be open")
        found.object.close()
        middle = (box.start[axis] + box.stop[axis]) // 2
        before, after = list(box.stop), list(box.start)
        before[axis] = after[axis] = middle
        boxes = Box(box.start, tuple(before)), Box(tuple(after), box.stop)
        parts = [
            self._read_buffer(self._files.find(found.address), element, half) for half in boxes
        ]
        # As bytes: a copy of records leaves their padding as it was.
        raw = [part.view(np.dtype((np.void, part.dtype.itemsize))) for part in parts]
        return np.concatenate(raw, axis).view(element.buffer_dtype)


def dataset_of(found: ResolvedObject) -> h5d.DatasetID:
    """The dataset that was found; NotFoundError if it is something else."""
    if isinstance(found.object, h5d.DatasetID):
        return found.object
    raise NotFoundError(f"{found.address} is not a dataset")


def shape_of(found: ResolvedObject, element: ElementType) -> tuple[int, ...]:
    """The shape of what `numpy.save` is given; a null dataspace holds no elements."""
    shape = dataset_of(found).shape
    return ((0,) if shape is None else tuple(shape)) + element.dims


def _hyperslab(
    dataset: h5d.DatasetID, plist: h5p.PropDCID, element: ElementType, box: Box
) -> Array:
    """`np.zeros`, not `np.empty`: where HDF5 writes nothing, nothing of ours must show."""
    held = np.dtype(f"V{NBYTES}") if element.new_reference else element.buffer_dtype
    if element.object_reference:
        held = np.dtype(np.uint64)  # as addresses: h5py would make an object of each
    kind = h5t.STD_REF_OBJ if element.object_reference else element.memory
    array: Array = np.zeros(box.shape + element.dims, held)
    memory = file = h5s.ALL
    if box.start:
        memory, file = h5s.create_simple(box.shape), dataset.get_space()
        file.select_hyperslab(box.start, box.shape)
    try:
        with translate_errors("values"):
            dataset.read(memory, file, array, mtype=kind)
    except EsrffsError as error:
        missing = missing_filters(plist)
        if not missing:
            raise
        numbers = ", ".join(map(str, missing))
        raise UnsupportedError(f"HDF5 filter {numbers} is not installed") from error
    return array
