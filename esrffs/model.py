"""The words that cross borders: frozen records about what is in a file and where its bytes lie.

Decided here: what a reader (`esrffs.formats`, in a worker process) may tell the rest of esrffs.
Records are plain data: they can be pickled, compared and remembered; no open file, no h5py object
ever travels.

An *address* names an object inside its file.  Only the reader that gave it out knows its form;
`""` is the root of the file.  A *name* is what the file itself calls the object, with bytes that
are not UTF-8 as surrogate escapes; which file name it gets is decided in `encoders/file_names`.
"""

import copyreg
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import prod
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

R = TypeVar("R")


def _pickle_compactly(record: type[R]) -> type[R]:
    """Pickle these as a call with their fields: dataclasses go through theirs twice, in Python."""
    names = [each.name for each in fields(record)]  # type: ignore[arg-type]  # a dataclass
    values: Callable[[R], Any] = attrgetter(*names)
    if len(names) == 1:
        copyreg.pickle(record, lambda one: (record, (values(one),)))
    else:
        copyreg.pickle(record, lambda one: (record, values(one)))
    return record


@dataclass(frozen=True, slots=True)
class Box:
    """A hyperslab without gaps: the elements from `start` up to `stop` (exclusive) on each axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop) or any(
            not 0 <= a <= b for a, b in zip(self.start, self.stop, strict=True)
        ):
            raise ValueError(f"not a box: {self.start} … {self.stop}")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))


class FileStatus(NamedTuple):
    """What stat(2) says of a file or folder of the source, less what an ACL takes away.

    A record of our own, for `os.stat_result` cannot be made with another mode on every Python.
    """

    st_mode: int
    st_ino: int
    st_dev: int
    st_uid: int
    st_gid: int
    st_size: int  # bytes
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileStatus":
        return cls(
            status.st_mode,
            status.st_ino,
            status.st_dev,
            status.st_uid,
            status.st_gid,
            status.st_size,
            status.st_atime_ns,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )


@dataclass(frozen=True, slots=True)
class Generation:
    """The state of a file: in another generation it may hold other bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: FileStatus | os.stat_result) -> "Generation":
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class JsonText:
    """JSON (UTF-8 bytes) of known size; long ones are not carried along but asked for again."""

    size: int
    content: bytes | None = None

    KEEP = 1024  # bytes: what is worth remembering with a listing

    @classmethod
    def of(cls, content: bytes) -> "JsonText":
        return cls(len(content), content if len(content) <= cls.KEEP else None)


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class ContiguousLayout:
    """The array lies verbatim (C order, its own dtype) in one run of the source file."""

    offset: int  # bytes from the start of the file


@dataclass(frozen=True, slots=True, eq=False)
class FramesLayout:
    """Each index of the first axis is one verbatim run of the source file.

    `offsets[i]` is where frame i starts (bytes, int64).  With `swapped` the file holds the
    other byte order than the dtype.  An array of one frame has no frame axis, but one offset.
    In a series frame i lies in `files[i]` (a path as the reader was given it).
    """

    offsets: npt.NDArray[np.int64]
    swapped: bool = False
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkedLayout:
    """Chunks of this shape, decoded by the reader or, where the filters are known, by `codecs`.

    `filters` are HDF5 filter numbers with their client data, in the order in which they were
    applied when the chunk was written.  `fill` is one element as bytes, `None` where unwritten
    chunks must be asked of the reader.  `indexed`: the reader can tell where the chunks lie.
    """

    shape: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...] = ()
    fill: bytes | None = None
    indexed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ChunkIndex:
    """Where the chunks of one array lie, by chunk number in C order of the chunk grid.

    `offsets` (bytes from the start of the file, int64; -1 for a chunk never written), `sizes`
    (stored bytes, int64), `masks` (uint32; bit k set: filter k was skipped for this chunk).
    """

    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class OpaqueLayout:
    """Only the reader knows how to get at the values.

    It makes pieces of the shape `grain`, each as a whole; (): as many or few as it is asked for.
    """

    grain: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualMapping:
    """Indices [start, stop) of the first axis are those from `first` of another dataset.

    `file` is an absolute path, `path` that of the dataset in it.  The other dataset has the same
    further axes; where it has one axis less, it is one frame.  `whole`: it has no other frames.
    """

    start: int
    stop: int
    file: str
    path: str
    first: int
    whole: bool


