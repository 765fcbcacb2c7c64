"""TIFF files of all layouts, and how a reader serves them."""

import json
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from esrffs.formats.images.reader import ImageFileReader
from esrffs.model import FramesLayout
from tests.support.image_files import data, open_image, values, verbatim

Y, X = 45, 61


DTYPES = "? u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 c8 c16".split()


LAYOUTS: dict[str, dict[str, Any]] = {
    "one": {"photometric": "minisblack"},
    "strips": {"photometric": "minisblack", "rowsperstrip": 8},
    "tiles": {"photometric": "minisblack", "tile": (16, 32)},
    "colour": {"photometric": "rgb"},
    "planes": {"photometric": "rgb", "planarconfig": "separate"},
    "plane tiles": {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 32)},
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def numbers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Any bits that a number of this type may have."""
    kind = np.dtype(dtype)
    random = np.random.default_rng(1)
    if kind.kind == "b":
        return random.integers(0, 2, shape).astype(kind)
    if kind.kind in "fc":
        return (random.normal(size=shape) * (1 + 2j if kind.kind == "c" else 1)).astype(kind)
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, shape, kind, endpoint=True)


def by_hand(tags: Sequence[tuple[int, int, int, int]], at: int = 8, following: int = 0) -> bytes:
    """The beginning of a little-endian TIFF: one directory, whose values are as they are given."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHI", b"II", 42, at).ljust(at, b"\0")
    return head + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def write(path: Path, pages: Any, *, bigtiff: bool = False, order: str = "<", **how: Any) -> Path:
    """Pages that are described one by one."""
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=order) as file:
        for page in pages:
            file.write(page, metadata=None, **how)
    return path


def samples_last(array: np.ndarray, layout: str) -> np.ndarray:
    return np.moveaxis(array, -3, -1) if layout.startswith("plane") else array


def end(reader: ImageFileReader) -> str:
    return str(json.loads(reader.attributes("")).get("end", ""))


def interpretation(reader: ImageFileReader) -> str:
    return str(json.loads(reader.attributes(data(reader).address))["interpretation"])


def assert_served(path: Path, expected: np.ndarray) -> ImageFileReader:
    reader = open_image(str(path), None)
    info = data(reader)
    found = values(reader)
    assert (info.shape, info.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)
    if isinstance(info.layout, FramesLayout):
        np.testing.assert_array_equal(verbatim(path, info), expected)
    assert end(reader) == ""
    return reader
