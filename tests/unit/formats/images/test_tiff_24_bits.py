"""TIFFs of integers of 24 bits, written by hand: no library here writes them."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from esrffs.errors import UnsupportedError
from tests.support.image_files import in_order, open_image, values
from tests.support.tiff_files import assert_served

__all__ = ["in_order"]  # a fixture for every test here

TRIPLES: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    # (pages, planes, rows, columns, samples), and the strips or tiles
    "one strip": ((1, 1, 7, 11, 1), {"rows": 7}),
    "strips": ((1, 1, 7, 10, 1), {"rows": 3}),
    "tiles": ((1, 1, 40, 37, 1), {"tile": 16}),
    "colours": ((1, 1, 7, 11, 3), {"rows": 2}),
    "planes": ((1, 3, 7, 11, 1), {"rows": 4}),
    "pages": ((3, 1, 7, 11, 1), {"rows": 3}),
}


def tiff_of_triples(
    pages: np.ndarray, order: str, grain: dict[str, int], packed: bool, **tags: int
) -> bytes:
    """A TIFF of integers of 24 bits, which no library writes."""
    content = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for page in pages:
        planes, length, width, samples = page.shape
        long, wide = (grain["tile"],) * 2 if "tile" in grain else (grain["rows"], width)
        segments = []
        for plane in page:
            for top in range(0, length, long):
                for left in range(0, width, wide):
                    part = plane[top : top + long, left : left + wide]
                    if "tile" in grain:
                        padded = np.zeros((long, wide, samples), "u4")
                        padded[: part.shape[0], : part.shape[1]] = part
                        part = padded
                    triples = part.astype(f"{order}u4").reshape(-1, 1).view("u1")
                    raw = (triples[:, :3] if order == "<" else triples[:, 1:]).tobytes()
                    segments.append(zlib.compress(raw) if packed else raw)
        starts = []
        for segment in segments:
            starts.append(len(content))
            content += segment + bytes(len(segment) % 2)
        places = {"tile": (322, 323, 324, 325)}.get(next(iter(grain)), (278, None, 273, 279))
        values = {
            256: [width],
            257: [length],
            258: [24] * (samples * planes),
            259: [8 if packed else 1],
            262: [2 if samples * planes == 3 else 1],
            277: [samples * planes],
            284: [2 if planes > 1 else 1],
            339: [1] * (samples * planes),
            places[0]: [wide if "tile" in grain else long],
            places[2]: starts,
            places[3]: [len(segment) for segment in segments],
            **({323: [long]} if "tile" in grain else {}),
            **{int(tag): [value] for tag, value in tags.items()},
        }
        entries = b""
        for tag, numbers_ in sorted(values.items()):
            field = struct.pack(f"{order}{len(numbers_)}I", *numbers_)
            if len(field) > 4:
                at = len(content)
                content += field
                field = struct.pack(f"{order}I", at)
            entries += struct.pack(f"{order}HHI", tag, 4, len(numbers_)) + field
        content[link : link + 4] = struct.pack(f"{order}I", len(content))
        content += struct.pack(f"{order}H", len(values)) + entries + bytes(4)
        link = len(content) - 4
    return bytes(content)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", TRIPLES)
def test_integers_of_24_bits(kind: str, packed: bool, order: str, tmp_path: Path) -> None:
    """libtiff takes the bytes of each for a number in the byte order of the file."""
    shape, grain = TRIPLES[kind]
    pages = np.random.default_rng(5).integers(0, 1 << 24, shape, "u4")
    pages[0, 0, 0, :2, 0] = 0x010203, 0xFFFFFF
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of_triples(pages, order, grain, packed))
    if kind == "planes":
        expected = np.moveaxis(pages[..., 0], 1, -1)
    else:
        expected = pages[:, 0] if kind == "colours" else pages[:, 0, ..., 0]
    assert_served(path, expected[0] if len(expected) == 1 else expected)


def test_integers_of_24_bits_that_are_not_unpacked(tmp_path: Path) -> None:
    pages = np.arange(77, dtype="u4").reshape(1, 1, 7, 11, 1)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of_triples(pages, "<", {"rows": 7}, True, **{"317": 2}))
    with pytest.raises(UnsupportedError, match="with predictor 2 and 24 bits per sample"):
        values(open_image(str(path), None))


@pytest.mark.parametrize("told", [{}, {"software": "x"}, {"metadata": None}])
def test_integers_of_24_bits_of_tifffile(told: dict[str, Any], tmp_path: Path) -> None:
    """It writes the high byte first, and says of its files that they are its own.

    (Of big-endian ones it writes only half the bits; it packs none.)
    """
    array = np.random.default_rng(5).integers(0, 1 << 24, (3, 7, 11), "u4")
    how: dict[str, Any] = {"photometric": "minisblack", "bitspersample": 24, "rowsperstrip": 4}
    tifffile.imwrite(tmp_path / "a.tif", array, **how, **told)
    assert_served(tmp_path / "a.tif", array)


@pytest.mark.parametrize("order", "<>")
def test_other_samples_of_24_bits(order: str, tmp_path: Path) -> None:
    """Floating point is right; of signed integers a sentence says that they are not read."""
    expected = np.array([[1.0, -1.5], [0.5, 3.0]], "f4")  # sign, 7 bits of exponent, 16 of mantissa
    bits = np.array([[0x3F0000, 0xBF8000], [0x3E0000, 0x408000]], "u4").reshape(1, 1, 2, 2, 1)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of_triples(bits, order, {"rows": 1}, True, **{"339": 3}))
    assert_served(path, expected)
    path.write_bytes(tiff_of_triples(bits, order, {"rows": 1}, False, **{"339": 2}))
    with pytest.raises(
        UnsupportedError, match=r"no number here is like its samples \(format 2, 24"
    ):
        open_image(str(path), None)
