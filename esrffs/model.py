"""Records about what is in a data file and where its bytes are, and the protocol of readers.

A reader (`esrffs.formats`) runs in a worker process and describes its file with these records.
They are frozen, can be pickled, compared and cached, and never hold an open file or an h5py object.

An *address* identifies an object in its file.  Its form is known only to the reader that returned
it; `""` is the root of the file.  A *name* is the name of the object in the file; bytes that are
not UTF-8 are surrogate escapes.  `encoders/file_names` decides which file name it gets.
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
    """Pickle instances as a call of the class with their field values.

    This is much faster than the default of frozen dataclasses, which loops over the fields twice.
    """
    names = [each.name for each in fields(record)]  # type: ignore[arg-type]  # a dataclass
    values: Callable[[R], Any] = attrgetter(*names)
    if len(names) == 1:
        copyreg.pickle(record, lambda one: (record, (values(one),)))
    else:
        copyreg.pickle(record, lambda one: (record, values(one)))
    return record


@dataclass(frozen=True, slots=True)
class Box:
    """A contiguous hyperslab: on each axis the elements from `start` to `stop` (exclusive)."""

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
    """The status (stat(2)) of a file or folder of the source; the mode is restricted by its ACL.

    Not `os.stat_result`, of which no copy with another mode can be made in every Python version.
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
    """The state of a file.  If any of these values changes, its content may have changed."""

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
    """A JSON text (UTF-8) of known size.  `content` is None for a long text, read on demand."""

    size: int
    content: bytes | None = None

    KEEP = 1024  # bytes: longer texts are not kept with a listing

    @classmethod
    def of(cls, content: bytes) -> "JsonText":
        return cls(len(content), content if len(content) <= cls.KEEP else None)


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class ContiguousLayout:
    """The array is stored verbatim (C order, its own dtype) in one piece of the source file."""

    offset: int  # bytes from the start of the file


@dataclass(frozen=True, slots=True, eq=False)
class FramesLayout:
    """Each index of the first axis (a frame) is stored verbatim in one piece of the source file.

    `offsets[i]` is the position of frame i in the file (bytes, int64).  `swapped`: the byte order
    in the file is the opposite of that of the dtype.  An array of one frame has no axis for frames,
    and one offset.  In a series, frame i is in the file `files[i]` (a path that the reader was
    given).
    """

    offsets: npt.NDArray[np.int64]
    swapped: bool = False
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkedLayout:
    """The array is stored in chunks of this shape, which `formats/filters` or the reader decode.

    `filters` are HDF5 filter numbers with their client data, in the order in which they were
    applied when the chunk was written.  `fill` is the fill value, one element as bytes; None: the
    reader must be asked for chunks that were never written.  `indexed`: the reader can return the
    `ChunkIndex`.
    """

    shape: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...] = ()
    fill: bytes | None = None
    indexed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ChunkIndex:
    """Where the chunks of one array are, indexed by chunk number in C order of the chunk grid.

    `offsets`: bytes from the start of the file, -1 for a chunk that was never written.  `sizes`:
    stored bytes.  `masks`: if bit k is set, filter k was skipped for this chunk.
    """

    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class OpaqueLayout:
    """Only the reader can read the values.

    It always decodes whole pieces of the shape `grain`; (): it can read any box efficiently.
    """

    grain: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualMapping:
    """Frames [start, stop) of a virtual dataset are the frames from `first` of another dataset.

    `file` is an absolute path, `path` the path of the other dataset in it.  The other dataset has
    frames of the same shape; if it has no axis for frames, it is one frame.  `whole`: the mapping
    covers all of its frames.
    """

    start: int
    stop: int
    file: str
    path: str
    first: int
    whole: bool


@dataclass(frozen=True, slots=True)
class VirtualLayout:
    """A virtual dataset that maps whole frames, in order.  All others have the value `fill`."""

    parts: tuple[VirtualMapping, ...]
    fill: bytes  # one element


Layout = ContiguousLayout | FramesLayout | ChunkedLayout | VirtualLayout | OpaqueLayout


MemberKind = Literal["group", "dataset", "text"]


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group.  All hard links to one group have the same `identity`; None: there are none."""

    name: str
    address: str
    identity: int | None = None


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset with a NumPy dtype, which is shown as `name.npy`.

    `dependencies` are the other files (absolute paths) that contain its values.  `label` is its
    name in the file, if that cannot be a name in a path ("det/a").  `text` has the elements of a
    small array of strings, one per line.
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
        """Bytes of all elements."""
        return self.dtype.itemsize * prod(self.shape)


@dataclass(frozen=True, slots=True)
class JsonInfo:
    """A dataset that NumPy could save only with pickle; it is shown as `name.json`."""

    name: str
    address: str
    content: JsonText
    attributes: JsonText | None = None


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A soft link (`file` is None) or an external link.

    `path` is the HDF5 path in the link; a relative one starts at the group of the link.  `file` is
    the absolute path that libhdf5 would open.  `kind` is the kind of the target; None if there is
    no target, or if this mount may not read it (`forbidden`).  `refusal` is a text if the target is
    in a file that fewer users may read than this one.
    """

    name: str
    path: str
    file: str | None = None
    kind: MemberKind | None = None
    forbidden: bool = False
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class BrokenInfo:
    """An object that exists but cannot be described; `reason` is a sentence for the user."""

    name: str
    reason: str
    forbidden: bool = False  # this mount may not read it, or a file that it refers to
    errno: int = 0  # of the error; 0: that of DamagedError
    kind: MemberKind | None = None  # the kind of the object, if known


Member = GroupInfo | DatasetInfo | JsonInfo | LinkInfo | BrokenInfo


@_pickle_compactly
@dataclass(frozen=True, slots=True)
class GroupListing:
    """The content of one group: its attributes, and its members in the order of the file.

    `object_id` is the `identity` of the group, as in `GroupInfo`.  `prefetched` are listings of
    groups below it, by address, that the reader returned at the same time.  `end` says why the file
    contains more than is shown.
    """

    members: tuple[Member, ...]
    attributes: JsonText | None = None
    object_id: int | None = None
    prefetched: Mapping[str, "GroupListing"] = field(default_factory=dict)
    end: str = ""


class Reader(Protocol):
    """One open data file in a worker process.  Synchronous; it may crash or take very long.

    Every error of a library is raised as an `esrffs.errors.EsrffsError` whose text names the object
    and the reason; the caller adds the file.  A reader keeps nothing between calls but the open
    file and what was parsed from it.
    """

    def listing(self, address: str) -> GroupListing:
        """The group at this address.  Array values are read only if a size depends on them."""

    def find(self, path: str) -> GroupInfo | DatasetInfo | JsonInfo:
        """The object at this path (names joined by "/"), links followed; NotFoundError."""

    def read(self, address: str, box: Box) -> npt.NDArray[np.generic]:
        """The elements of this box: C order, with the dtype of the listing."""

    def attributes(self, address: str) -> bytes:
        """All attributes of the object as JSON."""

    def text(self, address: str) -> bytes:
        """A whole `JsonInfo` dataset as JSON."""

    def chunk_index(self, address: str) -> ChunkIndex:
        """Where the chunks of a `ChunkedLayout` dataset with `indexed` are stored."""

    def close(self) -> None:
        """Close the file.  May be called twice."""


class SeriesReader(Reader, Protocol):
    """The reader of a series of files."""

    def take_opened(self) -> set[int]:
        """The numbers of the files that were opened since the last call."""


Buffer = bytes | bytearray | memoryview

Format = Literal["hdf5", "spec", "image"]
