"""The reader of HDF5 files, NeXus, netCDF-4 and MATLAB 7.3 among them.

An address is a path inside the file.  A committed datatype is shown as JSON.  A member that cannot
be described is a `BrokenInfo`; the other members of its group are listed all the same.

h5py's low-level API is used throughout: it is faster than `h5py.File`, and opens only what it is
told to open.
"""

import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from esrffs import limits
from esrffs.damage import DamagedArray
from esrffs.encoders.json_text import to_json, value_to_json
from esrffs.encoders.text import line
from esrffs.errors import (
    AccessDeniedError,
    EsrffsError,
    LessReadableError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)
from esrffs.formats import budget
from esrffs.formats.budget import NotNowError, TooSlowError
from esrffs.formats.hdf5.attributes import read_attributes
from esrffs.formats.hdf5.datatypes import Array, DType, ElementType, NoDtypeError, element_type
from esrffs.formats.hdf5.fast_path import GROUP, SimpleDataset, describe_member
from esrffs.formats.hdf5.image import Hdf5Image, ImageLimits
from esrffs.formats.hdf5.image_source import image_of_group
from esrffs.formats.hdf5.layout import chunk_index, chunked_layout, contiguous_layout, layout
from esrffs.formats.hdf5.library import (
    h5,
    h5d,
    h5g,
    h5l,
    h5o,
    h5p,
    h5t,
    object_address,
    translate_errors,
)
from esrffs.formats.hdf5.links import FileSet, ResolvedObject, expected_path, find_file
from esrffs.formats.hdf5.metadata_prefetch import Link
from esrffs.formats.hdf5.references import decoded
from esrffs.formats.hdf5.shared_records import SharedRecords
from esrffs.formats.hdf5.values import DatasetValues, dataset_of, shape_of
from esrffs.formats.hdf5.virtual_layout import dependencies, virtual_layout
from esrffs.formats.hdf5.virtual_sources import check_shape_allowed, is_virtual
from esrffs.model import (
    Box,
    BrokenInfo,
    ChunkedLayout,
    ChunkIndex,
    ContiguousLayout,
    DatasetInfo,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    Layout,
    LinkInfo,
    Member,
    MemberKind,
    OpaqueLayout,
    VirtualLayout,
)

ADDRESS_MASK = (1 << 64) - 1
_IMAGE_LIMITS = ImageLimits()
_MAX_PARENTS = 10_000  # groups whose members are known to be known
_Kinds = dict[object, MemberKind | EsrffsError]  # what links lead to, by their values


