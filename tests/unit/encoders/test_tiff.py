"""TIFF views, as tifffile and Pillow read them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from esrffs.encoders import tiff
from tests.support.encoded_files import described, file_bytes, numbers

DTYPES = ["u1", "i1", "<u2", ">u2", "<i2", ">i4", "<u4", "<u8", ">i8", "<f4", ">f4", "<f8", ">f8"]
SHAPES = [(5, 7), (1, 1), (1, 7), (3, 5, 7), (1, 5, 7), (2, 3, 5, 7), (11, 1, 1), (2, 1, 3, 4, 5)]
WIDER = {"?": "u1", "<f2": "<f4", ">f2": ">f4"}


@pytest.fixture(params=["classic", "big"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a TIFF goes; that of each kind, whatever its size."""
    if request.param == "big":
        monkeypatch.setattr(tiff, "_CLASSIC_LIMIT", 0)
    return tmp_path / "x.tif"


@pytest.mark.parametrize("dtype", [*DTYPES, *WIDER])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tifffile_gives_the_array_back(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = numbers(dtype, shape)
    assert tiff.accepts(described(array))
    image = tiff.tiff_image(described(array))
    path.write_bytes(file_bytes(image, array))
    assert path.stat().st_size == image.nbytes
    expected = array.astype(WIDER.get(dtype, dtype))
    with tifffile.TiffFile(path) as file:
        assert file.byteorder == (">" if expected.dtype.str[0] == ">" else "<")
        assert len(file.pages) == int(np.prod(shape[:-2]))
        for page, frame in zip(file.pages, expected.reshape(-1, *shape[-2:]), strict=True):
            assert np.array_equal(page.asarray(), frame)
        found = file.asarray()
    assert found.dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(found.reshape(shape), expected)
    mapped = tifffile.memmap(path, mode="r")
    assert mapped.offset % 4096 == 0
    assert np.array_equal(np.asarray(mapped).reshape(shape), expected)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 4), (2, 5, 7, 3)], ids=str)
def test_colour(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = numbers(dtype, shape)
    path.write_bytes(file_bytes(tiff.tiff_image(described(array), colour=True), array))
    assert np.array_equal(tifffile.imread(path).reshape(shape), array)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
    if dtype == "u1":
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), array.reshape(-1, *shape[-3:])[0])


def test_any_part_of_a_file(path: Path) -> None:
    array = numbers("<u2", (40, 5, 7))
    image = tiff.tiff_image(described(array))
    whole = file_bytes(image, array)
    rng = np.random.default_rng(1)
    for start, stop in np.sort(rng.integers(0, len(whole) + 20, (300, 2))):
        assert file_bytes(image, array, start=start, stop=stop) == whole[start:stop]


def test_beyond_4_gib_it_is_a_bigtiff() -> None:
    for frames, big in ((1023, False), (1025, True)):
        image = tiff.tiff_image(tiff.ArrayDescription("x", (frames, 1024, 1024), np.dtype("<f4")))
        version = int.from_bytes(file_bytes(image, stop=4)[2:], "little")
        assert version == (43 if big else 42)


@pytest.mark.parametrize("dtype", ["c8", "g", "S3", "U2", "V4", "M8[s]"])
def test_no_tiff_of_what_tiff_has_no_type_for(dtype: str) -> None:
    assert not tiff.accepts(tiff.ArrayDescription("x", (2, 3), np.dtype(dtype)))


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 0, 3)])
def test_no_tiff_of_what_is_no_image(shape: tuple[int, ...]) -> None:
    assert not tiff.accepts(tiff.ArrayDescription("x", shape, np.dtype("u2")))
