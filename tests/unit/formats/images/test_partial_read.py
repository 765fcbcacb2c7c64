"""What is damaged in an image costs itself: a strip, a tile, a frame, a file of a series."""

import bz2
import gzip
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import fabio.cbfimage
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
from tests.conftest import MountFactory
from tests.support.image_files import edf, image, in_order, opened
from tests.unit.formats.images.test_reader import data, open_raster
from tests.unit.test_damage import check

__all__ = ["in_order"]  # a fixture for every test here

IMAGE = "scan_0/instrument/detector_0/data.npy"
N, Y, X = 5, 60, 50


def numbers(shape: tuple[int, ...], dtype: str = "u2") -> npt.NDArray[Any]:
    return np.random.default_rng(3).integers(0, 200, shape).astype(dtype)


def spoil(path: Path, page: int, segment: int, count: int = 40) -> None:
    """Other bytes at the start of a strip or tile."""
    with tifffile.TiffFile(path) as file:
        offset = file.pages[page].dataoffsets[segment]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)


def edf_blocks(path: Path, stack: npt.NDArray[Any], bad: int) -> None:
    """An EDF whose frames are compressed, one of which is damaged."""
    with path.open("wb") as file:
        for number, frame in enumerate(stack):
            content = bytearray(zlib.compress(frame.tobytes()))
            if number == bad:
                content[len(content) // 2] ^= 0x55
            keys = {
                "EDF_DataBlockID": f"{number + 1}.Image.Psd",
                "EDF_BinarySize": len(content),
                "EDF_HeaderSize": 512,
                "ByteOrder": "LowByteFirst",
                "DataType": "UnsignedShort",
                "Dim_1": frame.shape[1],
                "Dim_2": frame.shape[0],
                "Compression": "ZCompression",
            }
            text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in keys.items())
            file.write(text.ljust(510).encode() + b"}\n" + content)


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
    assert_all_boxes(open_raster(str(path), None), stack, bad, f"frame {page}: its ")


def test_planes_of_samples(tmp_path: Path) -> None:
    """Colours that are stored one after the other: the others of the pixel are there."""
    stack = numbers((N, 3, Y, X), "u1")
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(path, stack, compression="zlib", rowsperstrip=20, metadata=None, **options)
    spoil(path, 1, 4)  # of the second sample the second strip
    bad = np.zeros((N, Y, X, 3), bool)
    bad[1, 20:40, :, 1] = True
    assert_all_boxes(open_raster(str(path), None), np.moveaxis(stack, 1, 3), bad, "its strip 4 ")


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
    assert_all_boxes(open_raster(str(path), None), stack, bad, f"frame {N - 1}: the file ends")


def test_compressed_blocks_of_an_edf(tmp_path: Path) -> None:
    stack = numbers((N, Y, X))
    path = tmp_path / "a.edf"
    edf_blocks(path, stack, bad=3)
    bad = np.zeros(stack.shape, bool)
    bad[3] = True
    assert_all_boxes(
        open_raster(str(path), None), stack, bad, "frame 3: its packed data are damaged"
    )


def series(folder: Path, suffix: str, stack: npt.NDArray[Any], bad: int) -> list[str]:
    """A file for each frame, one of which is damaged."""
    paths = []
    for number, frame in enumerate(stack):
        path = folder / f"se_{number:02d}.{suffix}"
        if suffix == "tif":
            options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
            tifffile.imwrite(path, frame, compression="zlib", rowsperstrip=20, **options)
            if number == bad:
                spoil(path, 0, 1)
        elif suffix == "cbf":
            fabio.cbfimage.CbfImage(data=frame.astype("i4")).write(str(path))
            if number == bad:
                raw = bytearray(path.read_bytes())
                raw[raw.index(b"\x0c\x1a\x04\xd5") + 500] ^= 1
                path.write_bytes(raw)
        else:
            edf_blocks(path, frame[np.newaxis], bad=0 if number == bad else -1)
        paths.append(str(path))
    return paths


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
    reader = open_raster(str(tmp_path / "a.edf"), None)
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
        reader = open_raster(str(path), None)
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
    reader = open_raster(str(path), None)
    server.budget.begin(0)
    try:
        found = reader.sound(data(reader).address, Box((0,) * 3, stack.shape))
    finally:
        server.budget.begin(float("inf"))
    assert_sound(found, stack, np.ones(stack.shape, bool), "took too long (time_limit)")


