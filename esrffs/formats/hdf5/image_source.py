"""The image of a group of an HDF5 file.

A group becomes a group.  A dataset becomes a run if the bytes of its `.npy` are those of a datatype
of HDF5; texts, sequences and references are copied into the structure.  What cannot be described
is left out and reported, and does not affect the objects beside it.
"""

import math
import os
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from esrffs.errors import DamagedError, EsrffsError, NotFoundError
from esrffs.formats import budget
from esrffs.formats.hdf5.datatypes import DType, NoDtypeError, element_type
from esrffs.formats.hdf5.image import Hdf5Image, ImageLimits, ImageTooLargeError
from esrffs.formats.hdf5.image_copying import Copier, attribute_order, broken, spoils_all
from esrffs.formats.hdf5.image_library import Hid, libhdf5
from esrffs.formats.hdf5.image_plan import Plan, PlannedGroup, PlannedLink, PlannedObject, key_of
from esrffs.formats.hdf5.image_pointers import copied_type
from esrffs.formats.hdf5.image_types import image_type, rebuilt
from esrffs.formats.hdf5.image_writer import StructureWriter, written
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5d, h5g, h5o, h5t, translate_errors
from esrffs.formats.hdf5.links import FileSet, ResolvedObject, allowed
from esrffs.formats.hdf5.references import decoded
from esrffs.formats.hdf5.virtual_layout import dependencies
from esrffs.formats.hdf5.virtual_sources import check_shape_allowed
from esrffs.model import Generation

_REMEMBERED = 1024
_SMALL = 1 << 20  # bytes of an array that is copied where its own datatype could not be kept


