"""Values that are written into the structure: attributes, and datasets of texts or references.

They go from one file to the other in their own datatype, so that nothing is lost on the way.
Values with references wait until all objects have their addresses.
"""

import ctypes
import errno
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from esrffs.errors import EsrffsError, UnsupportedError
from esrffs.formats import budget
from esrffs.formats.hdf5.chunk_check import check_chunks
from esrffs.formats.hdf5.filter_guard import at_least
from esrffs.formats.hdf5.image import BrokenPart, ImageTooLargeError
from esrffs.formats.hdf5.image_library import NBYTES_REFERENCE, NULL_SPACE, CallError, Hid, libhdf5
from esrffs.formats.hdf5.image_pointers import (
    CopiedType,
    as_old_references,
    copied_type,
    nbytes_of,
    retarget,
)
from esrffs.formats.hdf5.image_writer import NeedsNewerError, StructureWriter
from esrffs.formats.hdf5.layout import check_within
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5, h5a, h5d, h5f, h5p, h5t, sentence
from esrffs.formats.hdf5.links import FileSet, ResolvedObject
from esrffs.formats.hdf5.virtual_sources import check_sources, exceeds_open_files
from esrffs.model import Box

_AT_ONCE = 1 << 13  # elements
_COMPACT = 8  # so many attributes stand in the object's header, in the order of their making
_BREAKS_ALL = (ImageTooLargeError, NeedsNewerError, budget.TooSlowError, budget.NotNowError)

Memory: TypeAlias = "ctypes.Array[ctypes.c_char]"
Where: TypeAlias = tuple[int, bytes | None, Box | None]
Key = tuple[int, int]  # of an object: the brand of its file, the address of its header


def spoils_all(error: BaseException) -> bool:
    """Whether it is not about one object, so that it ends the whole image."""
    return isinstance(error, _BREAKS_ALL)


