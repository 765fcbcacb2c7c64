"""The texts of small arrays of strings, which come with the listing of their group.

So a directory can show `title.txt` beside `title.npy` with its exact size.  Included are small
arrays of strings that are stored in the file as they are, and those of variable length, which a
listing has to read for their width.  Others (larger arrays, and compressed ones of fixed length,
whose damage should not break the listing of their group) have a view `x.txt` that is made when it
is opened by its name.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Protocol, TypeGuard

import numpy as np

from esrffs.encoders import text
from esrffs.errors import EsrffsError
from esrffs.model import (
    Box,
    ContiguousLayout,
    DatasetInfo,
    GroupListing,
    JsonText,
    Member,
    Reader,
)

MAX_NBYTES = 64 << 10  # of a text that is listed


class _HasStored(Protocol):
    """A reader of files whose arrays are stored in one run."""

    def stored(self, runs: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes in these runs of the file: offsets and lengths; fewer where it ends before."""


def with_texts(reader: Reader, listing: GroupListing) -> GroupListing:
    """The listing with `DatasetInfo.text` of its small arrays of strings (at most 64 KiB each).

    An array that cannot be read keeps `text=None`: opening it tells why.
    """
    small = [member for member in listing.members if _is_small(member)]
    if not small:
        return listing
    texts: dict[str, JsonText] = {}
    stored = _stored(reader, small)
    for info in small:
        try:
            content = text.lines(_elements(reader, info, stored.get(info.address)))
        except EsrffsError:
            continue
        if len(content) <= MAX_NBYTES:
            texts[info.address] = JsonText.of(content)
    members = tuple(_with_text(member, texts) for member in listing.members)
    return replace(listing, members=members)


def _is_small(member: Member) -> TypeGuard[DatasetInfo]:
    """Whether the text has at most 64 KiB.  A character of NumPy's own text takes four bytes."""
    if not isinstance(member, DatasetInfo) or member.dtype.kind not in "SU":
        return False
    if member.text is not None or member.dependencies:
        return False
    if member.dtype.kind == "S" and not isinstance(member.layout, ContiguousLayout):
        return False
    wide = 4 if member.dtype.kind == "U" else 1
    return prod(member.shape) * (member.dtype.itemsize + wide) <= wide * MAX_NBYTES


def _with_text(member: Member, texts: dict[str, JsonText]) -> Member:
    if isinstance(member, DatasetInfo) and member.address in texts:
        return replace(member, text=texts[member.address])
    return member


def _stored(reader: Reader, small: Sequence[DatasetInfo]) -> dict[str, bytes]:
    """By address, the bytes of the arrays that lie in one run; all are fetched together."""
    runs = {
        info.address: (info.layout.offset, prod(info.shape) * info.dtype.itemsize)
        for info in small
        if isinstance(info.layout, ContiguousLayout) and info.dtype.itemsize
    }
    if not runs or not _has_stored(reader):
        return {}
    try:
        return dict(zip(runs, reader.stored(list(runs.values())), strict=True))
    except EsrffsError:
        return {}


def _has_stored(reader: object) -> TypeGuard[_HasStored]:
    return hasattr(reader, "stored")


def _elements(reader: Reader, info: DatasetInfo, stored: bytes | None) -> np.ndarray:
    if stored is not None and len(stored) == prod(info.shape) * info.dtype.itemsize:
        return np.frombuffer(stored, info.dtype)
    return reader.read(info.address, Box((0,) * len(info.shape), info.shape))