class Hdf5Reader:
    """One HDF5 file.  Where `confine` is the real path of a folder, nothing outside is opened."""

    def __init__(self, path: str, confine: str | None) -> None:
        self._files = FileSet(path, confine)
        self._values = DatasetValues(self._files)
        self._shared = SharedRecords()
        self._parents: set[str] = set()  # groups whose members `prefetch` knows
        self._texts: dict[str, JsonText | EsrffsError] = {}  # JSON whose size is known, by address

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._files!r})"

    def listing(self, address: str) -> GroupListing:
        """Members in the order of their creation where that was tracked, else by name."""
        self._learn_siblings(address)
        with self._files.call(address) as group:
            if not isinstance(group.object, h5g.GroupID):
                raise NotFoundError(f"{address} is not a group")
            identity = _identity(group)
            group.file.prefetch.group(identity & ADDRESS_MASK)
            limits.check_children(address or "/", group.object.get_num_objs())
            kinds: _Kinds = {}
            self._parents.add(address)
            links = group.file.prefetch.links(_links(group.object))
            members = tuple(self._member(group, link, kinds) for link in links)
            return GroupListing(members, _attributes(group), identity)

    def _learn_siblings(self, address: str) -> None:
        """Learn which groups follow this one, if another worker process listed its parent.

        Only for a file on a server: then they are fetched ahead.
        """
        prefetch, parent = self._files.main.prefetch, address.rpartition("/")[0]
        if address and prefetch.has_waited and parent not in self._parents:
            if len(self._parents) > _MAX_PARENTS:
                self._parents.clear()
            self._parents.add(parent)
            with suppress(EsrffsError), self._files.call(parent) as above:
                if isinstance(above.object, h5g.GroupID) and above.file is self._files.main:
                    prefetch.learn(_links(above.object))

    def find(self, path: str) -> GroupInfo | DatasetInfo | JsonInfo:
        """The object at this path; NotFoundError, LinkLoopError, AccessDeniedError."""
        with self._files.call(path) as found:
            return self._described(found, path.rstrip("/").rpartition("/")[2])

    def read(self, address: str, box: Box) -> Array:
        """The elements of this box, of the dtype that the listing told."""
        with self._files.call(address) as found:
            return self._values.read(found, box)

    def sound(self, address: str, box: Box) -> DamagedArray:
        """What can be had of a box of which `read` cannot give all."""
        with self._files.call(address) as found:
            return self._values.sound(found, box)

    def attributes(self, address: str) -> bytes:
        """All attributes of the object as JSON."""
        with self._files.call(address) as found:
            return to_json(read_attributes(found.object, found.file.references))

    def text(self, address: str) -> bytes:
        """A dataset that numpy could hold only by pickling, or a datatype, as JSON."""
        with self._files.call(address) as found:
            return self._json(found)

    def stored(self, runs: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes in these runs of the file: offsets and lengths, fewer where it ends before."""
        with translate_errors("its bytes"):
            return self._files.main.prefetch.stored(runs)

    def chunk_index(self, address: str) -> ChunkIndex:
        """Where the chunks lie."""
        with self._files.call(address) as found:
            return chunk_index(dataset_of(found))

    def image(
        self, address: str, folder: str | None = None, limits: ImageLimits = _IMAGE_LIMITS
    ) -> Hdf5Image:
        """An HDF5 file of what is in the group, its arrays as places; ImageTooLargeError.

        External links to files in `folder` lead to the views of those files; what they lead to
        elsewhere is included.
        """
        with self._files.call(address) as found:
            return image_of_group(self._files, found, folder, limits)

    def learn(self, address: str, dtype: DType) -> None:
        """What another reader has found out by reading much, of this same state of the file."""
        self._values.learn(address, dtype)

    def close(self) -> None:
        """Let go of the file."""
        self._files.close()

    def _member(self, group: ResolvedObject, link: Link, kinds: _Kinds) -> Member:
        name, type_, _ = link
        shown = decoded(name)
        try:
            with translate_errors(f"{group.address}/{shown}"), budget.one_object():
                if name == b"." or b"/" in name:
                    raise UnsupportedError("HDF5 cannot open an object of this name")
                if type_ == h5l.TYPE_HARD:
                    address = f"{group.address}/{shown}"
                    simple = self._described_fast(group, link, shown, address)
                    if simple is not None:
                        return simple
                    member = h5o.open(group.object, name)
                    return self._described(ResolvedObject(member, group.file, address), shown)
                value = group.object.links.get_val(name)
                return self._link(group, shown, type_, value, kinds)
        except NotNowError:
            raise
        except EsrffsError as error:
            address = f"{group.address}/{shown}"
            text = str(error)
            reason = text if text.startswith(address) else f"{address}: {text}"
            kind: MemberKind | None = "text" if address in self._texts else None
            return BrokenInfo(
                shown, reason, isinstance(error, AccessDeniedError), error.errno, kind
            )

    def _described_fast(
        self, group: ResolvedObject, link: Link, shown: str, address: str
    ) -> GroupInfo | DatasetInfo | None:
        """A group, or a dataset of the simplest kind, of which most files have the most."""
        if group.file is not self._files.main:
            return None
        simple = describe_member(group.object.id, link.name)
        if simple is GROUP:
            return GroupInfo(shown, address, link.address)
        if not isinstance(simple, SimpleDataset):
            return None
        element = simple.element
        shape = simple.shape + element.dims
        where: Layout
        if simple.properties is None:
            where = contiguous_layout(simple.offset, simple.stored, element, shape, group.file)
            if isinstance(where, OpaqueLayout):
                return None
        else:
            told = chunked_layout(simple.properties, element, shape, simple.limits, group.file)
            where = self._shared.layout(told)
        text = self._shared.json(simple.attributes, element.enumeration)
        return DatasetInfo(shown, address, shape, simple.dtype, where, text)

    def _link(
        self, group: ResolvedObject, name: str, type_: int, value: object, kinds: _Kinds
    ) -> LinkInfo:
        if value not in kinds:
            try:
                kinds[value] = self._kind(self._files.target(group, type_, value))
            except EsrffsError as error:
                kinds[value] = error
        kind = kinds[value]
        refusal = str(kind) if isinstance(kind, LessReadableError) else None
        forbidden = isinstance(kind, AccessDeniedError), refusal
        known = None if isinstance(kind, EsrffsError) else kind
        match value:
            case bytes():
                return LinkInfo(name, decoded(value), None, known, *forbidden)
            case (bytes() as file, bytes() as path):
                place = self._place(file, group.file.path)
                return LinkInfo(name, decoded(path), place, known, *forbidden)
        raise UnsupportedError(str(kind))

    def _kind(self, target: ResolvedObject) -> MemberKind:
        if isinstance(target.object, h5g.GroupID):
            return "group"
        if not isinstance(target.object, h5d.DatasetID):
            return "text"
        element = element_type(target.object.get_type())
        try:
            return "text" if self._values.as_json(target, element) else "dataset"
        except EsrffsError:
            return "dataset"  # a broken one, which says so where it is

    def _place(self, file: bytes, holder: str) -> str:
        try:
            return find_file(file, holder, self._files.confine)
        except EsrffsError:
            return expected_path(file, holder)

    def _described(self, found: ResolvedObject, name: str) -> GroupInfo | DatasetInfo | JsonInfo:
        if isinstance(found.object, h5g.GroupID):
            return GroupInfo(name, found.address, _identity(found))
        if isinstance(found.object, h5d.DatasetID):
            check_shape_allowed(self._files, found.file, found.object)
            try:
                element = element_type(found.object.get_type())
            except NoDtypeError:
                return self._as_bytes(found, name)
            if not self._values.as_json(found, element):
                shape = shape_of(found, element)
                dtype = self._values.dtype(found, element)
                where = self._layout(found, element, shape)
                elsewhere = isinstance(where, OpaqueLayout | VirtualLayout)
                others = dependencies(self._files, found) if elsewhere else ()
                only = self._values.only_text(found) if element.object_fields else None
                text = None if only is None else JsonText.of(line(only))
                return DatasetInfo(
                    name, found.address, shape, dtype, where, _attributes(found), others, text=text
                )
        return JsonInfo(name, found.address, self._text(found), _attributes(found))

    def _as_bytes(self, found: ResolvedObject, name: str) -> DatasetInfo:
        """A dataset whose elements h5py cannot read, as they stand in the file."""
        stored = dataset_of(found)
        shape, nbytes, offset = stored.shape, stored.get_storage_size(), stored.get_offset()
        count = math.prod(shape or ())
        whole = shape is not None and found.file is self._files.main and offset is not None
        if not whole or not nbytes or nbytes % count or not found.file.contains(offset + nbytes):
            raise UnsupportedError(
                "h5py knows no dtype for its datatype, and its bytes do not lie in one run"
            )
        dtype = np.dtype(("V", nbytes // count))
        return DatasetInfo(
            name, found.address, shape, dtype, ContiguousLayout(offset), _attributes(found)
        )

    def _text(self, found: ResolvedObject) -> JsonText:
        """The size of the JSON that a dataset or datatype becomes, found out once."""
        known = self._texts.get(found.address)
        if known is None:
            try:
                known = JsonText.of(self._json(found))
            except (TooLargeError, TooSlowError) as error:
                known = type(error)(*error.args)  # it would take as long again
            self._texts[found.address] = known
        if isinstance(known, EsrffsError):
            raise type(known)(*known.args)
        return known

    def _layout(
        self, found: ResolvedObject, element: ElementType, shape: tuple[int, ...]
    ) -> Layout:
        if found.file is not self._files.main:
            return OpaqueLayout()  # offsets would be those of another file
        if is_virtual(found.file, found.object):
            return virtual_layout(self._files, found, element, shape)
        where = layout(found.object, element, shape, found.file)
        # Chunks of texts are small beside their arrays, and stay decoded while they are read.
        return (
            OpaqueLayout() if element.object_fields and isinstance(where, ChunkedLayout) else where
        )

    def _json(self, found: ResolvedObject) -> bytes:
        if isinstance(found.object, h5t.TypeID):
            return value_to_json(_committed(found.object))
        return self._values.json(found)


def _identity(group: ResolvedObject) -> int:
    return group.file.id_prefix | object_address(group.object)


def _links(group: h5g.GroupID) -> list[Link]:
    links: list[Link] = []
    tracked = group.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED
    index = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME

    def note(name: bytes, link: h5l.LinkInfo) -> None:
        address = link.u if link.type == h5l.TYPE_HARD else None
        links.append(Link(name, link.type, address))

    group.links.iterate(note, info=True, idx_type=index)
    return links


def _attributes(found: ResolvedObject) -> JsonText | None:
    told = read_attributes(found.object, found.file.references)
    return JsonText.of(to_json(told)) if told else None


def _committed(datatype: h5t.TypeID) -> object:
    """What there is to say about a datatype that stands in the file by itself."""
    element = element_type(datatype)
    told = {"dtype": str(element.dtype({})), "shape": element.dims, "enum": element.enumeration}
    return {key: value for key, value in told.items() if value}
