"""The texts of small arrays of strings, told with the listing of their group.

Decided here: which arrays these are, so that a directory can show `title.txt` beside `title.npy`
with its exact size.  They are those that lie in the file as they are, and those of variable length,
which a listing has to read for their width.  Others (larger ones, and packed ones of fixed length,
whose damage should not be met by who lists the group) are found by name, and are made then.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod

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


def with_texts(reader: Reader, path: str, listing: GroupListing) -> GroupListing:
    """The same listing, its small texts told; `path`: of the file, as the reader opened it."""
    if not any(map(_is_small, listing.members)):
        return listing
    try:
        with _opened(path) as descriptor:
            members = tuple(_told(reader, descriptor, member) for member in listing.members)
    except OSError:
        return listing  # who opens the arrays hears why
    return replace(listing, members=members)


def _is_small(member: Member) -> bool:
    """Might this be a text of at most 64 KiB?  A character of numpy's own text takes four bytes."""
    if not isinstance(member, DatasetInfo) or member.dtype.kind not in "SU":
        return False
    if member.text is not None or member.dependencies:
        return False
    if member.dtype.kind == "S" and not isinstance(member.layout, ContiguousLayout):
        return False
    wide = 4 if member.dtype.kind == "U" else 1
    return prod(member.shape) * (member.dtype.itemsize + wide) <= wide * MAX_NBYTES


def _told(reader: Reader, descriptor: int, member: Member) -> Member:
    if not _is_small(member) or not isinstance(member, DatasetInfo):
        return member
    try:
        content = text.lines(_elements(reader, descriptor, member))
    except EsrffsError:
        return member
    if len(content) > MAX_NBYTES:
        return member
    return replace(member, text=JsonText.of(content))


def _elements(reader: Reader, descriptor: int, info: DatasetInfo) -> np.ndarray:
    if isinstance(info.layout, ContiguousLayout) and info.dtype.itemsize:
        count = prod(info.shape)
        stored = os.pread(descriptor, count * info.dtype.itemsize, info.layout.offset)
        if len(stored) == count * info.dtype.itemsize:
            return np.frombuffer(stored, info.dtype)
    return reader.read(info.address, Box((0,) * len(info.shape), info.shape))


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
