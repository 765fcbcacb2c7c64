"""TIFF against tifffile, and against what was written: types, compressions, layouts, pages."""

import bz2
import gzip
import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from silx.io import fabioh5

from esrffs.formats.images.reader import ImageFileReader
from esrffs.formats.images.series import ImageSeriesReader
from esrffs.formats.images.tiff_directories import UnpackedFile
from esrffs.model import FramesLayout, OpaqueLayout
from tests.support.image_files import data, in_order, open_image, opened, values
from tests.support.reader_contract import ReaderContract, datasets
from tests.support.silx_trees import assert_same_tree
from tests.support.tiff_files import (
    DTYPES,
    LAYOUTS,
    X,
    Y,
    assert_served,
    by_hand,
    end,
    interpretation,
    numbers,
    samples_last,
    write,
)

__all__ = ["in_order"]  # a fixture for every test here

LOSSLESS = [None, *"lzw deflate packbits zstd lzma".split()]
OTHERS = "jpeg jpeg2000 webp png jpegxl jpegxr lerc".split()


class TestContract(ReaderContract):
    @pytest.fixture(params=["tiles", "plane tiles", "strips", "volume"])
    def reader(self, request: pytest.FixtureRequest, tmp_path: Path) -> ImageFileReader:
        layout = request.param
        path = tmp_path / "a.tif"
        if layout == "volume":
            array = numbers("u2", (4, Y, X))
            how = {"photometric": "minisblack", "compression": "lzw"}
            tifffile.imwrite(path, array, volumetric=True, tile=(2, 16, 16), **how)
        else:
            shape = (3, Y, X) if layout.startswith("plane") else (Y, X)
            write(path, numbers("u2", (3, *shape)), compression="lzw", **LAYOUTS[layout])
        return open_image(str(path), None)


@pytest.mark.parametrize("compression", [*LOSSLESS, *OTHERS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_in_either_order(layout: str, compression: str | None, tmp_path: Path) -> None:
    """Whatever tifffile writes: numbers are what it reads, and what was written."""
    written = 0
    dtypes = DTYPES if compression in LOSSLESS else ("u1", "u2", "i2", "f4")
    for dtype, order, predictor in itertools.product(dtypes, "<>", (False, True)):
        if predictor and compression in (None, *OTHERS):
            continue
        shape = {"c": (Y, X, 3), "p": (3, Y, X)}.get(layout[0], (Y, X))
        pages = numbers(dtype, (3 if order == "<" else 1, *shape))
        how = {**LAYOUTS[layout], "compression": compression}
        try:
            path = write(
                tmp_path / "a.tif", pages, bigtiff=dtype[0] == "u", order=order,
                predictor=predictor or None, **how,
            )  # fmt: skip
            oracle = samples_last(tifffile.imread(path), layout)
        except (ValueError, KeyError, NotImplementedError, RuntimeError):
            continue  # no such file
        written += 1
        reader = assert_served(path, oracle)
        if compression in LOSSLESS and (dtype, layout) != ("?", "colour"):
            expected = samples_last(pages, layout)
            np.testing.assert_array_equal(oracle, expected if order == "<" else expected[0])
        swapped_complex = order == ">" and dtype[0] == "c"
        if compression is None and layout in ("one", "strips", "colour") and dtype != "?":
            assert isinstance(
                data(reader).layout, OpaqueLayout if swapped_complex else FramesLayout
            )
        reader.close()
    assert written or compression in OTHERS


@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14, 20, 24])
def test_few_bits(bits: int, tmp_path: Path) -> None:
    array = numbers("u4", (3, Y, X)) >> (32 - bits)
    array = array.astype("u1" if bits <= 8 else "u2" if bits <= 16 else "u4")
    how = {"photometric": "minisblack", "bitspersample": bits}
    assert_served(write(tmp_path / "a.tif", array, **how), array)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits"])
def test_one_bit_as_fax_machines_pack_it(compression: str, tmp_path: Path) -> None:
    bits = np.random.default_rng(2).random((Y, X)) > 0.5
    Image.fromarray(bits).save(tmp_path / "a.tif", compression=compression)
    assert_served(tmp_path / "a.tif", bits)