@dataclass(frozen=True, slots=True)
class VirtualLayout:
    """A virtual dataset that maps whole frames, in order; what no part covers is `fill`."""

    parts: tuple[VirtualMapping, ...]
    fill: bytes  # one element


Layout = ContiguousLayout | FramesLayout | ChunkedLayout | VirtualLayout | OpaqueLayout


MemberKind = Literal["group", "dataset", "text"]


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group.  Two names of one group (hard links) have one `identity`; None: no hard links."""

    name: str
    address: str
    identity: int | None = None


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset that numpy can hold: becomes `name.npy`.

    `depends` are the other files (absolute paths) that hold its values.  `label` is what the file
    calls it where that could be no name in a path ("det/a").  `text` is what a small array of
    strings says, an element a line.
    """

    name: str
    address: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    layout: Layout = field(default_factory=OpaqueLayout)
    attributes: JsonText | None = None
    dependencies: tuple[str, ...] = ()
    label: str = ""
    text: JsonText | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all its elements."""
        return self.dtype.itemsize * prod(self.shape)


@dataclass(frozen=True, slots=True)
class JsonInfo:
    """A dataset that numpy could hold only by pickling: becomes `name.json`."""

    name: str
    address: str
    content: JsonText
    attributes: JsonText | None = None


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A soft link (`file` is None) or an external one.

    `path` is the HDF5 path that the link holds (relative ones start at the group of the link),
    `file` the absolute path that the library would open, `kind` what is found there: None where
    the link dangles, or where it leads out of what this mount may read (`forbidden`).  Where
    that is a file of the source which not all may read who may read this one, `refusal` says so.
    """

    name: str
    path: str
    file: str | None = None
    kind: MemberKind | None = None
    forbidden: bool = False
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class BrokenInfo:
    """An object that is there but cannot be described; `reason` is a sentence for the user."""

    name: str
    reason: str
    forbidden: bool = False  # it, or what it is made of, lies where this mount may not read
    code: int = 0  # the errno of what went wrong; 0: none of its own
    kind: MemberKind | None = None  # what it would be


Member = GroupInfo | DatasetInfo | JsonInfo | LinkInfo | BrokenInfo


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class GroupListing:
    """What is in one group: its own attributes, and its members in file order.

    `identity` is that of the group itself, as in `GroupInfo`.  `below` are groups beneath it, by
    address, that the reader has at hand with it: who looks into them need not ask.  `end` says why
    there is more in the file than is shown.
    """

    members: tuple[Member, ...]
    attributes: JsonText | None = None
    object_id: int | None = None
    prefetched: Mapping[str, "GroupListing"] = field(default_factory=dict)
    end: str = ""


class Reader(Protocol):
    """One open file, inside a worker process: synchronous, and allowed to crash, hang or raise.

    Every failure of a foreign library leaves as an `esrffs.errors.EsrffsError` whose text names
    the object and the reason (the caller adds the file).  Nothing is kept between calls but the
    open file and what was parsed from it.
    """

    def listing(self, address: str) -> GroupListing:
        """The group at this address.  Reads no array values except where a size depends on them."""

    def find(self, path: str) -> GroupInfo | DatasetInfo | JsonInfo:
        """The object at this path of names joined by "/", links followed."""

    def read(self, address: str, box: Box) -> npt.NDArray[np.generic]:
        """The elements of this box: C order, of the dtype that the listing told."""

    def attributes(self, address: str) -> bytes:
        """All attributes of the object as JSON."""

    def text(self, address: str) -> bytes:
        """The whole of a `JsonInfo` dataset as JSON."""

    def chunk_index(self, address: str) -> ChunkIndex:
        """Where the chunks of a `ChunkedLayout` dataset with `indexed` lie."""

    def close(self) -> None:
        """Let go of the file, whatever state it is in."""


class SeriesReader(Reader, Protocol):
    """The reader of a series of files."""

    def take_opened(self) -> set[int]:
        """The numbers of the files that were opened since the last call."""


Buffer = bytes | bytearray | memoryview

Format = Literal["hdf5", "spec", "raster"]
