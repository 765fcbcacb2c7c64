"""What is damaged in an image costs itself: a strip, a tile, a frame, a file of a series."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from esrffs.damage import DamagedArray
from esrffs.errors import DamagedError
from esrffs.formats.images import fabio_frames
from esrffs.formats.images.edf import EdfFrames
from esrffs.formats.images.reader import ImageStackReader
from esrffs.formats.images.series import ImageSeriesReader
from esrffs.formats.images.tiff_segments import Segments
from esrffs.model import Box
from esrffs.workers import server
from tests.support.damaged_images import edf_blocks, numbers, series, spoil
from tests.support.image_files import data, edf, image, in_order, open_image, opened

__all__ = ["in_order"]  # a fixture for every test here

N, Y, X = 5, 60, 50


def assert_sound(
    found: DamagedArray, array: npt.NDArray[Any], bad: npt.NDArray[np.bool_], *texts: str
) -> None:
    assert found.array.dtype == array.dtype
    np.testing.assert_array_equal(found.codes != 0, bad)
    np.testing.assert_array_equal(found.array[~bad], array[~bad])
    told = [str(error) for error in found.errors]
    assert len(told) == len(texts), told
    for text, wanted in zip(told, texts, strict=True):
        assert wanted in text


def assert_all_boxes(
    reader: ImageStackReader, array: npt.NDArray[Any], bad: npt.NDArray[np.bool_], text: str
) -> None:
    """The whole, and parts of frames."""
    info = data(reader)
    assert info.shape == array.shape
    for inner in (0, 7):
        start = tuple(inner if axis < 3 and inner < n else 0 for axis, n in enumerate(array.shape))
        stop = tuple(n - inner if n > 2 * inner + 1 else n for n in array.shape)
        box = Box(start, stop)
        with pytest.raises(DamagedError, match=text):
            reader.read(info.address, box)
        part, lost = array[box.slices], bad[box.slices]
        assert lost.any()
        assert not lost.all()
        found = reader.sound(info.address, box)
        np.testing.assert_array_equal(found.codes != 0, lost)
        np.testing.assert_array_equal(found.array[~lost], part[~lost])
        assert all(text in str(error) for error in found.errors)
        assert found.codes.max() <= len(found.errors)


TIFFS: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]] = {
    # the shape of the stack, how it is written, and the strip or tile (rows, columns, samples)
    "strips": ((N, Y, X), {"compression": "zlib", "rowsperstrip": 16}, (16, X)),
    "one page": ((Y, X), {"compression": "lzw", "rowsperstrip": 16}, (16, X)),
    "tiles": ((N, Y, X), {"compression": "zstd", "tile": (32, 16)}, (32, 16)),
    "colours": (
        (N, Y, X, 3),
        {"compression": "zlib", "tile": (16, 16), "photometric": "rgb"},
        (16, 16, 3),
    ),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_strips_and_tiles(kind: str, tmp_path: Path) -> None:
    shape, options, (long, wide, *_) = TIFFS[kind]
    stack = numbers(shape, "u1" if len(shape) > 3 else "u2")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, metadata=None, **{"photometric": "minisblack", **options})
    across = -(-X // wide)
    page = 2 if len(shape) > 2 else 0
    bad = np.zeros(shape, bool)
    frame = bad[page] if len(shape) > 2 else bad
    for number in (across, 2 * across - 1):
        spoil(path, page, number)
        column = number % across * wide
        frame[long : 2 * long, column : column + wide] = True
    assert_all_boxes(open_image(str(path), None), stack, bad, f"frame {page}: its ")


def test_planes_of_samples(tmp_path: Path) -> None:
    """Colours that are stored one after the other: the others of the pixel are there."""
    stack = numbers((N, 3, Y, X), "u1")
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(path, stack, compression="zlib", rowsperstrip=20, metadata=None, **options)
    spoil(path, 1, 4)  # of the second sample the second strip
    bad = np.zeros((N, Y, X, 3), bool)
    bad[1, 20:40, :, 1] = True
    assert_all_boxes(open_image(str(path), None), np.moveaxis(stack, 1, 3), bad, "its strip 4 ")


def test_a_last_page_that_is_cut(tmp_path: Path) -> None:
    stack = numbers((N, Y, X))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in stack:
            writer.write(page, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[N - 1].dataoffsets[0]
        assert all(page.offset < offset for page in file.pages)
    os.truncate(path, offset + 10 * X * 2 + 7)
    bad = np.zeros(stack.shape, bool)
    bad[N - 1, 10:] = True
    assert_all_boxes(open_image(str(path), None), stack, bad, f"frame {N - 1}: the file ends")


def test_compressed_blocks_of_an_edf(tmp_path: Path) -> None:
    stack = numbers((N, Y, X))
    path = tmp_path / "a.edf"
    edf_blocks(path, stack, bad=3)
    bad = np.zeros(stack.shape, bool)
    bad[3] = True
    assert_all_boxes(
        open_image(str(path), None), stack, bad, "frame 3: its packed data are damaged"
    )


@pytest.mark.parametrize("suffix", ["tif", "cbf", "edf"])
@pytest.mark.parametrize("number", [0, 2, N - 1])
def test_files_of_a_series(suffix: str, number: int, tmp_path: Path) -> None:
    stack = numbers((N, Y, X), "i4" if suffix == "cbf" else "u2")
    bad = np.zeros(stack.shape, bool)
    bad[number, 20:40] = True
    if suffix != "tif":
        bad[number] = True
    reader = opened(ImageSeriesReader(series(tmp_path, suffix, stack, number)))
    info = data(reader)
    assert info.shape == stack.shape
    found = reader.sound(info.address, Box((0,) * 3, stack.shape))
    text = f"se_0{number}.{suffix} (frame {number}): "
    assert_sound(found, stack, bad, text)
    assert f"{text}frame" not in str(found.errors[0])
    with pytest.raises(DamagedError, match=rf"^se_0{number}\.{suffix} \(frame {number}\): "):
        reader.read(info.address, Box((max(number - 1, 0), 0, 0), (number + 1, Y, X)))


def test_a_file_of_a_series_that_is_no_image_any_more(tmp_path: Path) -> None:
    """It was one when the series was listed."""
    stack = numbers((N, Y, X))
    paths = series(tmp_path, "tif", stack, -1)
    reader = opened(ImageSeriesReader(paths))
    Path(paths[1]).write_bytes(b"II*\0" + bytes(100))
    bad = np.zeros(stack.shape, bool)
    bad[1] = True
    found = reader.sound(data(reader).address, Box((0,) * 3, stack.shape))
    assert_sound(found, stack, bad, "se_01.tif (frame 1): the ")


def test_files_of_a_series_of_both_byte_orders(tmp_path: Path) -> None:
    """They lie in their files as they are, but not in one order: a reader reads them."""
    stack = np.array([image(number) for number in range(3)])
    for number in range(3):
        edf(tmp_path / f"se_{number}.edf", image(number))
    path = tmp_path / "se_2.edf"
    raw = path.read_bytes().replace(b"LowByteFirst", b"HighByteFirst", 1)
    raw = raw.replace(b" ;\n", b";\n", 1)  # as long as before
    start = len(raw) - stack[2].nbytes
    path.write_bytes(raw[:start] + stack[2].byteswap().tobytes())
    reader = opened(ImageSeriesReader([str(tmp_path / f"se_{n}.edf") for n in range(3)]))
    np.testing.assert_array_equal(
        reader.read(data(reader).address, Box((0,) * 3, stack.shape)), stack
    )
    os.truncate(tmp_path / "se_1.edf", 600)
    bad = np.zeros(stack.shape, bool)
    bad[1] = True
    found = reader.sound(data(reader).address, Box((0,) * 3, stack.shape))
    assert_sound(found, stack, bad, "se_1.edf (frame 1): the file ends")


def test_a_series_whose_first_file_is_damaged_says_which(tmp_path: Path) -> None:
    paths = series(tmp_path, "tif", numbers((3, Y, X)), -1)
    Path(paths[0]).write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(DamagedError, match=r"^se_00\.tif: "):
        ImageSeriesReader(paths)


def test_values_beside_the_image(tmp_path: Path) -> None:
    """They are read as ever."""
    edf(tmp_path / "a.edf", image(0), header={"title": "x"})
    reader = open_image(str(tmp_path / "a.edf"), None)
    others = reader.listing("/scan_0/instrument/detector_0/others").members
    for member in others:
        box = Box((0,) * len(member.shape), member.shape)
        found = reader.sound(member.address, box)
        expected = reader.read(member.address, box)
        np.testing.assert_array_equal(found.array, expected)
        assert not found.codes.any()


def test_nothing_damaged_is_unpacked_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = numbers((N, Y, X))
    count = 0

    def counting(function: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            return function(*arguments)

        return counted

    tif, packed = tmp_path / "a.tif", tmp_path / "a.edf"
    tifffile.imwrite(tif, stack[0], compression="zlib", rowsperstrip=20, metadata=None)
    spoil(tif, 0, 1)
    edf_blocks(packed, stack[:1], bad=0)
    cbf = series(tmp_path, "cbf", stack, 2)
    monkeypatch.setattr(Segments, "_unpacked", counting(Segments._unpacked))
    monkeypatch.setattr(EdfFrames, "_unpack", counting(EdfFrames._unpack))
    for path, once in ((tif, 3), (packed, 1)):
        reader = open_image(str(path), None)
        count = 0
        for row in range(Y):
            reader.sound(data(reader).address, Box((row, 0), (row + 1, X)))
        assert count == once
    reader_ = opened(ImageSeriesReader(cbf))
    monkeypatch.setattr(fabio_frames, "read_cbf", counting(fabio_frames.read_cbf))
    count = 0
    for row in range(Y):
        reader_.sound(data(reader_).address, Box((2, row, 0), (3, row + 1, X)))
    assert count == 1


def test_a_search_ends_with_the_time_of_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = numbers((N, Y, X))
    path = tmp_path / "a.edf"
    edf_blocks(path, stack, bad=0)
    reader = open_image(str(path), None)
    server.budget.begin(0)
    try:
        found = reader.sound(data(reader).address, Box((0,) * 3, stack.shape))
    finally:
        server.budget.begin(float("inf"))
    assert_sound(found, stack, np.ones(stack.shape, bool), "took too long (time_limit)")
