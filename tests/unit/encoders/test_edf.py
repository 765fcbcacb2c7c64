"""EDF views, as FabIO and silx read them."""

from pathlib import Path

import fabio
import numpy as np
import pytest
import silx.io

from esrffs.encoders import edf
from tests.support.encoded_files import described, file_bytes, numbers

DTYPES = ["u1", "i1", "<u2", ">u2", "<i2", "<i4", ">u4", "<u8", ">i8", "<f4", ">f4", "<f8", ">f8"]
WIDER = {"?": "u1", "<f2": "<f4", ">f2": ">f4"}
SHAPES = [(7,), (1,), (5, 7), (1, 1), (3, 5, 7), (1, 5, 7)]


@pytest.mark.parametrize("dtype", [*DTYPES, *WIDER])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fabio_gives_the_array_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = numbers(dtype, shape)
    image = edf.edf_image(described(array))
    path = tmp_path / "x.edf"
    path.write_bytes(file_bytes(image, array))
    assert path.stat().st_size == image.nbytes
    expected = array.astype(WIDER.get(dtype, dtype))
    with fabio.open(path) as file:
        found = np.array([file.get_frame(number).data for number in range(file.nframes)])
    assert found.dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(found.reshape(shape), expected)


def test_headers_of_each_frame(tmp_path: Path) -> None:
    array = numbers("<u2", (3, 5, 7))
    headers = [
        [
            ("motor_mne", "srot sy"),
            ("motor_pos", f"{10.5 * k} -1"),
            ("counter_mne", "mon"),
            ("counter_pos", str(100 + k)),
            ("Dim_1", "99"),
            ("title", "a; b}"),
            ("long", "x" * 600 * k),
        ]
        for k in range(3)
    ]
    path = tmp_path / "x.edf"
    path.write_bytes(file_bytes(edf.edf_image(described(array), headers), array))
    with fabio.open(path) as file:
        assert [file.get_frame(k).header["motor_pos"] for k in range(3)] == [
            "0.0 -1",
            "10.5 -1",
            "21.0 -1",
        ]
        assert file.header["title"] == "a  b"
    with silx.io.open(str(path)) as file:
        assert file["scan_0/instrument/positioners/srot"][()].tolist() == [0, 10.5, 21]
        assert file["scan_0/measurement/mon"][()].tolist() == [100, 101, 102]
        assert np.array_equal(file["scan_0/image/data"], array)


def test_any_part_of_a_file() -> None:
    array = numbers(">f4", (4, 5, 7))
    image = edf.edf_image(described(array))
    whole = file_bytes(image, array)
    rng = np.random.default_rng(1)
    for start, stop in np.sort(rng.integers(0, len(whole) + 20, (300, 2))):
        assert file_bytes(image, array, start=start, stop=stop) == whole[start:stop]


@pytest.mark.parametrize("dtype", ["c8", "g", "S3", "U2", "V4"])
def test_what_has_none(dtype: str) -> None:
    assert not edf.accepts(edf.ArrayDescription("x", (2, 3), np.dtype(dtype)))
    for shape in ((), (0,), (2, 2, 2, 2)):
        assert not edf.accepts(edf.ArrayDescription("x", shape, np.dtype("u2")))
