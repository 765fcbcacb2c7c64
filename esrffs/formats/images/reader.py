"""The reader of images (EDF, TIFF, and what FabIO reads): the tree is that of silx.

The frames are one dataset: (y, x) for one frame, (n, y, x) for more.  The address of an object is
its path, with `%` and `/` inside a name written as `%25` and `%2F`.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np

from esrffs.damage import DamagedArray
from esrffs.encoders import edf
from esrffs.encoders.json_text import to_json
from esrffs.errors import DamagedError, EsrffsError, NotFoundError
from esrffs.formats.find_object import find_object
from esrffs.formats.images.edf import EdfFrames
from esrffs.formats.images.fabio_frames import FabioFrames
from esrffs.formats.images.frames import Array, FrameSource, translated
from esrffs.formats.images.partial_read import sound
from esrffs.formats.images.signatures import TIFF_CODECS, codec_of_file
from esrffs.formats.images.tiff import TiffFrames
from esrffs.formats.images.tree import DATA, DETECTOR, ImageTree, root_attributes
from esrffs.model import (
    Box,
    BrokenInfo,
    ChunkIndex,
    DatasetInfo,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    LinkInfo,
    Member,
)


class ImageStackReader:
    """The tree of some frames.  `stacked`: the dataset has an axis for frames even if there is only
    one.
    """

    def __init__(
        self, frames: FrameSource, root: Mapping[str, object], *, stacked: bool = False
    ) -> None:
        self._frames = frames
        try:
            self._tree = ImageTree(frames)
        except EsrffsError:
            frames.close()
            raise
        self._stacked = stacked or len(frames.headers) > 1
        self._root = {**root, "end": frames.end_reason} if frames.end_reason else dict(root)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._frames!r}>"

    def listing(self, address: str) -> GroupListing:
        """With the root all groups are returned that are known without further headers."""
        members = tuple(self._members(address))
        attributes = _text(self._group_attributes(address))
        if address != "":
            return GroupListing(members, attributes)
        below = {other: self.listing(other) for other in self._tree.skeleton}
        return GroupListing(members, attributes, prefetched=below, end=self._frames.end_reason)

    def find(self, path: str) -> GroupInfo | DatasetInfo | JsonInfo:
        return find_object(self.listing, path)

    def read(self, address: str, box: Box) -> Array:
        if address != DATA:
            return np.ascontiguousarray(self._metadata(address)[box.slices])
        frames = self._frames
        if not self._stacked:
            rows = frames.rows(0, box.start[0], box.stop[0])
            return np.ascontiguousarray(rows[(slice(None), *box.slices[1:])])
        array = np.empty(box.shape, frames.dtype)
        if array.size:
            for at, index in enumerate(range(box.start[0], box.stop[0])):
                rows = frames.rows(index, box.start[1], box.stop[1])
                array[at] = rows[(slice(None), *box.slices[2:])]
        return array

    def sound(self, address: str, box: Box) -> DamagedArray:
        """The elements of a box that can be read, and the errors of the others, after `read` has
        failed.
        """
        if address != DATA:
            array = self.read(address, box)
            return DamagedArray(array, np.zeros(array.shape, np.uint8), ())
        return sound(self._frames, box, stacked=self._stacked)

    def attributes(self, address: str) -> bytes:
        if address == "" or self._tree.group(address) is not None:
            attributes = self._group_attributes(address)
        else:
            attributes = self._dataset_attributes(address)
        if not attributes:
            raise NotFoundError(f"{address} has no attributes")
        return to_json(attributes)

    def frame_headers(self, address: str) -> tuple[edf.Header, ...]:  # noqa: ARG002  # one stack
        """Keys and values of the header of each frame, as text; () where they take too much."""
        headers = tuple(
            tuple((str(key), str(value)) for key, value in header.items())
            for header in self._frames.headers
        )
        return headers if edf.within_limits(headers) else ()

    def text(self, address: str) -> bytes:
        raise NotFoundError(f"{address}: images hold nothing but arrays")

    def chunk_index(self, address: str) -> ChunkIndex:
        raise NotFoundError(f"{address}: images have no chunks")

    def close(self) -> None:
        self._frames.close()

    def _members(self, group: str) -> Iterator[Member]:
        """The members of a group in the order of silx: groups that it adds, links, metadata."""
        self._group_attributes(group)  # NotFoundError where there is no such group
        if group == DETECTOR:
            yield self._data()
        for address in self._tree.groups(group):
            yield GroupInfo(address.rpartition("/")[2], address)
        for name, target in self._tree.links(group).items():
            yield LinkInfo(name, target, kind="dataset" if target == DATA else "group")
        for name, values in self._tree.values(group).items():
            address = f"{group}/{_quoted(name)}"
            try:
                array = values()
            except EsrffsError as error:
                yield BrokenInfo(name, str(error))
            else:
                told = _text(self._tree.attributes(group))
                yield DatasetInfo(name, address, array.shape, array.dtype, attributes=told)

    def _data(self) -> DatasetInfo:
        frames = self._frames
        shape = (len(frames.headers), *frames.shape) if self._stacked else frames.shape
        return DatasetInfo(
            "data",
            DATA,
            shape,
            frames.dtype,
            frames.layout,
            _text({"interpretation": self._tree.interpretation}),
        )

    def _group_attributes(self, group: str) -> Mapping[str, object]:
        if group == "":
            return self._root
        attributes = self._tree.group(group)
        if attributes is None:
            raise NotFoundError(f"there is no group {group}")
        return attributes

    def _dataset_attributes(self, address: str) -> Mapping[str, object]:
        if address == DATA:
            return {"interpretation": self._tree.interpretation}
        group = address.rpartition("/")[0]
        self._metadata(address)
        return self._tree.attributes(group)

    def _metadata(self, address: str) -> Array:
        group, _, name = address.rpartition("/")
        values = self._tree.values(group).get(_unquoted(name))
        if values is None:
            raise NotFoundError(f"there is no dataset {address}")
        return values()


class ImageFileReader(ImageStackReader):
    """One image file."""

    def __init__(self, path: str, confine: str | None) -> None:
        frames = open_frames(path, confine)
        super().__init__(frames, root_attributes(shown_time(os.stat(path).st_mtime_ns), path))


def open_frames(path: str, confine: str | None) -> FrameSource:
    """The frames of one file.  DamagedError, NotFoundError, AccessDeniedError."""
    found = detect_codec(path)
    if found == "edf":
        return EdfFrames(path, confine)
    if found in TIFF_CODECS:
        return TiffFrames(path, found)
    return FabioFrames(path, found)


def detect_codec(path: str) -> str:
    """FabIO's codec for this file.  DamagedError where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            descriptor = file.fileno()
            size = os.fstat(descriptor).st_size
            found = codec_of_file(
                lambda offset, count: os.pread(descriptor, count, offset),
                size,
                os.path.basename(path),
            )
    except OSError as error:
        raise translated("the file", error) from error
    return check_codec(found)


def check_codec(found: str | None) -> str:
    """The same codec; DamagedError where there is none."""
    if found is None:
        raise DamagedError("the file does not start like any image that FabIO reads")
    return found


def shown_time(mtime_ns: int) -> str:
    """A time in ns since 1970 as silx writes times: local, ISO 8601."""
    seconds, rest = divmod(mtime_ns, 10**9)
    return datetime.fromtimestamp(seconds + 1e-9 * rest).isoformat()


def _text(attributes: Mapping[str, object]) -> JsonText | None:
    return JsonText.of(to_json(attributes)) if attributes else None


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")


def _unquoted(name: str) -> str:
    return name.replace("%2F", "/").replace("%25", "%")