def test_bits_that_are_stored_the_other_way_round(tmp_path: Path) -> None:
    array = numbers("u1", (Y, X))
    path = write(tmp_path / "a.tif", [array], photometric="minisblack", rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        compression = file.pages.first.tags[262]
        start = compression.offset
    raw = bytearray(path.read_bytes())
    raw[start : start + 12] = b"\x0a\x01\x03\0\x01\0\0\0\x02\0\0\0"  # FillOrder 2, no photometric
    path.write_bytes(raw)
    expected = np.packbits(np.unpackbits(array).reshape(-1, 8)[:, ::-1]).reshape(Y, X)
    reader = assert_served(path, expected)
    assert isinstance(data(reader).layout, OpaqueLayout)


@pytest.mark.parametrize("compression", LOSSLESS)
def test_values_are_as_stored(compression: str | None, tmp_path: Path) -> None:
    array = numbers("u1", (3, Y, X))
    how = {"compression": compression}
    assert_served(write(tmp_path / "a.tif", array, photometric="miniswhite", **how), array)
    colours = numbers("u2", (3, 256))
    how |= {"photometric": "palette", "colormap": colours}
    reader = assert_served(write(tmp_path / "b.tif", array, **how), array)
    assert interpretation(reader) == "image"


FORMS: dict[str, dict[str, Any]] = {
    "imagej": {"imagej": True},
    "imagej packed": {"imagej": True, "compression": "zlib"},
    "ome": {"ome": True, "photometric": "minisblack"},
    "shaped": {"photometric": "minisblack"},
    "shaped tiles": {"photometric": "minisblack", "tile": (16, 16)},
    "truncated": {"photometric": "minisblack", "truncate": True},
    "volume": {"photometric": "minisblack", "volumetric": True},
    "volume tiles": {"photometric": "minisblack", "volumetric": True, "tile": (4, 16, 16)},
    "volume strips": {
        "photometric": "minisblack", "volumetric": True, "compression": "lzw", "rowsperstrip": 7,
    },
}  # fmt: skip


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("form", FORMS)
def test_files_that_describe_more_than_pages(form: str, order: str, tmp_path: Path) -> None:
    array = numbers("u2", (2, 3, 4, Y, X))
    tifffile.imwrite(tmp_path / "a.tif", array, byteorder=order, **FORMS[form])
    assert_served(tmp_path / "a.tif", array.reshape(24, Y, X))


@pytest.mark.parametrize(
    "how", [{"imagej": True}, {"truncate": True}, {"truncate": True, "planarconfig": "separate"}]
)
def test_colour_that_one_directory_describes(how: dict[str, Any], tmp_path: Path) -> None:
    array = numbers("u1", (5, Y, X, 3))
    stored = np.moveaxis(array, -1, 1) if "planarconfig" in how else array
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **how)
    assert_served(tmp_path / "a.tif", array)


@pytest.mark.parametrize("text", ["images=3\nframes=3\n", "images=3\nslices=3\n", "images=3\n"])
def test_imagej_beyond_4_gb(text: str, tmp_path: Path) -> None:
    """Then ImageJ describes the first image only, and appends the others."""
    array = numbers("u2", (3, Y, X)).astype(">u2")
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, array[0], byteorder=">", photometric="minisblack", metadata=None,
        description="ImageJ=1.53c\n" + text, software="",
    )  # fmt: skip
    with path.open("ab") as file:
        file.write(array[1:].tobytes())
    assert_served(path, array.astype("u2"))
    path.write_bytes(path.read_bytes()[:-1])  # cut: fewer are not shown as if they were all
    reader = open_image(str(path), None)
    np.testing.assert_array_equal(values(reader), array[:2])
    assert "frame 2" in end(reader)


