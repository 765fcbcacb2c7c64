"""Members of a series: how often each file is opened, and that alike headers tell the same."""

import builtins
import os
from collections import Counter
from pathlib import Path

import fabio.cbfimage
import numpy as np
import pytest

from esrffs.formats.images.edf import EdfFrames
from esrffs.formats.images.series import ImageSeriesReader
from esrffs.formats.images.tree import DATA, MEASUREMENT
from esrffs.model import Box, DatasetInfo, Generation

COUNT = 6


def text(value: int, *, nbytes: int = 1024, shape: tuple[int, int] = (4, 8), **more: str) -> bytes:
    keys = {
        "HeaderID": "x",
        "ByteOrder": "LowByteFirst",
        "DataType": "UnsignedShort",
        "Dim_1": str(shape[1]),
        "Dim_2": str(shape[0]),
        "Size": str(2 * shape[0] * shape[1]),
        "counter_mne": "mon",
        "counter_pos": str(value),
        **more,
    }
    header = "{\n" + "".join(f"{key} = {word} ;\n" for key, word in keys.items())
    data = np.full(shape, value, "<u2").tobytes()
    return header.encode().ljust(nbytes - 2) + b"}\n" + data


def write(folder: Path, contents: list[bytes]) -> list[str]:
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"run_{number:03d}.edf"
        path.write_bytes(content)
        paths.append(str(path))
    return paths


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was opened, by name."""
    counts: Counter[str] = Counter()

    def counting(real):  # type: ignore[no-untyped-def]
        def opened(path, *arguments, **options):  # type: ignore[no-untyped-def]
            if isinstance(path, str) and os.path.basename(path).startswith("run_"):
                counts[os.path.basename(path)] += 1
            return real(path, *arguments, **options)

        return opened

    monkeypatch.setattr(os, "open", counting(os.open))
    monkeypatch.setattr(builtins, "open", counting(builtins.open))
    return counts


def describe(paths: list[str], heads: dict[int, bytes] | None = None) -> ImageSeriesReader:
    generations = [Generation.of(os.stat(path)) for path in paths]
    reader = ImageSeriesReader(paths, generations, heads)
    reader.listing("")
    reader.listing(MEASUREMENT)  # needs the headers of all
    return reader


def counters(reader: ImageSeriesReader) -> list[float]:
    members = {m.name: m for m in reader.listing(MEASUREMENT).members}
    info = members["mon"]
    assert isinstance(info, DatasetInfo)
    box = Box((0,), info.shape)
    return [float(value) for value in reader.read(info.address, box)]


def test_each_member_is_opened_once(tmp_path: Path, opens: Counter[str]) -> None:
    paths = write(tmp_path, [text(n) for n in range(COUNT)])
    reader = describe(paths)
    assert set(opens.values()) == {1}
    assert len(opens) == COUNT
    assert reader.take_opened() == set(range(COUNT))
    assert reader.take_opened() == set()
    assert counters(reader) == [*range(COUNT)]


@pytest.mark.parametrize("nbytes", [512, 1024, 4096])
def test_a_member_whose_first_bytes_are_known_is_not_opened(
    tmp_path: Path, opens: Counter[str], nbytes: int
) -> None:
    contents = [text(n, nbytes=nbytes) for n in range(COUNT)]
    paths = write(tmp_path, contents)
    reader = describe(paths, {n: content[:4096] for n, content in enumerate(contents)})
    assert opens == Counter()
    assert counters(reader) == [*range(COUNT)]
    assert reader.take_opened() == {0}


def test_a_header_longer_than_what_is_known(tmp_path: Path, opens: Counter[str]) -> None:
    contents = [text(n, nbytes=6144) for n in range(COUNT)]
    paths = write(tmp_path, contents)
    reader = describe(paths, {n: content[:4096] for n, content in enumerate(contents)})
    assert set(opens.values()) == {1}
    assert counters(reader) == [*range(COUNT)]


def test_headers_of_other_lengths_are_told_from_what_was_read(
    tmp_path: Path, opens: Counter[str]
) -> None:
    contents = [text(n, nbytes=1024 + 512 * (n % 2), extra="y" * n) for n in range(COUNT)]
    reader = describe(write(tmp_path, contents))
    assert set(opens.values()) == {1}
    assert counters(reader) == [*range(COUNT)]
    data = reader.read(DATA, Box((0, 0, 0), (COUNT, 4, 8)))
    assert [int(frame[0, 0]) for frame in data] == [*range(COUNT)]


@pytest.mark.parametrize(
    ("third", "why"),
    [
        (text(2, shape=(8, 4)), "has shape"),
        (text(2, DataType="SignedShort"), "has dtype"),
        (text(2) + text(3), "holds 2 frames"),
        (text(2)[:-1], "the file ends before its data do"),
        (text(2, Compression="Offset8"), ""),
        (b"x" * len(text(2)), "no EDF header"),
        (text(2).replace(b"}\n", b" \n"), "does not end"),
        (text(2).replace(b"LowByteFirst", b"SideByteSide"), "neither"),
    ],
)
def test_what_the_alike_are_told_is_what_each_would_be_told(
    tmp_path: Path, third: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [text(0), text(1), third, text(3)]
    paths = write(tmp_path, contents)
    heads = {n: content[:4096] for n, content in enumerate(contents)}
    found = describe(paths, heads).listing("")
    members = "esrffs.formats.images.series_members"
    monkeypatch.setattr(f"{members}._pattern", lambda *_: None)
    expected = describe(paths).listing("")
    assert why in found.end
    assert found.end == expected.end
    assert found.attributes == expected.attributes


def test_alike_headers_are_not_parsed_as_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path, [text(n) for n in range(COUNT)])
    made: list[str] = []
    init = EdfFrames.__init__

    def counted(self: EdfFrames, path: str, *arguments: object) -> None:
        made.append(path)
        init(self, path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(EdfFrames, "__init__", counted)
    describe(paths)
    assert made == [paths[0]]


def test_members_of_cbf_are_opened_once_but_the_first(tmp_path: Path, opens: Counter[str]) -> None:
    paths = []
    for number in range(COUNT):
        paths.append(str(tmp_path / f"run_{number}.cbf"))
        data = np.full((20, 30), number, np.int32)
        fabio.cbfimage.CbfImage(data=data).write(paths[-1])
    opens.clear()
    reader = describe(paths)
    assert {opens[os.path.basename(path)] for path in paths[1:]} == {1}
    data = reader.read(DATA, Box((0, 0, 0), (COUNT, 20, 30)))
    assert [int(frame[0, 0]) for frame in data] == [*range(COUNT)]
