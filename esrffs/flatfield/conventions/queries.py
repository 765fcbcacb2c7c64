"""What a convention may ask about files and groups, and the answers.

A path in a data file is the names from its root joined by "/"; "" is the root.  A path in a folder
is a name, or `file::path/in/file`.  In a data file `../file::path/in/file` (`beside`) is an object
of another HDF5 file in the same folder.  `None` answers what is not there or cannot be read.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

READ_LIMIT = 16 << 20  # bytes: above it the answer to Read and ReadFile is None

Kind = Literal["group", "dataset", "link", "image", "series", "data", "folder", "other"]


@dataclass(frozen=True, slots=True)
class MemberSummary:
    """What is at a name: in a data file a group, dataset or link; in a folder an image, a series,
    another data file, a folder, or something else.

    `shape` and `dtype` may be None until `DescribeArray` is asked.  `numbers` are those of the
    files of a series, in order; its name is `NAME_####.edf`.  `colour`: several samples for each
    pixel.
    """

    kind: Kind
    shape: tuple[int, ...] | None = None
    dtype: np.dtype[np.generic] | None = None
    numbers: tuple[int, ...] = ()
    colour: bool = False


@dataclass(frozen=True, slots=True)
class ListMembers:
    """Which members has this group?

    Answer: `Mapping[str, MemberSummary]`; links as "link" or as what they lead to.
    """

    path: str


@dataclass(frozen=True, slots=True)
class DescribeArray:
    """Which shape and dtype has this dataset (links followed) or image file?

    Answer: its `MemberSummary`.
    """

    path: str


@dataclass(frozen=True, slots=True)
class ReadValues:
    """Answer: all values of a small dataset; a string as a 0-d array of `<U`."""

    path: str


@dataclass(frozen=True, slots=True)
class ReadTextFile:
    """Answer: the bytes of a small file of the folder."""

    name: str


@dataclass(frozen=True, slots=True)
class OwnName:
    """Answer: the name of the data file or folder that is looked at, without the folders above."""


Query = ListMembers | DescribeArray | ReadValues | ReadTextFile | OwnName
T = TypeVar("T")
Queries = Generator[Query, Any, T]


def beside(name: str, path: str) -> str:
    """The path of an object in another HDF5 file of the same folder."""
    return f"../{name}::{path}"


def split_beside(path: str) -> tuple[str, str] | None:
    """The name of the other file and the path in it; None for a path in the file itself."""
    name, colons, inner = path.removeprefix("../").partition("::")
    if not path.startswith("../") or not colons or "/" in name or name in ("", ".", ".."):
        return None
    return name, inner


def answer_all(steps: Queries[T], answer: Callable[[Query], object]) -> T:
    """Drive a convention with a function that answers (tests, or a synchronous tree)."""
    try:
        question = next(steps)
        while True:
            question = steps.send(answer(question))
    except StopIteration as stop:
        result: T = stop.value
        return result
