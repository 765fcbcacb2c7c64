"""What a convention may ask about files and groups, and the answers."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

READ_LIMIT = 16 << 20  # bytes: above it the answer to Read and ReadFile is None

Kind = Literal["group", "dataset", "link", "raster", "series", "data", "folder", "other"]


@dataclass(frozen=True, slots=True)
class MemberSummary:
    """What is at a name: in a data file a group, dataset or link; in a folder a raster, a series,
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


Query = ListMembers | DescribeArray | ReadValues | ReadTextFile
T = TypeVar("T")
Queries = Generator[Query, Any, T]


def answer_all(steps: Queries[T], answer: Callable[[Query], object]) -> T:
    """Drive a convention with a function that answers (tests, or a synchronous tree)."""
    try:
        question = next(steps)
        while True:
            question = steps.send(answer(question))
    except StopIteration as stop:
        result: T = stop.value
        return result