def test_mounted(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    stack = numbers((12, 64, 128))
    expected = {}
    for name, options in (
        ("strips.tif", {"compression": "zlib", "rowsperstrip": 32}),
        ("tiles.tif", {"compression": "lzw", "tile": (32, 64)}),
    ):
        tifffile.imwrite(source / name, stack, photometric="minisblack", metadata=None, **options)
        bad = np.zeros(stack.shape, bool)
        spoil(source / name, 5, 1)
        if name == "strips.tif":
            bad[5, 32:] = True
        else:
            bad[5, :32, 64:] = True
        expected[name] = stack, bad
    edf_blocks(source / "blocks.edf", stack, bad=5)
    bad = np.zeros(stack.shape, bool)
    bad[5] = True
    expected["blocks.edf"] = stack, bad
    series(source, "tif", stack, 5)
    bad = np.zeros(stack.shape, bool)
    bad[5, 20:40] = True
    expected["se_##.tif"] = stack, bad
    series(source, "cbf", stack, 5)
    bad = np.zeros(stack.shape, bool)
    bad[5] = True
    expected["se_##.cbf"] = stack.astype("i4"), bad
    mounted = mount(source)
    mounted.expect(r"(strips|tiles|se_##)\.tif: |blocks\.edf: frame 5: |se_##\.cbf: ")
    for name, (array, lost) in expected.items():
        check(mounted / name / IMAGE, array, lost)
    error = os.getxattr(mounted / "se_##.tif", "user.esrffs.error").decode()
    assert error == (
        "se_##.tif: se_05.tif (frame 5): its strip 1 is damaged: it cannot be unpacked"
    )
    error = os.getxattr(mounted / "se_##.cbf" / IMAGE, "user.esrffs.error").decode()
    assert error.startswith("se_##.cbf: se_05.cbf (frame 5): ")


def test_corrected(mount: MountFactory, tmp_path: Path) -> None:
    """One of twenty raw images costs its own corrected image, and its frame of the stack."""
    source = tmp_path / "source"
    source.mkdir()
    stack = numbers((20, 64, 128)) + 400
    for path in series(source, "tif", stack, 7):
        shutil.move(path, source / f"s_00{path[-6:]}")
    flat, dark = numbers((64, 128)) + 900, numbers((64, 128)) % 90
    tifffile.imwrite(source / "flat.tif", flat)
    tifffile.imwrite(source / "dark.tif", dark)
    bottom = flat.astype("f4") - dark
    expected = (stack.astype("f4") - dark) / bottom
    bad = np.zeros(stack.shape, bool)
    bad[7, 20:40] = True
    mounted = mount(source)
    mounted.expect(r"s_####\.tif: s_0007\.tif \(frame 7\): its strip 1 is damaged")
    for number in (*range(6, 9), *range(20)):
        path = mounted / f"corrected/s_{number:04d}.npy"
        if number == 7:
            check(path, expected[7], bad[7])
        else:
            np.testing.assert_array_equal(np.load(path), expected[number])
    check(mounted / "corrected/s_####.npy", expected, bad)
    for name in ("s_0007", "s_####"):
        error = os.getxattr(mounted / f"corrected/{name}.npy", "user.esrffs.error").decode()
        assert "s_0007.tif (frame 7): its strip 1 is damaged: it cannot be unpacked" in error


@pytest.mark.parametrize("suffix", ["gz", "bz2"])
def test_packed_images_of_which_nothing_can_be_had(
    suffix: str, mount: MountFactory, tmp_path: Path
) -> None:
    """They say so, and are not taken for files of another kind."""
    source = tmp_path / "source"
    source.mkdir()
    edf(tmp_path / "a.edf", image(0))
    packed = bytearray({"gz": gzip, "bz2": bz2}[suffix].compress((tmp_path / "a.edf").read_bytes()))
    packed[12:30] = b"\xff" * 18
    for name in ("a.edf", "a.log"):
        (source / f"{name}.{suffix}").write_bytes(packed)
    mounted = mount(source)
    mounted.expect(rf"a\.edf\.{suffix}: the file: its packed data are damaged: .*\(EIO\)$")
    with pytest.raises(OSError, match="Input/output"):
        os.listdir(mounted / f"a.edf.{suffix}")
    error = os.getxattr(mounted / f"a.edf.{suffix}", "user.esrffs.error").decode()
    assert "its packed data are damaged" in error
    assert (mounted / f"a.log.{suffix}").read_bytes() == packed
