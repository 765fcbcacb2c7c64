"""An HDF5 file of what a group shows, as records: its structure as bytes, its data as places.

The records cross the border between a worker and the daemon, so nothing here loads h5py.  The file
is one literal (superblock, groups, attributes, texts; all that HDF5 calls metadata), then the data
of each array at a multiple of `ALIGNMENT`.  What no literal and no run covers is zero bytes.

Does not: make an image (`image_source`, `image_described`), or serve it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from esrffs.errors import TooLargeError
from esrffs.model import Generation

ALIGNMENT: Final = 4096  # bytes: the data of every array start at a multiple of it
SUFFIX: Final = ".h5"  # which the name of a view has more than that of its group


class ArrayRunPlace(NamedTuple):
    """The data of one array: bytes [offset, offset + nbytes) of the image.

    They are the data of its `.npy` (C order, of this dtype and shape), the whole of them.
    `address` is that of the array, as its reader gave it.
    """

    offset: int
    nbytes: int
    address: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


class BrokenPart(NamedTuple):
    """An object, attribute (`/path@name`) or link that the image lacks; `reason` is a sentence."""

    address: str
    reason: str
    forbidden: bool = False
    errno: int = 0  # of what went wrong


@dataclass(frozen=True, slots=True)
class Hdf5Image:
    """An HDF5 file of `nbytes`.  Literals and runs are sorted, and do not overlap.

    `files` are the files besides the reader's own on which the image or the values of its arrays
    depend (sources of virtual datasets, raw storage, what links include): absolute paths, and the
    state in which each was when it was looked at; None where there was no such file.
    """

    nbytes: int
    literals: tuple[tuple[int, bytes], ...]
    runs: tuple[ArrayRunPlace, ...]
    broken: tuple[BrokenPart, ...] = ()
    files: tuple[tuple[str, Generation | None], ...] = ()


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How much is made for one image."""

    nbytes: int = 64 << 20  # of structure, texts included
    objects: int = 100_000

    def check_objects(self, where: str, count: int) -> None:
        """ImageTooLargeError where there are more objects; asked before any is described."""
        if count > self.objects:
            raise ImageTooLargeError(
                f"{where or '/'}: more than {self.objects} objects are too many for one HDF5 view;"
                " take a smaller group"
            )

    def check_nbytes(self, where: str, nbytes: int) -> None:
        """ImageTooLargeError where texts and structure take more bytes."""
        if nbytes > self.nbytes:
            raise ImageTooLargeError(
                f"{where or '/'}: more than {self.nbytes >> 20} MiB of text and structure are too"
                " much for one HDF5 view (view_limit); take a smaller group"
            )


class ImageTooLargeError(TooLargeError):
    """The group has more objects, or more text, than one image may have."""

    def met_at(self, address: str) -> "ImageTooLargeError":
        """This error, with the object at which the limit was reached."""
        return ImageTooLargeError(f"{self} (reached at {address})")


Attributes = Mapping[str, Any]
"""By name: str, int, float, complex, bool, bytes, None, lists, NumPy scalars and arrays."""


@dataclass(frozen=True, slots=True)
class DescribedLink:
    """A soft link; `path` as it stands in the new file: its root is the described group."""

    name: str
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class DescribedDataset:
    """An array: a run, or a literal where its `values` are given.

    Where the dtype is `<U…` they must be: they become UTF-8 of variable length, in the structure.
    """

    name: str
    address: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    attributes: Attributes = field(default_factory=dict)
    values: npt.NDArray[Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DescribedGroup:
    """A group, its members in their order.  The root of a description has any name."""

    name: str
    members: "tuple[DescribedGroup | DescribedDataset | DescribedLink, ...]" = ()
    attributes: Attributes = field(default_factory=dict)
