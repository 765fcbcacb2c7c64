"""Writes the structure of an HDF5 file into memory; of arrays only where they are to lie.

The file is the plainest that libhdf5 writes (HDF5 1.8 reads it, so MATLAB and old tools do), has no
time stamps, and so is the same bytes for the same contents.  Attributes that only newer headers can
hold (of 64 KiB and more) need `newer`.

Does not: know where groups, datasets and values come from.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from esrffs.errors import DamagedError
from esrffs.formats.hdf5.image import ArrayRunPlace, BrokenPart, Hdf5Image, ImageLimits
from esrffs.formats.hdf5.image_library import CallError, Hid, libhdf5
from esrffs.formats.hdf5.image_placing import place_data
from esrffs.formats.hdf5.image_properties import (
    SparseFile,
    create_file,
    dataset_properties,
    dataspace,
    file_access,
    group_properties,
    link_properties,
)
from esrffs.formats.hdf5.library import close_file, h5f, h5g, h5p, h5s, h5t, translate_errors

_OLD_NBYTES = 64_000  # of an attribute: old headers hold 65 535 bytes with its name, type and space
_AT_ONCE = 10_000  # datasets
_ALL_CHECKED, _CHECKED_STEP = 1000, 16


class NeedsNewerError(DamagedError):
    """An attribute that headers of the old kind cannot hold: to be written again with `newer`."""


Place = tuple[str, tuple[int, ...], np.dtype[np.generic]]  # address, shape, dtype of an array


class _Run(NamedTuple):
    """A dataset whose data get a place when the structure is complete."""

    header: int  # its address
    nbytes: int
    place: Place | None  # None: its values are written into the structure, and moved from there
    content: bytes | None


class StructureWriter:
    """One HDF5 file in memory.  Objects are named by the addresses of their headers in it.

    To be closed, whatever happens.
    """

    def __init__(self, limits: ImageLimits, where: str = "", *, newer: bool = False) -> None:
        self.limits, self.where, self.newer = limits, where, newer
        self.broken: list[BrokenPart] = []
        self._hdf5 = libhdf5()
        self._content = io.BytesIO()
        self._runs: list[_Run] = []
        self._counted = 0  # bytes of values that were written
        self._links = {utf8: link_properties(utf8) for utf8 in (False, True)}
        self._names = {
            utf8: self._hdf5.attribute_properties(h5t.CSET_UTF8 if utf8 else h5t.CSET_ASCII)
            for utf8 in (False, True)
        }
        self._groups: dict[int, h5p.PropGCID] = {}
        self._datasets: dict[tuple[int, bool], h5p.PropDCID] = {}
        self._spaces: dict[tuple[int, ...] | None, h5s.SpaceID] = {}
        with translate_errors("the HDF5 view"):
            self._file = create_file(self._content, newer)
            self._root = h5g.open(self._file, b"/")
        self.root = self._hdf5.address(self._root.id)

    def close(self) -> None:
        """Let go of the file: libhdf5 must not be left with one whose memory is gone."""
        close_file(self._file)

    def open(self, address: int) -> Hid:
        """An object of this file, to be closed by `libhdf5().o_close`."""
        return int(self._hdf5.o_open_by_address(self._file.id, address))

    @property
    def id(self) -> Hid:
        """The file itself."""
        return int(self._file.id)

    def count(self, nbytes: int) -> None:
        """ImageTooLargeError where so many more bytes of values are too many."""
        self._counted += nbytes
        self.limits.check_nbytes(self.where, self._counted)

    def check_size(self) -> None:
        """ImageTooLargeError where the structure has become too large."""
        self.limits.check_nbytes(self.where, int(self._file.get_filesize()))

    def group(self, parent: Hid, name: bytes, attribute_order: int = 0) -> Hid:
        """A new group, to be closed."""
        plist = self._groups.get(attribute_order)
        if plist is None:
            plist = self._groups[attribute_order] = group_properties(attribute_order)
        return int(self._hdf5.g_create(parent, name, self._link(name), plist.id, 0))

    def run(
        self,
        parent: Hid,
        name: bytes,
        datatype: h5t.TypeID,
        place: Place,
        dims: tuple[int, ...] | None,
        attribute_order: int = 0,
        content: bytes | None = None,
    ) -> Hid:
        """A new dataset, to be closed, whose data are those of an array: address, shape, dtype.

        `dims`: its shape in HDF5, without the axes of an array type; None: null.  `content`: its
        data, where they are at hand; they lie where those of others lie.
        """
        nbytes = math.prod(place[1]) * place[2].itemsize
        stored = 0 if dims is None else math.prod(dims) * datatype.get_size()
        if stored != nbytes:
            raise DamagedError(f"its array has {nbytes} bytes, and its datatype {stored}")
        made = self._dataset(parent, name, datatype.id, dims, attribute_order, late=True)
        if nbytes:
            self._runs.append(_Run(self._hdf5.address(made), nbytes, place, content))
            self.count(len(content or b""))
        return made

    def inline(
        self,
        parent: Hid,
        name: bytes,
        datatype: Hid,
        dims: tuple[int, ...] | None,
        attribute_order: int = 0,
    ) -> Hid:
        """A new dataset, to be closed, whose values are to be written into the structure."""
        made = self._dataset(parent, name, datatype, dims, attribute_order, late=False)
        if nbytes := self._hdf5.d_stored(made):
            self._runs.append(_Run(self._hdf5.address(made), nbytes, None, None))
        return made

    def _dataset(
        self,
        parent: Hid,
        name: bytes,
        datatype: Hid,
        dims: tuple[int, ...] | None,
        attribute_order: int,
        *,
        late: bool,
    ) -> Hid:
        key = attribute_order, late
        if key not in self._datasets:
            self._datasets[key] = dataset_properties(attribute_order, late)
        plist = self._datasets[key].id
        space = self.space(dims).id
        return int(self._hdf5.d_create(parent, name, datatype, space, self._link(name), plist, 0))

    def space(self, dims: tuple[int, ...] | None) -> h5s.SpaceID:
        """A dataspace of this shape; None: null."""
        known = self._spaces.get(dims)
        if known is None:
            if len(self._spaces) > 1024:
                self._spaces.clear()
            with translate_errors("its shape"):
                known = self._spaces[dims] = dataspace(dims)
        return known

    def commit(self, parent: Hid, name: bytes, datatype: Hid) -> None:
        """A datatype under a name."""
        self._hdf5.t_commit(parent, name, datatype, self._link(name), 0, 0)

    def soft(self, parent: Hid, name: bytes, path: bytes) -> None:
        """A soft link."""
        self._hdf5.l_soft(path, parent, name, self._link(name), 0)

    def external(self, parent: Hid, name: bytes, file: bytes, path: bytes) -> None:
        """An external link."""
        self._hdf5.l_external(file, path, parent, name, self._link(name), 0)

    def hard(self, parent: Hid, name: bytes, target: int) -> None:
        """One name more for an object."""
        opened = self.open(target)
        try:
            self._hdf5.l_hard(opened, b".", parent, name, self._link(name), 0)
        finally:
            self._hdf5.o_close(opened)

    def drop(self, parent: Hid, name: bytes) -> None:
        """Take away what was begun under this name and failed."""
        if self._runs:
            lost = self._runs[-1].header
            opened = self._hdf5.o_open(parent, name, 0)
            if self._hdf5.address(opened) == lost:
                self._runs.pop()
            self._hdf5.o_close(opened)
        self._hdf5.l_delete(parent, name, 0)

    def attribute(
        self, holder: Hid, name: bytes, datatype: Hid, space: Hid, nbytes: int, values: int | None
    ) -> None:
        """An attribute; `values`: their address in memory, as of this type; None: none yet."""
        if nbytes > _OLD_NBYTES and not self.newer:
            raise NeedsNewerError("an attribute")
        self.count(nbytes)
        plist = self._names[not name.isascii()]
        try:
            made = self._hdf5.a_create(holder, name, datatype, space, plist, 0)
        except CallError as error:
            if self.newer:
                raise
            raise NeedsNewerError("an attribute") from error
        try:
            if values is not None:
                self._hdf5.a_write(made, datatype, values)
        finally:
            self._hdf5.a_close(made)

    def _link(self, name: bytes) -> Hid:
        return int(self._links[not name.isascii()].id)

    def finish(self) -> Hdf5Image:
        """Close the file, give the arrays their places, and see that libhdf5 finds them there."""
        with translate_errors("the HDF5 view"):
            self.check_size()
            self._root = None
            close_file(self._file)
            content = bytearray(self._content.getbuffer())
            self._content = io.BytesIO()
            self.limits.check_nbytes(self.where, len(content))
            placed, end = place_data(content, [(run.header, run.nbytes) for run in self._runs])
            structure = bytes(content)
            del content
            self._check(structure, end, [one.offset for one in placed])
        literals, places = [(0, structure)], []
        for run, (offset, moved) in zip(self._runs, placed, strict=True):
            known = run.content if moved is None else moved
            if known is not None:
                literals.append((offset, known))
            elif run.place is not None:
                places.append(ArrayRunPlace(offset, run.nbytes, *run.place))
        return Hdf5Image(end, tuple(literals), tuple(places), tuple(self.broken))

    def _check(self, structure: bytes, end: int, offsets: Sequence[int]) -> None:
        """DamagedError where libhdf5 does not find the arrays at these offsets.

        Of more than `_ALL_CHECKED` arrays one in `_CHECKED_STEP` is looked at: each header was
        taken apart when its address was set, and all are written in the same way.
        """
        places = list(zip(self._runs, offsets, strict=True))
        places = places[:_ALL_CHECKED] + places[_ALL_CHECKED::_CHECKED_STEP]
        for first in range(0, len(places), _AT_ONCE):  # an open file keeps what it has read
            file = h5f.open(b"view", h5f.ACC_RDONLY, file_access(SparseFile(structure, end)))
            try:
                for run, offset in places[first : first + _AT_ONCE]:
                    opened = self._hdf5.o_open_by_address(file.id, run.header)
                    told = self._hdf5.d_offset(opened), self._hdf5.d_stored(opened)
                    self._hdf5.o_close(opened)
                    if told != (offset, run.nbytes):
                        raise DamagedError(f"HDF5 finds an array of the view at {told}; report it")
            finally:
                close_file(file)


def written(limits: ImageLimits, where: str, write: Callable[[StructureWriter], None]) -> Hdf5Image:
    """What `write` has written; once more with newer headers where it must be."""
    for newer in (False, True):
        writer = StructureWriter(limits, where, newer=newer)
        try:
            write(writer)
            return writer.finish()
        except NeedsNewerError:
            if newer:
                raise
        finally:
            writer.close()
    raise AssertionError("unreachable")