def image_of_group(
    files: FileSet, root: ResolvedObject, folder: str | None, limits: ImageLimits
) -> Hdf5Image:
    """The image of this group; ImageTooLargeError, and what ends the whole call."""
    if not isinstance(root.object, h5g.GroupID):
        raise NotFoundError(f"{root.address or '/'} is not a group")
    plan = Plan(files, root, folder, limits)

    others: dict[str, Generation | None] = dict.fromkeys(plan.absent)

    def write(writer: StructureWriter) -> None:
        writer.broken.extend(plan.broken)
        _Source(files, plan, writer, others).write(root)

    image = written(limits, root.address, write)
    others.update(files.generations)
    # Whether a file out of reach exists is not told, by the number of the view's inode either.
    others = {path: seen for path, seen in others.items() if allowed(path, files.confine)}
    return replace(image, files=tuple(sorted(others.items())))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What datasets of one datatype become.  `datatype` is None where all must be copied."""

    datatype: h5t.TypeID | None
    dtype: DType
    dims: tuple[int, ...] = ()  # of an array type
    exact: bool = True  # whether `datatype` is that of the source


class _Source:
    """Writes the objects of a plan.  `others` gets the files that hold values of its datasets."""

    def __init__(
        self,
        files: FileSet,
        plan: Plan,
        writer: StructureWriter,
        others: dict[str, Generation | None],
    ) -> None:
        self._files, self._plan, self._writer, self._others = files, plan, writer, others
        self._hdf5 = libhdf5()
        self._copier = Copier(writer)
        self._kinds: dict[bytes, _Kind] = {}
        self._todo: deque[PlannedGroup] = deque()

    def write(self, root: ResolvedObject) -> None:
        try:
            self._copier.written[self._plan.root.key] = self._writer.root
            self._enter(root, self._plan.root)
            while self._todo:
                group = self._todo.popleft()
                try:
                    found = self._files.find(group.address)
                except (EsrffsError, *H5PY_EXCEPTIONS) as error:
                    self._tell(group.address, error)
                else:
                    self._enter(found, group)
            self._copier.finish()
        finally:
            self._copier.close()

    def _tell(self, address: str, error: BaseException) -> None:
        if isinstance(error, ImageTooLargeError):
            raise error.met_at(address) from error
        if spoils_all(error):
            raise error
        self._writer.broken.append(broken(address, error))

    def _enter(self, found: ResolvedObject, group: PlannedGroup) -> None:
        """Write the attributes and members of a group that is there already."""
        made = self._writer.open(self._copier.written[group.key])
        try:
            self._copier.attributes(found, made)
            for member in group.members:
                budget.check("its objects")
                address = f"{group.address}/{decoded(member.name)}"
                try:
                    with translate_errors(address):
                        self._member(found, made, member, address)
                except EsrffsError as error:
                    self._tell(address, error)
            self._writer.check_size()
        finally:
            self._hdf5.o_close(made)

    def _member(
        self, parent: ResolvedObject, made: Hid, member: PlannedObject | PlannedLink, address: str
    ) -> None:
        if isinstance(member, PlannedLink):
            link = self._plan.resolve(member, address)
            if link.file is None:
                self._writer.soft(made, link.name, link.path)
            else:
                self._writer.external(made, link.name, link.file, link.path)
            return
        there = self._copier.written.get(member.key)
        if there is not None:
            self._writer.hard(made, member.name, there)
            return
        if member.included:
            found = self._files.walk(parent, member.name)
        else:
            found = ResolvedObject(h5o.open(parent.object, member.name), parent.file, address)
        if member.included and key_of(found) != member.key:
            raise DamagedError("changed while the view was made")
        self._object(found, made, member)

    def _object(self, found: ResolvedObject, made: Hid, member: PlannedObject) -> None:
        order = attribute_order(found)
        match found.object:
            case h5g.GroupID():
                opened = self._writer.group(made, member.name, order)
                self._todo.append(self._plan.groups[member.key])
            case h5d.DatasetID():
                opened = self._dataset(found, made, member.name, order)
            case _:
                opened = self._hdf5.t_copy(copied_type(found.object.id).id)
                self._writer.commit(made, member.name, opened)
        try:
            self._copier.written[member.key] = self._hdf5.address(opened)
            if not isinstance(found.object, h5g.GroupID):
                self._copier.attributes(found, opened)
        finally:
            self._hdf5.o_close(opened)

    def _dataset(self, found: ResolvedObject, made: Hid, name: bytes, order: int) -> Hid:
        dataset: h5d.DatasetID = found.object
        self._note_files(found)
        check_shape_allowed(self._files, found.file, dataset)
        shape = dataset.shape
        dims = None if shape is None else tuple(shape)
        stored = dataset.get_type()
        kind = self._kind(stored)
        whole = ((0,) if dims is None else dims) + kind.dims
        nbytes = math.prod(whole) * kind.dtype.itemsize
        if kind.datatype is None:
            return self._copied(found, made, name, stored, dims, order)
        if not kind.exact and 0 < nbytes <= _SMALL:
            try:
                return self._copied(found, made, name, stored, dims, order)
            except EsrffsError as error:
                if spoils_all(error):
                    raise  # of others it is told when the array is read
        place = found.address, whole, kind.dtype
        return self._writer.run(made, name, kind.datatype, place, dims, order)

    def _note_files(self, found: ResolvedObject) -> None:
        """The other files that hold values of this dataset, as they are now."""
        plist = found.object.get_create_plist()
        if plist.get_layout() != h5d.VIRTUAL and not plist.get_external_count():
            return
        for path in dependencies(self._files, found):
            if path not in self._others:
                self._others[path] = _generation(path)

    def _copied(
        self,
        found: ResolvedObject,
        made: Hid,
        name: bytes,
        stored: h5t.TypeID,
        dims: tuple[int, ...] | None,
        order: int,
    ) -> Hid:
        """A dataset with all its values, in its own datatype."""
        opened = self._writer.inline(made, name, copied_type(stored.id).id, dims, order)
        try:
            with translate_errors(found.address):
                self._copier.values(self._files, found, opened)
        except BaseException:
            self._hdf5.o_close(opened)
            self._writer.drop(made, name)
            raise
        return opened

    def _kind(self, stored: h5t.TypeID) -> _Kind:
        encoded = stored.encode()
        known = self._kinds.get(encoded)
        if known is None:
            if len(self._kinds) >= _REMEMBERED:
                self._kinds.clear()
            known = self._kinds[encoded] = _kind(stored)
        return known


def _generation(path: str) -> Generation | None:
    try:
        return Generation.of(os.stat(path))
    except OSError:
        return None


def _kind(stored: h5t.TypeID) -> _Kind:
    try:
        element = element_type(stored)
    except NoDtypeError:
        return _Kind(None, np.dtype(np.void))  # h5py cannot hold its values; libhdf5 copies them
    if element.object_fields or element.needs_json:
        return _Kind(None, element.buffer_dtype)
    made = image_type(stored, element)
    return _Kind(made, element.dtype({}), element.dims, made == rebuilt(stored))
