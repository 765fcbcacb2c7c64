"""TIFFs that are damaged, cut short, or declare what no file can hold; and those of many pages."""

import gzip
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from esrffs.errors import DamagedError, EsrffsError, TooLargeError, UnsupportedError
from esrffs.formats.images.reader import ImageFileReader
from esrffs.formats.images.tiff_directories import PlainFile
from esrffs.formats.images.tiff_segments import Segments
from esrffs.model import Box, FramesLayout, OpaqueLayout
from tests.support.image_files import data, in_order, open_image, values
from tests.support.reader_contract import walk
from tests.support.stopwatch import Stopwatch
from tests.support.tiff_files import LAYOUTS, X, Y, by_hand, end, numbers, write

__all__ = ["in_order"]  # a fixture for every test here

KINDS: dict[str, dict[str, Any]] = {
    "plain": LAYOUTS["strips"],
    "lzw": {"compression": "lzw", "predictor": True, **LAYOUTS["strips"]},
    "deflate": {"compression": "deflate", **LAYOUTS["strips"]},
    "zstd": {"compression": "zstd", **LAYOUTS["tiles"]},
    "jpeg2000": {"compression": "jpeg2000", **LAYOUTS["one"]},
    "big": {"bigtiff": True, **LAYOUTS["tiles"]},
}


def frame(reader: ImageFileReader, number: int) -> np.ndarray:
    info = data(reader)
    box = Box((number, 0, 0), (number + 1, *info.shape[1:]))
    return reader.read(info.address, box)[0]


def places(path: Path) -> list[tuple[int, int]]:
    """Where the first strip or tile of each page lies, and how long it is."""
    with tifffile.TiffFile(path) as file:
        return [(page.dataoffsets[0], page.databytecounts[0]) for page in file.pages]


@pytest.mark.parametrize("kind", ["lzw", "deflate", "zstd", "jpeg2000"])
def test_packed_data_with_other_bytes_cost_their_frame(kind: str, tmp_path: Path) -> None:
    pages = numbers("u2", (4, Y, X))
    path = write(tmp_path / "a.tif", pages, **KINDS[kind])
    offset, count = places(path)[1]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + count] = b"\xff" * count
    path.write_bytes(raw)
    reader = open_image(str(path), None)
    assert data(reader).shape == pages.shape
    with pytest.raises(DamagedError, match=r"frame 1: its (strip|tile) 0 is damaged"):
        frame(reader, 1)
    for number in (0, 2, 3):
        np.testing.assert_array_equal(frame(reader, number), pages[number])


