"""Formats of many frames: as many as header and file agree on, and `end` where they do not."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from esrffs.formats.images.reader import ImageFileReader
from esrffs.model import Box, DatasetInfo
from tests.support.image_files import in_order, opened

__all__ = ["in_order"]  # a fixture for every test here

STACK = np.random.default_rng(0).integers(0, 60000, (5, 476, 512)).astype("<u2")


def mrc(told: int, extended: int = 0) -> bytes:
    head = np.zeros(256, "<i4")
    head[:4] = 512, 476, told, 6
    head[23] = extended
    head[52] = np.frombuffer(b"MAP ", "<i4")[0]
    return head.tobytes() + bytes(extended) + STACK.tobytes()


def spe(told: int) -> bytes:
    head = bytearray(4100)
    head[20:29], head[172:178] = b"01Jan2020", b"120000"
    for at, number in ((42, 512), (108, 3), (656, 476)):
        head[at : at + 2] = number.to_bytes(2, "little")
    head[1446:1450] = told.to_bytes(4, "little")
    return bytes(head) + STACK.tobytes()


def pixi(_told: int) -> bytes:
    return b"".join(b"\n\xb8\x03\0" + bytes(20) + frame.tobytes() for frame in STACK)


FORMATS: dict[str, Callable[[int], bytes]] = {
    "a.mrc": mrc,
    "extended.mrc": lambda told: mrc(told, 600_000),
    "a.spe": spe,
    "a.pixi": pixi,
}


def values(path: Path) -> tuple[npt.NDArray[np.generic], str | None]:
    reader = opened(ImageFileReader(str(path), None))
    info = reader.find("scan_0/image/data")
    assert isinstance(info, DatasetInfo)
    array = reader.read(info.address, Box((0,) * len(info.shape), info.shape))
    return array.reshape(-1, 476, 512), json.loads(reader.attributes("")).get("end")


@pytest.mark.parametrize("name", FORMATS)
def test_all_frames(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMATS[name](5))
    array, end = values(tmp_path / name)
    np.testing.assert_array_equal(array, STACK)
    assert end is None


@pytest.mark.parametrize("name", ["a.mrc", "extended.mrc"])
def test_a_header_that_tells_of_fewer(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMATS[name](3))
    array, end = values(tmp_path / name)
    np.testing.assert_array_equal(array, STACK[:3])
    assert end == "after frame 2: more data than the header tells of"


@pytest.mark.parametrize("name", ["a.mrc", "extended.mrc", "a.spe"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_holds_fewer(name: str, packed: bool, tmp_path: Path) -> None:
    content = FORMATS[name](7)[: -STACK[0].nbytes - 9]
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    array, end = values(path)
    np.testing.assert_array_equal(array, STACK[:3])
    assert end == "frame 3: the file ends before its data do"


@pytest.mark.parametrize("name", FORMATS)
def test_packed_frames_are_all_there_or_told(name: str, tmp_path: Path) -> None:
    packed = gzip.compress(FORMATS[name](5), 1)
    path = tmp_path / f"{name}.gz"
    contents = [packed, packed[: len(packed) // 2]]
    for content in contents[: 1 if name == "a.pixi" else 2]:  # FabIO wants a whole one
        path.write_bytes(content)
        array, end = values(path)
        np.testing.assert_array_equal(array, STACK[: len(array)])
        assert len(array) == 5 or end is not None
