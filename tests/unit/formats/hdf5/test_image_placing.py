"""The addresses that are put into the structure of an HDF5 view, held against libhdf5's own."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from esrffs.errors import UnsupportedError
from esrffs.formats.hdf5.image import ALIGNMENT
from esrffs.formats.hdf5.image_placing import checksum, place_data


@pytest.mark.parametrize(
    ("text", "value"),
    [  # lookup3.c, driver5: hashlittle of these with initval 0
        (b"", 0xDEADBEEF),
        (b"Four score and seven years ago", 0x17770551),
    ],
)
def test_checksum_is_that_of_its_author(text: bytes, value: int) -> None:
    assert checksum(text) == value


@pytest.mark.parametrize("libver", ["v110", "latest"])
def test_checksum_is_that_of_the_superblock(libver: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver=libver):
        pass
    content = (tmp_path / "x.h5").read_bytes()
    assert checksum(content[:44]) == struct.unpack_from("<I", content, 44)[0]


def written(path: Path, count: int, attributes: int, low: str) -> list[tuple[int, int]]:
    """Datasets without data: the addresses of their headers, and how many bytes they need."""
    headers = []
    with h5py.File(path, "w", libver=(low, "latest")) as file:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_alloc_time(h5d.ALLOC_TIME_LATE)
        plist.set_fill_time(h5d.FILL_TIME_NEVER)
        for number in range(count):
            space = h5s.create_simple((number + 1, 3))
            made = h5d.create(file.id, b"%d" % number, h5t.IEEE_F64LE, space, plist)
            headers.append((h5py.h5o.get_info(made).addr, (number + 1) * 24))
        for index in range(attributes):  # which go to continuations of the headers
            for number in range(count):
                file[f"{number}"].attrs[f"attribute {index}"] = "x" * index
    return headers


@pytest.mark.parametrize("low", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize("attributes", [0, 1, 7, 30])
def test_libhdf5_finds_the_data_where_they_were_placed(
    low: str, attributes: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    datasets = written(path, 5, attributes, low)
    content = bytearray(path.read_bytes())
    placed, end = place_data(content, datasets)
    offsets = [one.offset for one in placed]
    assert {one.content for one in placed} == {None}
    with path.open("wb") as file:
        file.write(content)
        for number, offset in enumerate(offsets):
            file.seek(offset)
            file.write(np.full(3 * (number + 1), number, "<f8").tobytes())
    assert path.stat().st_size == end
    with h5py.File(path) as shown:
        assert [shown[f"{number}"].id.get_offset() for number in range(5)] == offsets
        assert all(offset % ALIGNMENT == 0 for offset in offsets)
        for number in range(5):
            assert (shown[f"{number}"][()] == number).all()
            assert len(shown[f"{number}"].attrs) == attributes


def test_a_header_that_is_not_as_expected_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    (header, nbytes), *_ = written(path, 1, 0, "earliest")
    content = bytearray(path.read_bytes())
    with pytest.raises(UnsupportedError):
        place_data(bytearray(content), [(header, nbytes + 8)])
    with pytest.raises(UnsupportedError):
        place_data(content[:8] + b"\7" + content[9:], [(header, nbytes)])


def test_what_was_written_already_is_moved(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = ["one", "two"]
        header = h5py.h5o.get_info(file["x"].id).addr
    content = bytearray(path.read_bytes())
    ((offset, moved),), end = place_data(content, [(header, 32)])
    assert moved is not None
    assert end == offset + 32
    path.write_bytes(bytes(content).ljust(offset, b"\0") + moved)
    with h5py.File(path) as file:
        assert file["x"].asstr()[()].tolist() == ["one", "two"]
        assert file["x"].id.get_offset() == offset
