"""Texts of small string arrays, which are sent with the listing of their group.

With them a directory can show `title.txt` beside `title.npy` with its exact size.  Included are
small arrays of strings that are stored contiguously, and arrays of strings of variable length,
which a listing reads anyway to find their width.  All others (larger ones; compressed ones of fixed
length, whose damage should not affect the listing) get a view `x.txt` only when it is opened by
name.
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

MAX_NBYTES = 64 << 10  # longer texts are not sent with a listing


class _HasStored(Protocol):
    """A reader of files whose arrays are stored contiguously."""

    def stored(self, runs: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of these pieces of the file (offset, length); fewer at the end of the file."""


def with_texts(reader: Reader, listing: GroupListing) -> GroupListing:
    """The listing with `DatasetInfo.text` for its small arrays of strings (at most 64 KiB each).

    An array that cannot be read keeps `text=None`; opening it raises the error.
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
    """Whether the text has at most 64 KiB.  A character of a NumPy string takes four bytes."""
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
    """The bytes of the arrays that are stored contiguously, by address; all are read together."""
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