def test_metamorph_describes_the_first_plane(tmp_path: Path) -> None:
    array = numbers("u2", (3, Y, X))
    strips = [20 * 2 * X, 20 * 2 * X, 5 * 2 * X]
    starts = [1000, 1000 + strips[0], 1000 + 2 * strips[0]]
    tags = [
        *((256, 4, 1, X), (257, 4, 1, Y), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((273, 4, 3, 400), (277, 3, 1, 1), (278, 4, 1, 20), (279, 4, 3, 412)),
        *((33628, 4, 1, 440), (33629, 5, 3, 500)),
    ]
    raw = by_hand(tags).ljust(400, b"\0") + struct.pack("<6I", *starts, *strips)
    raw = raw.ljust(500, b"\0") + struct.pack("<18I", *[1, 1, 2451545, 0, 2451545, 0] * 3)
    (tmp_path / "a.stk.tif").write_bytes(raw.ljust(1000, b"\0") + array.tobytes())
    assert_served(tmp_path / "a.stk.tif", array)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_files(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    suffix = "gz" if pack is gzip.compress else "bz2"
    for compression in (None, "lzw"):
        array = numbers("u2", (3, Y, X))
        plain = write(tmp_path / "a.tif", array, **LAYOUTS["strips"], compression=compression)
        packed = tmp_path / f"a.tif.{suffix}"
        packed.write_bytes(pack(plain.read_bytes()))
        reader = assert_served(packed, array)
        assert isinstance(data(reader).layout, OpaqueLayout)


def test_a_packed_file_larger_than_what_is_kept_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "esrffs.formats.images.tiff_directories"
    monkeypatch.setattr(f"{module}._WINDOW", 1000)
    monkeypatch.setattr(f"{module}._STEP", 300)
    content = numbers("u1", (20_000,)).tobytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    file = opened(UnpackedFile(str(tmp_path / "a.gz")))
    assert file.size == len(content)

    @settings(max_examples=50, suppress_health_check=list(HealthCheck), database=None)
    @given(st.integers(0, 21_000), st.integers(0, 3000))
    def check(offset: int, count: int) -> None:
        assert file.pread(offset, count) == content[offset : offset + count]
        assert len(file._window) < 5000

    check()


# Colour


@pytest.mark.parametrize("samples", [2, 3, 4, 7])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_samples_are_the_last_axis(samples: int, planes: bool, count: int, tmp_path: Path) -> None:
    array = numbers("u2", (count, Y, X, samples))
    stored = np.moveaxis(array, -1, 1) if planes else array
    how = {"planarconfig": "separate" if planes else "contig", "photometric": "minisblack"}
    reader = assert_served(
        write(tmp_path / "a.tif", stored, **how), array if count > 1 else array[0]
    )
    assert interpretation(reader) == "rgba-image"
    shown = json.loads(reader.attributes("/scan_0/image"))
    assert shown["interpretation"] == "rgba-image"


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_photograph(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(numbers("u1", (Y, X, 3))).convert(mode).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image)
    reader = assert_served(path, expected)
    assert interpretation(reader) == ("image" if mode == "L" else "rgba-image")


def test_colour_is_in_a_series_with_its_like(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        samples = 3 if number < 3 else 4
        path = tmp_path / f"a{number}.tif"
        write(path, [numbers("u1", (Y, X, samples)) + number], photometric="rgb")
        paths.append(str(path))
    reader = opened(ImageSeriesReader(paths))
    expected = [numbers("u1", (Y, X, 3)) + number for number in range(3)]
    np.testing.assert_array_equal(values(reader), expected)
    assert interpretation(reader) == "rgba-image"
    assert "a3.tif" in end(reader)
    layout = data(reader).layout
    assert isinstance(layout, FramesLayout)
    assert layout.files == tuple(paths[:3])


def test_a_series_of_packed_files(tmp_path: Path) -> None:
    pages = numbers("i2", (3, Y, X))
    for number, page in enumerate(pages):
        write(tmp_path / f"a{number}.tif", [page], **LAYOUTS["tiles"], compression="lzw")
    reader = opened(ImageSeriesReader([str(tmp_path / f"a{n}.tif") for n in range(3)]))
    np.testing.assert_array_equal(values(reader), pages)


# Headers


def test_a_pilatus_header_is_as_silx_has_it(tmp_path: Path) -> None:
    text = "# Pixel_size 172e-6 m x 172e-6 m\r\n# Exposure_time 90.0 s\r\n# Tau = 0 s\r\n"
    path = tmp_path / "a.tif"
    array = numbers("i4", (Y, X))
    tags = [
        *((256, 4, 1, X), (257, 4, 1, Y), (258, 3, 1, 32), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((270, 2, len(text) + 1, 1024), (273, 4, 1, 4096), (277, 3, 1, 1), (278, 4, 1, Y)),
        *((279, 4, 1, array.nbytes), (339, 3, 1, 2)),
    ]
    raw = by_hand(tags, at=0x82).ljust(1024, b"\0") + text.encode()
    path.write_bytes(raw.ljust(4096, b"\0") + array.tobytes())
    with fabio.open(str(path)) as theirs:
        assert type(theirs).__name__ == "PilatusImage"
        reader = assert_served(path, array)
        assert_same_tree(reader, "", fabioh5.File(fabio_image=theirs))
    assert "Exposure_time" in {info.name for info in datasets(reader)}


@pytest.mark.parametrize("software", [None, "PyMca 5"])
def test_headers_are_as_silx_has_them(software: str | None, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", numbers("u2", (1, Y, X)), software=software, datetime=True,
        description="key=value\nother=2\n", **LAYOUTS["one"],
    )  # fmt: skip
    with fabio.open(str(path)) as theirs:
        assert_same_tree(open_image(str(path), None), "", fabioh5.File(fabio_image=theirs))


def test_a_tiled_page_has_the_same_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers("u2", (1, Y, X)), **LAYOUTS["tiles"])
    names = {info.name for info in datasets(open_image(str(path), None))}
    assert {"nRows", "nColumns", "nBits", "tileWidth", "tileLength", "tileOffsets"} <= names
