"""EDF headers: what FabIO finds in sound ones; sizes, types and blocks that it gets wrong."""

import bz2
import contextlib
import gzip
import itertools
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fabio.edfimage import DATA_TYPES, EdfImage
from hypothesis import given, settings
from hypothesis import strategies as st

from esrffs.errors import DamagedError, EsrffsError, UnsupportedError
from esrffs.formats.images.edf_blocks import scan
from esrffs.formats.images.reader import ImageFileReader
from esrffs.model import Box, DatasetInfo
from tests.support.image_files import edf_text, in_order, opened

__all__ = ["in_order"]  # a fixture for every test here

STACK = [(np.arange(48) % 7 + n).reshape(6, 8).astype("<u2") for n in range(3)]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "GzipCompression": gzip.compress,
    "GZIP": gzip.compress,
    "BzipCompression": bz2.compress,
    "BZ2": bz2.compress,
    "ZCompression": zlib.compress,
    "Z": zlib.compress,
}
OUTER: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
}


def keys(**others: object) -> dict[str, object]:
    usual = {"HeaderID": 1, "ByteOrder": "LowByteFirst", "DataType": "UnsignedShort"}
    return {**usual, "Dim_1": 8, "Dim_2": 6, **others}


def values(path: Path) -> tuple[npt.NDArray[np.generic], str | None]:
    reader = opened(ImageFileReader(str(path), None))
    info = reader.find("scan_0/image/data")
    assert isinstance(info, DatasetInfo)
    array = reader.read(info.address, Box((0,) * len(info.shape), info.shape))
    return array, json.loads(reader.attributes("")).get("end")


@pytest.mark.parametrize("word", PACKERS)
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize(
    "told", ["both", "packed", "BinarySize", "unpacked", "exchanged", "neither", "padded"]
)
@pytest.mark.parametrize("count", [1, 3])
def test_sizes_of_compressed_blocks(
    word: str, outer: str, told: str, count: int, tmp_path: Path
) -> None:
    """Whichever of the two keys tells the size of the packed data, and which of the unpacked."""
    path = tmp_path / "a.edf"
    for frame in STACK[:count]:
        packed = PACKERS[word](frame.tobytes())
        if told == "padded":
            packed = packed.ljust(512, b"\0")
        sizes = {
            "both": {"EDF_BinarySize": len(packed), "Size": frame.nbytes},
            "packed": {"Size": len(packed)},
            "BinarySize": {"EDF_BinarySize": len(packed)},
            "unpacked": {"Size": frame.nbytes},
            "exchanged": {"Size": len(packed), "EDF_BinarySize": frame.nbytes},
            "neither": {},
            "padded": {"EDF_BinarySize": len(packed), "Size": frame.nbytes},
        }[told]
        edf_text(path, packed, **keys(Compression=word, **sizes))
    whole = tmp_path / f"b.edf{outer}"
    whole.write_bytes(OUTER[outer](path.read_bytes()))
    array, end = values(whole)
    np.testing.assert_array_equal(array, STACK[0] if count == 1 else STACK[:count])
    assert end is None


