"""`formats/images/begun_file`: files of which some bytes are known, and members that are TIFF."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile

from esrffs.formats.images import begun_file
from esrffs.formats.images.begun_file import (
    BegunFile,
    BegunTiff,
    first_directory,
    read_tiff_pieces,
)
from esrffs.formats.images.series import ImageSeriesReader
from esrffs.formats.images.tree import DATA
from esrffs.model import Box, FramesLayout, Generation

COUNT = 6
PLACES = ((0, 10), (495, 20), (400, 1000), (990, 50), (1000, 5), (7000, 1))


def test_a_begun_file_is_as_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = os.urandom(1000)
    path.write_bytes(content)
    for known in (0, 1, 500, 1000, 2000):
        begun = BegunFile(str(path), 1000, (content + b"?" * 1000)[:known])
        with begun:
            for offset, count in PLACES:
                assert begun.seek(offset) == offset
                wanted, got = content[offset : offset + count], b""
                while len(got) < len(wanted) and (more := begun.read(count - len(got))):
                    got += more
                assert got == wanted
                assert begun.tell() == offset + len(got)
            assert begun.is_open == (known < 1000)


def test_pieces_of_a_tiff_are_as_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = os.urandom(1000)
    path.write_bytes(content)
    for pieces in ({0: content[:100], 480: content[480:600]}, {0: content}, {0: b""}):
        with BegunTiff(str(path), 1000, pieces) as begun:
            for offset, count in PLACES:
                assert begun.pread(offset, count) == content[offset : offset + count]
                begun.seek(offset)
                assert begun.read(count) == content[offset : offset + count]
            assert begun.is_open == (len(pieces[0]) < 1000)


def test_where_the_first_directory_is() -> None:
    assert first_directory(b"II*\0\x08\0\0\0") == 8
    assert first_directory(b"MM\0*\0\0\1\0") == 256
    assert first_directory(b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0") == 16
    assert first_directory(b"II+\0\x08\0\0\0" + b"\xff" * 8) is None
    assert first_directory(b"II*") is None
    assert first_directory(b"") is None


def write(folder: Path, **options: object) -> list[str]:
    paths = []
    for number in range(COUNT):
        paths.append(str(folder / f"run_{number}.tif"))
        data = np.full((200, 100), number, "<u2")
        tifffile.imwrite(paths[-1], data, **options)
    return paths


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was opened by `begun_file`, by name."""
    counts: Counter[str] = Counter()
    real = os.open

    def counted(path: str, *arguments: int) -> int:
        counts[os.path.basename(path)] += 1
        return real(path, *arguments)

    monkeypatch.setattr(begun_file.os, "open", counted)
    return counts


def at_the_end(path: str) -> None:
    """Move the first directory behind the data, where most programs write it."""
    content = Path(path).read_bytes()
    offset = first_directory(content)
    assert offset is not None
    count = int.from_bytes(content[offset : offset + 2], "little")
    directory = content[offset : offset + 2 + 12 * count + 4]
    moved = content[:4] + len(content).to_bytes(4, "little") + content[8:] + directory
    Path(path).write_bytes(moved)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}])
def test_members_that_are_tiff_are_opened_once(
    tmp_path: Path, opens: Counter[str], options: dict[str, object], end: bool
) -> None:
    paths = write(tmp_path, **options)
    if end and "bigtiff" not in options:
        for path in paths:
            at_the_end(path)
    reader = ImageSeriesReader(paths, [Generation.of(os.stat(path)) for path in paths])
    listing = reader.listing("/scan_0/instrument/detector_0")
    assert {opens[os.path.basename(path)] for path in paths[1:]} == {1}
    assert reader.take_opened() == set(range(COUNT))
    data = reader.read(DATA, Box((0, 0, 0), (COUNT, 200, 100)))
    assert [int(frame[0, 0]) for frame in data] == [*range(COUNT)]
    layout = listing.members[0].layout  # type: ignore[union-attr]
    assert isinstance(layout, FramesLayout) == ("compression" not in options)
    reader.close()


def test_what_ends_a_series_of_tiff(tmp_path: Path) -> None:
    for number, change in enumerate(("shape", "frames", "short", "other", "gone")):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths = write(folder)
        third = Path(paths[2])
        match change:
            case "shape":
                tifffile.imwrite(third, np.zeros((3, 3), "u2"))
            case "frames":
                tifffile.imwrite(third, np.zeros((2, 200, 100), "u2"))
            case "short":
                third.write_bytes(third.read_bytes()[:20])
            case "other":
                third.write_bytes(b"x" * 1000)
            case "gone":
                third.unlink()
        reader = ImageSeriesReader(paths)
        end = reader.listing("").end
        reader.close()
        assert end.startswith("run_2.tif: "), change


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (found,) = read_tiff_pieces([str(tmp_path / "nothing")], 100)
    assert isinstance(found, FileNotFoundError)