def test_jpeg_data_that_do_not_end(tmp_path: Path) -> None:
    """libjpeg would paint the rest grey."""
    page = np.zeros((Y, X, 3), "u1")
    path = write(tmp_path / "a.tif", [page] * 2, photometric="rgb", compression="jpeg")
    offset, count = places(path)[1]
    raw = bytearray(path.read_bytes())
    raw[offset + count // 2 : offset + count] = bytes(count - count // 2)
    path.write_bytes(raw)
    reader = open_image(str(path), None)
    info = data(reader)
    reader.read(info.address, Box((0, 0, 0, 0), (1, Y, X, 3)))
    with pytest.raises(DamagedError, match=r"frame 1.*do not end"):
        reader.read(info.address, Box((1, 0, 0, 0), (2, Y, X, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_shows_what_is_whole_and_says_what_is_not(kind: str, tmp_path: Path) -> None:
    pages = numbers("u2", (4, Y, X))
    path = write(tmp_path / "a.tif", pages, **KINDS[kind])
    raw = path.read_bytes()
    for size in range(16, len(raw), len(raw) // 50):
        path.write_bytes(raw[:size])
        try:
            reader = open_image(str(path), None)
        except EsrffsError:
            continue
        shape = data(reader).shape
        count = shape[0] if len(shape) == 3 else 1
        assert count == 4 or "page" in end(reader)
        failed = 0
        for number in range(count):
            try:
                found = frame(reader, number) if len(shape) == 3 else values(reader)
            except DamagedError:
                failed += 1
                continue
            np.testing.assert_array_equal(found, pages[number])
        assert failed or end(reader)
        assert not failed or isinstance(data(reader).layout, OpaqueLayout)


@pytest.mark.parametrize("kind", KINDS)
def test_any_byte_may_be_another(kind: str, tmp_path: Path) -> None:
    """Every failure has a sentence; none is an exception of a library."""
    path = write(tmp_path / "a.tif", numbers("u2", (2, Y, X)), **KINDS[kind])
    raw = path.read_bytes()
    random = np.random.default_rng(3)
    for at in (*range(4, 300), *random.integers(0, len(raw), 200)):
        changed = bytearray(raw)
        changed[at] = random.integers(0, 256)
        path.write_bytes(changed)
        try:
            reader = ImageFileReader(str(path), None)
        except EsrffsError:
            continue
        try:
            for member in walk(reader):
                assert member
            shape = data(reader).shape
            if np.prod(shape, dtype=float) < 1e6:
                values(reader)
        except EsrffsError:
            pass
        finally:
            reader.close()


def test_a_damaged_directory_costs_its_frame(tmp_path: Path) -> None:
    pages = numbers("u2", (4, Y, X))
    path = write(tmp_path / "a.tif", pages, **KINDS["lzw"])
    with tifffile.TiffFile(path) as file:
        tag = file.pages[2].tags[273].offset
    raw = bytearray(path.read_bytes())
    raw[tag + 8 : tag + 12] = b"\xff\xff\xff\x7f"  # its strips are told behind the end
    path.write_bytes(raw)
    reader = open_image(str(path), None)
    assert data(reader).shape == pages.shape
    with pytest.raises(DamagedError, match="frame 2: the file ends within a TIFF directory"):
        frame(reader, 2)
    np.testing.assert_array_equal(frame(reader, 3), pages[3])


def test_directories_in_a_circle(tmp_path: Path) -> None:
    pages = numbers("u2", (3, Y, X))
    path = write(tmp_path / "a.tif", pages, **LAYOUTS["one"])
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[2]
        following = last.offset + 2 + 12 * len(last.tags)
    raw = bytearray(path.read_bytes())
    raw[following : following + 4] = first.to_bytes(4, "little")
    path.write_bytes(raw)
    reader = open_image(str(path), None)
    np.testing.assert_array_equal(values(reader), pages)
    assert "circle" in end(reader)


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_pages_of_another_shape_or_type_end_the_stack(
    compression: str | None, tmp_path: Path
) -> None:
    pages = numbers("u2", (3, Y, X))
    others = [pages[2][:20], pages[2].astype("f4"), np.stack([pages[2]] * 3, -1)]
    for other in others:
        kinds = [*pages[:2], other, pages[2]]
        path = write(tmp_path / "a.tif", kinds, photometric="minisblack", compression=compression)
        reader = open_image(str(path), None)
        np.testing.assert_array_equal(values(reader), pages[:2])
        assert "page 2: has" in end(reader)


def test_pages_that_are_packed_in_other_ways_are_one_stack(tmp_path: Path) -> None:
    pages = numbers("u2", (4, Y, X))
    path = tmp_path / "a.tif"
    ways: list[dict[str, Any]] = [
        {},
        {"compression": "lzw"},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
    ]
    with tifffile.TiffWriter(path) as file:
        for page, way in zip(pages, ways, strict=True):
            file.write(page, metadata=None, photometric="minisblack", **way)
    np.testing.assert_array_equal(values(open_image(str(path), None)), pages)


def test_previews_are_left_out_and_told(tmp_path: Path) -> None:
    pages = numbers("u2", (2, Y, X))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, metadata=None, photometric="minisblack")
            file.write(page[::2, ::2], metadata=None, photometric="minisblack", subfiletype=1)
    reader = open_image(str(path), None)
    np.testing.assert_array_equal(values(reader), pages)
    assert "previews" in end(reader)


def test_tiles_that_were_never_written(tmp_path: Path) -> None:
    """As GDAL leaves them out: their value is the one that the file names, or 0."""
    tiles = (None if n % 3 else np.full((16, 16), n, "u2") for n in range(12))
    path = tmp_path / "a.tif"
    how = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, tiles, shape=(Y, X), dtype="u2", tile=(16, 16), **how)
    np.testing.assert_array_equal(values(open_image(str(path), None)), tifffile.imread(path))


def test_strips_that_were_never_written_are_no_zeros(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers("u1", (1, Y, X)), compression="lzw", **LAYOUTS["one"])
    with tifffile.TiffFile(path) as file:
        tags = [file.pages[0].tags[tag].offset + 8 for tag in (273, 279)]
    raw = bytearray(path.read_bytes())
    for tag in tags:
        raw[tag : tag + 4] = bytes(4)
    path.write_bytes(raw)
    with pytest.raises(DamagedError, match="never written"):
        values(open_image(str(path), None))


# Sizes


def declared(path: Path, width: int, height: int, compression: int, rows: int) -> Path:
    """A file of 1 KB that says how large its image is."""
    tags = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression)),
        *((262, 3, 1, 1), (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, 500)),
    ]
    path.write_bytes(by_hand(tags).ljust(1000, b"\0"))
    return path


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 50000])
@pytest.mark.parametrize("rows", [1, 300_000])
def test_what_no_file_can_hold(compression: int, rows: int, tmp_path: Path) -> None:
    path = declared(tmp_path / "a.tif", 300_000, 300_000, compression, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = open_image(str(path), None)
    assert data(reader).shape == (300_000, 300_000)
    with pytest.raises((DamagedError, TooLargeError)):
        reader.read(data(reader).address, Box((0, 0), (10, 300_000)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_more_frames_than_anybody_has(tmp_path: Path) -> None:
    """Where each of them lies is told to the daemon, which must not be made to swell."""
    path = tmp_path / "a.tif"
    pixel = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 200)]
    path.write_bytes(by_hand([*pixel, (279, 4, 1, 1), (32997, 4, 1, 2**32 - 1)]).ljust(999))
    with pytest.raises(UnsupportedError, match="planes"):
        open_image(str(path), None)
    text = b"ImageJ=1.5\nimages=4000000000\n\0"
    tags = [*pixel[:4], (270, 2, len(text), 300), *pixel[4:], (279, 4, 1, 1)]
    path.write_bytes(by_hand(tags).ljust(300) + text)
    with path.open("r+b") as file:
        file.truncate(5 << 30)  # sparse
    reader = open_image(str(path), None)
    assert data(reader).shape == (1 << 20, 1, 1)
    assert "does not hold all" in end(reader) or "not shown" in end(reader)


def test_a_size_of_nothing(tmp_path: Path) -> None:
    for width, height in ((0, 5), (5, 0)):
        path = declared(tmp_path / "a.tif", width, height, 1, 1)
        with pytest.raises(DamagedError, match="shape of an image"):
            open_image(str(path), None)


def test_an_unknown_compression_is_told(tmp_path: Path) -> None:
    reader = open_image(str(declared(tmp_path / "a.tif", 10, 10, 9, 10)), None)
    assert data(reader).shape == (10, 10)
    with pytest.raises(UnsupportedError, match="JBIG"):
        values(reader)


def test_a_packed_file_with_other_bytes_is_refused(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.tif", numbers("u2", (3, Y, X)), **LAYOUTS["one"])
    packed = bytearray(gzip.compress(plain.read_bytes()))
    packed[-8] ^= 1  # the checksum
    (tmp_path / "a.tif.gz").write_bytes(packed)
    with pytest.raises(DamagedError, match="its packed data are damaged: gzip"):
        open_image(str(tmp_path / "a.tif.gz"), None)


# Only what is wanted


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the strips and tiles that are unpacked."""
    found: list[int] = []
    unpack = Segments._unpacked

    def counted(self: Segments, number: int) -> Any:
        found.append(number)
        return unpack(self, number)

    monkeypatch.setattr(Segments, "_unpacked", counted)
    return found


def test_a_listing_unpacks_nothing_and_a_read_what_it_needs(
    unpacked: list[int], tmp_path: Path
) -> None:
    pages = numbers("u2", (3, Y, X))
    path = write(tmp_path / "a.tif", pages, **KINDS["zstd"])  # 3 × 2 tiles of (16, 32)
    reader = open_image(str(path), None)
    list(walk(reader))
    assert unpacked == []
    for rows in (slice(17, 20), slice(20, 31)):
        box = Box((1, rows.start, 3), (2, rows.stop, 30))
        found = reader.read(data(reader).address, box)[0]
        np.testing.assert_array_equal(found, pages[1, rows, 3:30])
    assert unpacked == [2, 3]


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_many_pages_are_found_once(
    compression: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 5000
    page = numbers("u2", (32, 32))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for number in range(count):
            file.write(
                page + number, photometric="minisblack", metadata=None, compression=compression
            )
    opens: list[object] = []
    init = PlainFile.__init__
    monkeypatch.setattr(PlainFile, "__init__", lambda *a: opens.append(a) or init(*a))
    watch = Stopwatch()
    reader = open_image(str(path), None)
    reader.listing("")
    info = data(reader)
    assert watch.seconds < 2
    assert info.shape == (count, 32, 32)
    assert isinstance(info.layout, OpaqueLayout if compression else FramesLayout)
    watch = Stopwatch()
    found = values(reader)
    assert watch.seconds < 5
    np.testing.assert_array_equal(found, page + np.arange(count, dtype="u2")[:, None, None])
    assert len(opens) == 1
    assert os.path.getsize(path) < 20 << 20