def broken(address: str, error: BaseException) -> BrokenPart:
    """What is told of an object, or part of it, that cannot be copied."""
    code = error.errno if isinstance(error, EsrffsError) else 0
    return BrokenPart(address or "/", sentence(error), code == errno.EACCES, code)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Values with references, in memory, for an object of the new file."""

    holder: int
    attribute: bytes | None  # None: of the dataset itself, …
    box: Box | None  # … for this part; None: all of it
    copied: CopiedType
    space: Hid
    memory: Memory
    count: int
    brand: int
    file: Hid


class Copier:
    """Copies values into a new file; `written` says where its objects are."""

    def __init__(self, writer: StructureWriter) -> None:
        self.written: dict[Key, int] = {}
        self._writer = writer
        self._hdf5 = libhdf5()
        self._waiting: list[_Waiting] = []

    def attributes(self, found: ResolvedObject, holder: Hid) -> None:
        """All attributes of an object; those that cannot be copied are told."""
        count = self._hdf5.a_count(found.object.id)
        if not count:
            return
        for opened in self._opened(found, count):
            name = b"?"
            try:
                budget.check("its attributes")
                name = self._name(opened)
                self._attribute(found, opened, name, holder)
            except (EsrffsError, MemoryError, *H5PY_EXCEPTIONS) as error:
                if spoils_all(error):
                    raise
                address = f"{found.address or '/'}@{name.decode('utf-8', 'surrogateescape')}"
                self._writer.broken.append(broken(address, error))
            finally:
                self._hdf5.a_close(opened)

    def _opened(self, found: ResolvedObject, count: int) -> Iterator[Hid]:
        """The attributes in the order that the mount shows."""
        holder = found.object
        if count <= _COMPACT:
            for index in range(count):
                at = (h5.INDEX_NAME, h5.ITER_NATIVE, index, 0, 0)
                yield self._hdf5.a_open_by_idx(holder.id, b".", *at)
            return
        index = h5.INDEX_NAME
        if attribute_order(found) & h5p.CRT_ORDER_TRACKED:
            index = h5.INDEX_CRT_ORDER
        names: list[bytes] = []
        h5a.iterate(holder, names.append, index_type=index, order=h5.ITER_NATIVE)
        for name in names:
            yield self._hdf5.a_open(holder.id, name, 0)

    def _name(self, opened: Hid) -> bytes:
        length = self._hdf5.a_name(opened, 0, None)
        buffer = ctypes.create_string_buffer(length + 1)
        self._hdf5.a_name(opened, length + 1, buffer)
        return buffer.value

    def _attribute(self, found: ResolvedObject, opened: Hid, name: bytes, holder: Hid) -> None:
        hdf5, writer = self._hdf5, self._writer
        stored, space, kept = hdf5.a_type(opened), hdf5.a_space(opened), False
        try:
            copied = copied_type(stored)
            kind = copied.elements
            count = 0 if hdf5.s_class(space) == NULL_SPACE else hdf5.s_count(space)
            nbytes = count * kind.nbytes
            writer.limits.check_nbytes(writer.where, nbytes)
            if not count:
                writer.attribute(holder, name, copied.id, space, 0, None)
                return
            if copied.read is None:
                memory = ctypes.create_string_buffer(nbytes)
                hdf5.a_read(opened, copied.id, memory)
            else:
                memory = ctypes.create_string_buffer(count * NBYTES_REFERENCE)
                hdf5.a_read(opened, stored, memory)
                memory = as_old_references(ctypes.addressof(memory), count, file_name(found))
            try:
                if kind.variable:
                    writer.count(nbytes_of(ctypes.addressof(memory), count, kind) - nbytes)
                at = None if kind.refers else ctypes.addressof(memory)
                writer.attribute(holder, name, copied.id, space, nbytes, at)
                if kind.refers:
                    kept = True
                    where = hdf5.address(holder), name, None
                    self._wait(found, where, copied, space, memory, count)
            finally:
                if kind.variable and not kept:
                    hdf5.reclaim(copied.id, space, 0, memory)
        finally:
            hdf5.t_close(stored)
            if not kept:
                hdf5.s_close(space)

    def _wait(
        self,
        found: ResolvedObject,
        where: Where,
        copied: CopiedType,
        space: Hid,
        memory: Memory,
        count: int,
    ) -> None:
        file = found.file
        waiting = _Waiting(*where, copied, space, memory, count, file.id_prefix, file.id.id)
        self._waiting.append(waiting)

    def values(self, files: FileSet, found: ResolvedObject, made: Hid) -> None:
        """All values of a dataset whose elements point elsewhere."""
        dataset: h5d.DatasetID = found.object
        shape = dataset.shape
        if shape is None or not math.prod(shape):
            return
        stored = dataset.get_type()
        copied = copied_type(stored.id)
        self._writer.count(math.prod(shape) * copied.elements.nbytes)
        for box in _boxes(Box((0,) * len(shape), tuple(shape))):
            budget.check("its values")
            self._part(files, found, box, copied, made)
            self._writer.check_size()

    def _part(
        self, files: FileSet, found: ResolvedObject, box: Box, copied: CopiedType, made: Hid
    ) -> None:
        hdf5, dataset, kind = self._hdf5, found.object, copied.elements
        plist = dataset.get_create_plist()
        if plist.get_layout() == h5d.VIRTUAL and exceeds_open_files(
            check_sources(files, found, box)
        ):
            raise UnsupportedError("more sources than files can be open")
        if plist.get_external_count():
            raise UnsupportedError("variable-length values in external raw storage")
        if found.file.truncated():
            check_within(dataset, plist, box, found.file)
        count = math.prod(box.shape)
        read = copied.id if copied.read is None else copied.read.id
        width = kind.nbytes if copied.read is None else NBYTES_REFERENCE
        memory = ctypes.create_string_buffer(count * width)
        space, kept = hdf5.row(count), False
        chunked = plist.get_layout() == h5d.CHUNKED
        selected = hdf5.selected(dataset.id, box)
        try:
            with at_least(check_chunks(dataset, plist, box) if chunked else 0):
                try:
                    hdf5.d_read(dataset.id, read, space, selected, 0, memory)
                except CallError:
                    ctypes.memset(memory, 0, len(memory))  # some of it may be freed already
                    raise
            if copied.read is not None:
                memory = as_old_references(ctypes.addressof(memory), count, file_name(found))
            if kind.variable:
                more = nbytes_of(ctypes.addressof(memory), count, kind) - count * kind.nbytes
                self._writer.count(more)
            if kind.refers:
                kept = True
                where = hdf5.address(made), None, box
                self._wait(found, where, copied, space, memory, count)
            else:
                self._write_part(made, copied.id, space, box, memory)
        finally:
            hdf5.s_close(selected)
            if not kept:
                if kind.variable:
                    hdf5.reclaim(copied.id, space, 0, memory)
                hdf5.s_close(space)

    def _write_part(self, made: Hid, datatype: Hid, space: Hid, box: Box, memory: Memory) -> None:
        selected = self._hdf5.selected(made, box)
        try:
            self._hdf5.d_write(made, datatype, space, selected, 0, memory)
        finally:
            self._hdf5.s_close(selected)

    def finish(self) -> None:
        """Write what has waited; every object that will be there is there."""
        while self._waiting:
            waiting = self._waiting.pop()
            try:
                self._write(waiting)
            finally:
                self._free(waiting)

    def close(self) -> None:
        """Free what has waited for nothing."""
        while self._waiting:
            self._free(self._waiting.pop())

    def _write(self, waiting: _Waiting) -> None:
        hdf5, memory = self._hdf5, waiting.memory

        def target(address: int) -> int:
            return self.written.get((waiting.brand, address), 0)

        at = ctypes.addressof(memory)
        kind, datatype = waiting.copied.elements, waiting.copied.id
        retarget(at, waiting.count, kind, waiting.file, self._writer.id, target)
        holder = self._writer.open(waiting.holder)
        try:
            if waiting.attribute is None and waiting.box is not None:
                self._write_part(holder, datatype, waiting.space, waiting.box, memory)
            elif waiting.attribute is not None:
                opened = hdf5.a_open(holder, waiting.attribute, 0)
                try:
                    hdf5.a_write(opened, datatype, memory)
                finally:
                    hdf5.a_close(opened)
        finally:
            hdf5.o_close(holder)

    def _free(self, waiting: _Waiting) -> None:
        if waiting.copied.elements.variable:
            self._hdf5.reclaim(waiting.copied.id, waiting.space, 0, waiting.memory)
        self._hdf5.s_close(waiting.space)


def file_name(found: ResolvedObject) -> bytes:
    """As HDF5 calls the file that holds the object."""
    return bytes(h5f.get_name(found.file.id))


def attribute_order(found: ResolvedObject) -> int:
    """Whether the order of attributes is tracked: flags of `h5p`."""
    if isinstance(found.object, h5t.TypeID):
        return 0
    return int(found.object.get_create_plist().get_attr_creation_order())


def _boxes(box: Box) -> Iterator[Box]:
    """Boxes of at most so many elements as are copied at once."""
    if math.prod(box.shape) <= _AT_ONCE:
        yield box
        return
    axis = next(axis for axis, n in enumerate(box.shape) if n > 1)
    middle = (box.start[axis] + box.stop[axis]) // 2
    before, after = list(box.stop), list(box.start)
    before[axis] = after[axis] = middle
    yield from _boxes(Box(box.start, tuple(before)))
    yield from _boxes(Box(tuple(after), box.stop))