@pytest.mark.parametrize("sizes", [(96, 96), (512, 96), (96, 512), (0, 96), (96, 0), (None, 96)])
def test_sizes_of_blocks_that_are_not_compressed(
    sizes: tuple[int | None, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.edf"
    told = dict(zip(("EDF_BinarySize", "Size"), sizes, strict=True))
    for frame in STACK:
        data = frame.tobytes().ljust(max(size or 0 for size in sizes), b"\0")
        edf_text(path, data, **keys(**{k: size for k, size in told.items() if size is not None}))
    np.testing.assert_array_equal(values(path)[0], STACK)


SPELLINGS: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper, str.swapcase)


@pytest.mark.parametrize("name", DATA_TYPES)
@pytest.mark.parametrize("spelling", range(4))
@pytest.mark.parametrize("order", ["LowByteFirst", "highbytefirst", "BIG_ENDIAN", "LOWBYTEFIRST"])
def test_names_in_any_case(name: str, spelling: int, order: str, tmp_path: Path) -> None:
    dtype = np.dtype(DATA_TYPES[name])
    array = np.zeros((6, 8), dtype)
    array[...] = np.arange(-20, 28).reshape(6, 8).astype(dtype)
    big = order.lower().startswith(("high", "big"))
    raw = array.astype(dtype.newbyteorder(">" if big else "<"))
    if dtype.itemsize == 16:  # with nothing between the numbers
        raw = np.frombuffer(raw.tobytes(), "u1").reshape(-1, 16).copy()
        raw[:, slice(0, 6) if big else slice(10, 16)] = 0
    path = edf_text(
        tmp_path / "a.edf", raw.tobytes(),
        **keys(DataType=SPELLINGS[spelling](name), ByteOrder=order, Size=array.nbytes),
    )  # fmt: skip
    found, _ = values(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


def test_quadruples_of_another_machine(tmp_path: Path) -> None:
    """1, 2, -1.5 as IEEE has them: the exponent in the last two bytes, then the mantissa."""
    for words in (0x3FFF0000, 0x40000000, 0xBFFF8000):
        raw = (bytes(12) + words.to_bytes(4, "little")) * 48
        (tmp_path / "a.edf").unlink(missing_ok=True)
        path = edf_text(tmp_path / "a.edf", raw, **keys(DataType="FloatIEEE128", Size=len(raw)))
        with pytest.raises(UnsupportedError, match="128 bits"):
            values(path)


def test_what_lies_between_long_doubles_is_not_served(tmp_path: Path) -> None:
    if np.finfo(np.longdouble).nmant != 63:
        pytest.skip("long doubles have another form on this machine")
    raw = (
        np.frombuffer(np.arange(1, 49).astype(np.longdouble).tobytes(), "u1").reshape(-1, 16).copy()
    )
    raw[:, 10:] = 0xAA
    path = edf_text(tmp_path / "a.edf", raw.tobytes(), **keys(DataType="QuadrupleValue", Size=768))
    found, _ = values(path)
    np.testing.assert_array_equal(found.ravel(), np.arange(1, 49))
    assert not np.frombuffer(found.tobytes(), "u1").reshape(-1, 16)[:, 10:].any()


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ({"DataType": "Wide"}, "its DataType 'Wide' is none"),
        ({"ByteOrder": "Middle"}, "neither LowByteFirst nor"),
        ({"ByteOrder": None}, "has no ByteOrder"),
        ({"Dim_1": "many"}, "its DIM_1 'many' is not a number"),
        ({"Dim_1": 0}, "not the shape"),
        ({"Dim_2": -6}, "not the shape"),
        ({"Dim_1": None, "Dim_2": None}, "no Dim_1"),
        ({"Dim_70": 1}, "Dim_70"),
        ({"Dim_1": 10**15}, "not the shape"),
        ({"Dim_1": 10**9}, "ends before its data"),
    ],
)
def test_a_header_that_does_not_tell_enough(
    others: dict[str, object], text: str, tmp_path: Path
) -> None:
    """Costs its frame and those after it."""
    odd = {key: value for key, value in keys(**others).items() if value is not None}
    path = edf_text(tmp_path / "a.edf", bytes(96), **odd)
    with pytest.raises((DamagedError, UnsupportedError), match=text):
        values(path)
    path = tmp_path / "b.edf"
    edf_text(path, STACK[0].tobytes(), **keys(Size=96))
    edf_text(path, bytes(96), **{**odd, "Size": 96})
    edf_text(path, STACK[2].tobytes(), **keys(Size=96))
    array, end = values(path)
    np.testing.assert_array_equal(array.reshape(6, 8), STACK[0])
    assert end is not None
    assert "data" in end or text.removeprefix("its ")[:9] in end


def test_only_a_general_block(tmp_path: Path) -> None:
    path = edf_text(
        tmp_path / "a.edf", b"", EDF_DataFormatVersion="2.40", EDF_DataBlockID="0.General",
        EDF_BinarySize=0,
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="only a general block"):
        values(path)


ODD = ["", "1", "8", "6", "96", "12.0", "None", "NoSpecificValue", "a=b", "x;y", "\0", "}", "{"]


