"""EDF files at a pace: one header is parsed, and all of them would have told the same."""

import os
from pathlib import Path

import fabio
import numpy as np
import pytest
from fabio.edfimage import EdfImage
from hypothesis import given, settings
from hypothesis import strategies as st

from esrffs.errors import EsrffsError
from esrffs.formats.images import edf, edf_blocks
from esrffs.formats.images.edf import EdfFrames
from esrffs.formats.images.edf_header import Window
from esrffs.formats.images.edf_regular import RegularSpacing, regular_spacing

KEYS = "Title Dim_1 dim_3 Size SIZE DataType ByteOrder Compression EDF_BinarySize EDF_DataBlockID"


def block(values: dict[str, str], end: str = "}\n", padding: int = 512) -> bytes:
    text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in values.items())
    missing = -(len(text) + len(end)) % padding
    return (text + " " * missing + end).encode("latin-1")


def usual(frame: int, **others: str) -> dict[str, str]:
    return {
        "HeaderID": f"EH:{frame:06}:000000:000000",
        "ByteOrder": "LowByteFirst",
        "DataType": "UnsignedShort",
        "Dim_1": "4",
        "Dim_2": "3",
        "Size": "24",
        **others,
    }


def written(path: Path, *headers: bytes, data: bytes = bytes(range(24))) -> Path:
    path.write_bytes(b"".join(header + data for header in headers))
    return path


def pace_of(path: Path) -> RegularSpacing | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return regular_spacing(descriptor, path.stat().st_size)
    finally:
        os.close(descriptor)


def told(path: Path) -> object:
    """All that a reader tells of the frames."""
    try:
        frames = EdfFrames(str(path), None)
    except EsrffsError as error:
        return str(error)
    try:
        headers = [dict(header) for header in frames.headers]
        values: list[object] = []
        for index in range(len(headers)):
            try:
                values.append(frames.rows(index, 0, frames.shape[0]).tobytes())
            except EsrffsError as error:
                values.append(str(error))
        shown = (
            repr(frames._places),
            repr(frames.layout),
            frames.end_reason,
            frames.first_frame_error,
        )
        return headers, values, frames.shape, frames.dtype, shown
    finally:
        frames.close()


def told_by_all(path: Path) -> object:
    """The same, with all headers read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edf, "regular_spacing", lambda *_: None)
        return told(path)


def test_what_fabio_writes_is_at_a_pace_and_one_header_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many.edf"
    stack = np.arange(20 * 12, dtype="u2").reshape(20, 3, 4)
    image = EdfImage(stack[0], {"motor_mne": "x y", "motor_pos": "0 0"})
    for number, data in enumerate(stack[1:], 1):
        image.append_frame(data=data, header={"motor_mne": "x y", "motor_pos": f"{number / 7} 0"})
    image.write(str(path))
    parsed: list[int] = []
    read = edf_blocks.read_header

    def counted(window: Window, position: int) -> object:
        parsed.append(position)
        return read(window, position)

    monkeypatch.setattr(edf_blocks, "read_header", counted)
    frames = EdfFrames(str(path), None)
    assert len(frames.headers) == 20
    with fabio.open(str(path)) as whole:
        expected = [dict(frame.header) for frame in whole.frames()]
    assert dict(frames.headers[0]) == expected[0]
    assert np.array_equal([frames.rows(k, 0, 3) for k in range(20)], stack)
    assert len(parsed) == 2  # the first, and that nothing follows it
    parsed.clear()
    assert [dict(header) for header in frames.headers] == expected
    assert len(parsed) == 21
    frames.headers[7:9]
    assert len(parsed) == 21
    frames.close()


@pytest.mark.parametrize(
    "other",
    [
        {"Dim_1": "3", "Dim_2": "4"},
        {"DataType": "SignedShort"},
        {"ByteOrder": "HighByteFirst"},
        {"Size": "12"},
        {"size": "12"},
        {"Dim_3": "1"},
        {"Compression": "GZIP"},
        {"EDF_BinarySize": "12"},
        {"EDF_BinaryFileName": "elsewhere.raw"},
        {"Title": "}\n"},
        {"Title": "a ; Dim_1 = 2"},
    ],
)
def test_a_header_of_another_structure_is_parsed(tmp_path: Path, other: dict[str, str]) -> None:
    headers = [block(usual(0)), block(usual(1)), block(usual(2, **other)), block(usual(3))]
    path = written(tmp_path / "odd.edf", *headers)
    assert pace_of(path) is None
    assert told(path) == told_by_all(path)


@pytest.mark.parametrize("same", [{"Title": "a"}, {"Title": ""}, {"Title": "é"}, {"EDF_X": "1"}])
def test_values_that_say_nothing_about_the_data_may_differ(
    tmp_path: Path, same: dict[str, str]
) -> None:
    title = {"Title": "something else"} if "Title" in same else same
    path = written(tmp_path / "even.edf", block(usual(0, **same)), block(usual(1, **title)))
    assert pace_of(path) == RegularSpacing(512, 536, 2)
    assert told(path) == told_by_all(path)


@pytest.mark.parametrize("rest", [b"\n", b"{", bytes(23), bytes(535), block(usual(2)), b"x" * 536])
def test_what_does_not_end_with_a_frame_is_parsed(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "growing.edf"
    path.write_bytes(written(path, block(usual(0)), block(usual(1))).read_bytes() + rest)
    assert pace_of(path) is None
    assert told(path) == told_by_all(path)


def test_a_header_that_ends_earlier_is_parsed(tmp_path: Path) -> None:
    titles = "something", "some}\nthing", "something"
    headers = [block(usual(number, Title=title)) for number, title in enumerate(titles)]
    path = written(tmp_path / "early.edf", *headers)
    assert pace_of(path) is None
    assert told(path) == told_by_all(path)


def test_a_general_block_is_parsed(tmp_path: Path) -> None:
    general = block({"EDF_DataFormatVersion": "2.40", "EDF_BinarySize": "0", "Size": "0"})
    headers = [block(usual(0)), block(usual(1))]
    path = tmp_path / "general.edf"
    path.write_bytes(general + b"".join(header + bytes(24) for header in headers))
    assert pace_of(path) is None
    assert told(path) == told_by_all(path)
    block_of_all = block(usual(0, EDF_DataFormatVersion="2.40"))
    assert told(written(path, block_of_all, block_of_all)) == told_by_all(path)


@settings(max_examples=200)
@given(
    frames=st.lists(
        st.dictionaries(
            st.sampled_from(KEYS.split()),
            st.sampled_from(
                ["", "1", "2", "12", "24", "High", "None", "a=b", "\r", "\0", "}", "x;y"]
            ),
            max_size=2,
        ),
        min_size=1,
        max_size=4,
    ),
    ends=st.lists(st.sampled_from(["}\n", "}\n", "}\r\n", "}\r", "} \n"]), min_size=4, max_size=4),
    cut=st.integers(0, 40),
    alike=st.booleans(),
)
def test_whatever_the_headers_parsing_finds_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[dict[str, str]],
    ends: list[str],
    cut: int,
    alike: bool,
) -> None:
    """Odd values in some frames, or the same odd ones in all."""
    if alike:
        frames, ends = [frames[0]] * 3, [ends[0]] * 3
    headers = [
        block({**usual(number), **odd}, end)
        for number, (odd, end) in enumerate(zip(frames, ends, strict=False))
    ]
    path = written(tmp_path_factory.mktemp("edf") / "some.edf", *headers)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut if cut < 30 else None])
    assert told(path) == told_by_all(path)
