"""CBF by hand: every type of element, packed and not; what cannot be read says why."""

import base64
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.cbf import cbf_header
from esrffs.formats.images.reader import ImageFileReader
from esrffs.formats.images.series import ImageSeriesReader
from esrffs.model import Box, DatasetInfo, Reader
from tests.support.image_files import in_order, opened

__all__ = ["in_order"]  # a fixture for every test here

TYPES = {
    **{f"i{width}": f"signed {8 * width}-bit integer" for width in (1, 2, 4, 8)},
    **{f"u{width}": f"unsigned {8 * width}-bit integer" for width in (1, 2, 4, 8)},
    "f4": "signed 32-bit real IEEE", "f8": "signed 64-bit real IEEE",
    "c8": "signed 32-bit complex IEEE", "c16": "signed 64-bit complex IEEE",
}  # fmt: skip
SECTION = "--CIF-BINARY-FORMAT-SECTION--"


def pixels(dtype: str, shape: tuple[int, ...] = (6, 8)) -> npt.NDArray[np.generic]:
    """With the least and the largest value among them."""
    values = np.random.default_rng(0).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.frombuffer(values, dtype).copy()
    if array.dtype.kind in "fc":
        return np.arange(array.size).astype(dtype).reshape(shape) / 7
    array[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    array[2:30] = array[2:30] % 100
    return array.reshape(shape)


def byte_offset(array: npt.NDArray[np.generic]) -> bytes:
    """As in the paper: differences of one byte, or longer ones after an escape."""
    packed, last = b"", 0
    for value in array.ravel().tolist():
        step, last = (value - last + (1 << 63)) % (1 << 64) - (1 << 63), value
        if -128 < step < 128:
            packed += struct.pack("<b", step)
        elif -32768 < step < 32768:
            packed += struct.pack("<bh", -128, step)
        elif -(1 << 31) < step < 1 << 31:
            packed += struct.pack("<bhi", -128, -32768, step)
        else:
            packed += struct.pack("<bhiq", -128, -32768, -(1 << 31), step)
    return packed


def cbf(
    path: Path,
    data: bytes,
    *,
    packing: str = "",
    header: str = "",
    rest: bytes = b"",
    **keys: object,
) -> Path:
    lines = {
        "Content-Transfer-Encoding": "BINARY",
        "X-Binary-Size": len(data),
        "X-Binary-ID": 1,
        "X-Binary-Element-Type": '"signed 32-bit integer"',
        "X-Binary-Element-Byte-Order": "LITTLE_ENDIAN",
        "X-Binary-Size-Fastest-Dimension": 8,
        "X-Binary-Size-Second-Dimension": 6,
        **{key.replace("_", "-"): value for key, value in keys.items()},
    }
    conversions = f';\r\n     conversions="{packing}"' if packing else ""
    text = "###CBF: VERSION 1.5\r\n\r\ndata_x\r\n\r\n"
    text += '_array_data.header_convention "PILATUS_1.2"\r\n_array_data.header_contents\r\n;\r\n'
    text += f"# Detector: PILATUS 1M\r\n{header}# Exposure_time 0.1 s\r\n;\r\n\r\n"
    text += f"_array_data.data\r\n;\r\n{SECTION}\r\n"
    text += f"Content-Type: application/octet-stream{conversions}\r\n"
    text += "".join(f"{key}: {value}\r\n" for key, value in lines.items() if value is not None)
    end = f"\r\n{SECTION}--\r\n;\r\n".encode()
    path.write_bytes(text.encode() + b"\r\n\x0c\x1a\x04\xd5" + data + end + rest)
    return path


def read(reader: Reader) -> npt.NDArray[np.generic]:
    info = reader.find("scan_0/image/data")
    assert isinstance(info, DatasetInfo)
    array = reader.read(info.address, Box((0,) * len(info.shape), info.shape))
    assert (array.shape, array.dtype) == (info.shape, info.dtype)
    return array


def values(path: Path) -> npt.NDArray[np.generic]:
    return read(opened(ImageFileReader(str(path), None)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_not_packed(dtype: str, order: str, tmp_path: Path) -> None:
    array = pixels(dtype)
    path = cbf(
        tmp_path / "a.cbf", array.astype(f"{order}{dtype}").tobytes(),
        X_Binary_Element_Type=f'"{TYPES[dtype]}"',
        X_Binary_Element_Byte_Order="LITTLE_ENDIAN" if order == "<" else "BIG_ENDIAN",
    )  # fmt: skip
    found = values(path)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("dtype", [dtype for dtype in TYPES if dtype[0] in "iu"])
@pytest.mark.parametrize("packing", ["x-CBF_BYTE_OFFSET", "X-CBF_byte_offset"])
def test_byte_offset(dtype: str, packing: str, tmp_path: Path) -> None:
    array = pixels(dtype)
    path = cbf(
        tmp_path / "a.cbf", byte_offset(array), packing=packing,
        X_Binary_Element_Type=f'"{TYPES[dtype]}"',
    )  # fmt: skip
    found = values(path)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, array)


def test_remarks_cost_nothing(tmp_path: Path) -> None:
    array = pixels("i4")
    path = cbf(
        tmp_path / "a.cbf", byte_offset(array), packing="x-CBF_BYTE_OFFSET",
        header="# Image_path: /a/long\r\n/path\r\n# \r\n#\r\nx\r\n",
    )  # fmt: skip
    reader = opened(ImageFileReader(str(path), None))
    np.testing.assert_array_equal(read(reader), array)
    names = {
        member.name for member in reader.listing("/scan_0/instrument/detector_0/others").members
    }
    assert "_array_data.header_convention" in names


def test_three_dimensions_and_more_images(tmp_path: Path) -> None:
    array = pixels("i4", (3, 6, 8))
    path = cbf(tmp_path / "a.cbf", array.tobytes(), X_Binary_Size_Third_Dimension=3)
    np.testing.assert_array_equal(values(path), array)
    more = cbf(tmp_path / "c.cbf", array[1].tobytes()).read_bytes()
    path = cbf(tmp_path / "b.cbf", array[0].tobytes(), rest=more[more.index(b"_array_data.data") :])
    reader = opened(ImageFileReader(str(path), None))
    np.testing.assert_array_equal(read(reader), array[0])
    assert "another image" in json.loads(reader.attributes(""))["end"]


def test_checksums(tmp_path: Path) -> None:
    data = pixels("i4").tobytes()
    right = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    np.testing.assert_array_equal(
        values(cbf(tmp_path / "a.cbf", data, Content_MD5=right)), pixels("i4")
    )
    with pytest.raises(DamagedError, match="Checksum"):
        values(cbf(tmp_path / "a.cbf", data[::-1], Content_MD5=right))


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"packing": "x-CBF_PACKED"}, "packed as X-CBF_PACKED"),
        ({"packing": "x-CBF_CANONICAL"}, "packed as X-CBF_CANONICAL"),
        ({"Content_Transfer_Encoding": "BASE64"}, "written as BASE64"),
        (
            {"X_Binary_Element_Type": '"signed 1-bit integer"'},
            "element type 'signed 1-bit integer'",
        ),
        ({"X_Binary_Element_Type": '"signed 64-bit integer"'}, "192 bytes of data, where"),
        ({"X_Binary_Size_Fastest_Dimension": None}, "size of the image"),
        ({"X_Binary_Size_Fastest_Dimension": -1}, "not a number"),
        ({"X_Binary_Size_Fastest_Dimension": 0}, "not the shape"),
        ({"X_Binary_Size_Second_Dimension": 10**9}, "192 bytes of data, where"),
        ({"X_Binary_Size": 10**9}, "ends before"),
        ({"packing": "x-CBF_BYTE_OFFSET", "X_Binary_Size_Second_Dimension": 10**9}, "too few"),
    ],
)
def test_what_cannot_be_read_says_why(keys: dict[str, object], text: str, tmp_path: Path) -> None:
    path = cbf(tmp_path / "a.cbf", pixels("i4").tobytes(), **keys)  # type: ignore[arg-type]
    with pytest.raises((DamagedError, UnsupportedError), match=text):
        values(path)


def test_too_few_pixels_are_not_filled_up(tmp_path: Path) -> None:
    data = byte_offset(pixels("i4")[:5]) + b"\x80" * 2
    with pytest.raises(EsrffsError):
        values(cbf(tmp_path / "a.cbf", data, packing="x-CBF_BYTE_OFFSET"))


def test_a_series_of_both_kinds_ends(tmp_path: Path) -> None:
    array = pixels("i4")
    paths = [str(cbf(tmp_path / f"a{n}.cbf", (array + n).tobytes())) for n in range(3)]
    np.testing.assert_array_equal(
        read(opened(ImageSeriesReader(paths))), [array + n for n in range(3)]
    )
    assert cbf_header(paths[0])[0] == cbf_header(paths[1])[0]
    cbf(
        Path(paths[2]),
        array.astype("<i2").tobytes(),
        X_Binary_Element_Type='"signed 16-bit integer"',
    )
    reader = opened(ImageSeriesReader(paths))
    assert len(read(reader)) == 2
    assert "dtype" in json.loads(reader.attributes(""))["end"]