@settings(max_examples=300)
@given(
    blocks=st.lists(
        st.dictionaries(
            st.sampled_from(
                "Title Dim_3 Size size Image EDF_DataFormatVersion Compression".split()
            ),
            st.sampled_from(ODD),
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    ),
    rest=st.sampled_from([b"", b"\n", b"rubbish", bytes(600), b"{", b"{ a = 1 ;"]),
)
def test_what_fabio_finds(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[dict[str, str]], rest: bytes
) -> None:
    """Wherever FabIO finds frames that are whole, the same are found, with the same headers."""
    path = tmp_path_factory.mktemp("edf") / "a.edf"
    for others in blocks:
        edf_text(path, STACK[0].tobytes(), **keys(**others))
    path.write_bytes(path.read_bytes() + rest)
    image = EdfImage()
    theirs = None
    with contextlib.suppress(Exception):
        image.read(str(path))
        theirs = [
            (dict(f.header), f.shape, np.dtype(f._dtype), f.start, f.blobsize)
            for f in image.frames()
        ]
        image.close()
    try:
        with path.open("rb") as file:
            found = scan(file, "", path.stat().st_size)
    except EsrffsError as error:
        made_up = "not a number" in str(error)  # FabIO then takes the axis before it
        assert theirs is None or made_up or theirs[0][1] == () or min(theirs[0][1]) <= 0
        return
    ours = [
        (header, p.shape, p.dtype, p.start, p.room)
        for header, p in zip(found.headers, found.places, strict=True)
    ]
    if theirs is not None:
        sound = [*itertools.takewhile(lambda frame: frame[4] == 96, theirs)]
        assert ours[: len(sound)] == sound


@pytest.mark.parametrize("size", [10**9, 10**18 - 1, 2**63 - 1, 2**63, 2**64, 10**30])
@pytest.mark.parametrize("key", ["Size", "EDF_BinarySize"])
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_size_that_no_file_has(size: int, key: str, outer: str, bad: int, tmp_path: Path) -> None:
    """It costs no frame that is there: in a plain file not even those behind it."""
    path = tmp_path / "a.edf"
    for number, frame in enumerate(STACK):
        told = size if number == bad else frame.nbytes
        edf_text(path, frame.tobytes(), **keys(**{key: told}))
    content = path.read_bytes()
    path = tmp_path / f"a.edf{outer}"
    path.write_bytes(OUTER[outer](content))
    array, end = values(path)
    if outer:
        stack = np.array(STACK[: bad + 1])
        np.testing.assert_array_equal(array, stack if bad else stack[0])
        if bad < 2:
            assert "which are more than the file has" in str(end)
    else:
        np.testing.assert_array_equal(array, STACK)
        assert end is None


@pytest.mark.parametrize("size", [10**9, 10**19])
def test_a_size_of_packed_data_that_no_file_has(size: int, tmp_path: Path) -> None:
    """Where they end, they tell themselves."""
    path = tmp_path / "a.edf"
    for number, frame in enumerate(STACK):
        packed = gzip.compress(frame.tobytes())
        told = {"EDF_BinarySize": size if number == 1 else len(packed)}
        edf_text(path, packed, **keys(Compression="GzipCompression", **told))
    array, end = values(path)
    np.testing.assert_array_equal(array, STACK)
    assert end is None


def test_a_size_behind_which_nothing_is_found(tmp_path: Path) -> None:
    """What stands there is no header, so that is told."""
    path = edf_text(tmp_path / "a.edf", STACK[0].tobytes(), **keys(Size=96))
    content = edf_text(path, STACK[1].tobytes(), **keys(Size=10**19)).read_bytes()
    path.write_bytes(content + b"no header" * 200)
    array, end = values(path)
    np.testing.assert_array_equal(array, STACK[:2])
    assert end == f"after frame 1: {10**19} bytes of data, which are more than the file has"
    path.write_bytes(content + b"\n" * 2000)  # padding that was cut
    assert values(path)[1] is None


@pytest.mark.parametrize("position", [10**18, 2**63, 10**30])
def test_data_in_another_file_where_no_file_has_any(position: int, tmp_path: Path) -> None:
    path = edf_text(tmp_path / "a.edf", STACK[0].tobytes(), **keys(Size=96))
    edf_text(path, b"", **keys(EDF_BinaryFileName="b.raw", EDF_BinaryFilePosition=position))
    (tmp_path / "b.raw").write_bytes(bytes(96))
    reader = opened(ImageFileReader(str(tmp_path / "a.edf"), None))
    info = reader.find("scan_0/image/data")
    assert isinstance(info, DatasetInfo)
    np.testing.assert_array_equal(reader.read(info.address, Box((0, 0, 0), (1, 6, 8)))[0], STACK[0])
    with pytest.raises(DamagedError, match=r"^frame 1: "):
        reader.read(info.address, Box((1, 0, 0), (2, 6, 8)))
