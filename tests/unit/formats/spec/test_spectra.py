"""Spectra of multichannel analysers: as silx has them, unequal, damaged or not complete."""

from pathlib import Path

import numpy as np
import pytest

from esrffs.errors import DamagedError
from esrffs.model import Box, BrokenInfo
from tests.support.spec_files import (
    HEAD,
    TWO_ANALYSERS,
    named,
    names,
    opened,
    same_as_silx,
    scan,
    told,
    values,
    values_of,
)


def test_two_analysers_as_silx(tmp_path: Path) -> None:
    reader = opened(tmp_path, TWO_ANALYSERS)
    assert same_as_silx(tmp_path / "x.dat") > 30
    assert names(reader) == ["1.1", "2.1", "1.2"]
    assert values(reader, "1.1/instrument/mca_1/data").tolist() == [[10, 11, 12], [13, 14, 15]]
    assert values(reader, "1.1/measurement/mca_1/info/calibration").tolist() == [4, 5, 6]
    assert values(reader, "1.1/measurement/Epoch").tolist() == [909799771.25, 909799772.5]
    assert values(reader, "1.1/measurement/a%b").tolist() == [1e5, 0]
    assert np.signbit(values(reader, "1.1/measurement/a%b")[1])
    assert values(reader, "1.1/instrument/positioners/phi") == -4e-3


@pytest.mark.parametrize(
    ("lines", "broken"),
    [
        ([b"#@CALIB a b c"], ["calibration"]),
        ([b"#@CHANN 3 0"], ["channels"]),
        ([b"#@CHANN 3 0 2 0"], ["channels"]),
        ([b"#@CHANN 3 0 99999999999999999999999 1"], ["channels"]),
        ([b"#@CHANN 3 0 99999999999 1"], ["channels"]),
        ([b"#@CTIME 1 2"], ["preset_time", "live_time", "elapsed_time"]),
    ],
)
def test_an_odd_mca_header_spoils_that_member(
    tmp_path: Path, lines: list[bytes], broken: list[str]
) -> None:
    reader = opened(tmp_path, scan(*lines, b"#L a", b"@A 1 2 3", b"5"))
    members = named(reader, "1.1/instrument/mca_0")
    assert [member.name for member in members if isinstance(member, BrokenInfo)] == broken
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("chann", "expected"),
    [
        (b"#@CHANN 3 4 6 1", [4, 5, 6]),
        (b"#@CHANN 9 4 12 1", [4, 5, 6]),
        (b"#@CHANN 2 4 6 2", [4, 6, 8]),
        (b"#C none", [0, 1, 2]),
    ],
)
def test_channels_as_long_as_the_spectrum(
    tmp_path: Path, chann: bytes, expected: list[int]
) -> None:
    reader = opened(tmp_path, HEAD + scan(chann, b"#L a", b"5", b"@A 1 2 3"))
    assert values(reader, "1.1/instrument/mca_0/channels").tolist() == expected
    assert same_as_silx(tmp_path / "x.dat")


def test_spectra_of_unequal_length(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a", b"@A 1 2 3", b"5", b"@A 1 2\\", b"#C", b"6"))
    info = reader.find("1.1/instrument/mca_0/data")
    assert info.shape == (2, 3)
    assert reader.read(info.address, Box((0, 0), (1, 3))).tolist() == [[1, 2, 3]]
    with pytest.raises(DamagedError, match=r"spectrum 1: 2 channels, the first one has 3"):
        reader.read(info.address, Box((1, 0), (2, 1)))
    reader = opened(tmp_path, scan(b"#L a", b"@A 1 2 3", b"5", b"@A 1 2", b"6"))
    info = reader.find("1.1/instrument/mca_0/data")
    assert reader.read(info.address, Box((0, 1), (1, 3))).tolist() == [[2, 3]]
    with pytest.raises(DamagedError, match=r"spectrum 1: 2 channels, the first one has 3"):
        values_of(reader, info)


def test_a_word_in_a_spectrum_spoils_that_spectrum(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a", b"@A 1 2 3", b"5", b"@A 1 x 3", b"6"))
    info = reader.find("1.1/instrument/mca_0/data")
    assert reader.read(info.address, Box((0, 0), (1, 3))).tolist() == [[1, 2, 3]]
    with pytest.raises(DamagedError, match=r"scan 1\.1, mca_0, spectrum 1: .*not a number"):
        values_of(reader, info)


def test_spectra_here_and_there(tmp_path: Path) -> None:
    """As many as points, wherever they stand, is silx's rule; two for three points is nobody's."""
    content = HEAD + scan(b"#L a", b"5", b"@A 1", b"6", b"@A 2", b"@A 3", b"7")
    reader = opened(tmp_path, content)
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[1], [2], [3]]
    assert same_as_silx(tmp_path / "x.dat")
    opened(tmp_path, HEAD + scan(b"#L a", b"@A 1", b"5", b"@A 2", b"@A 3"))
    assert same_as_silx(tmp_path / "x.dat")  # three analysers
    reader = opened(tmp_path, content.replace(b"@A 1\n", b""))
    assert isinstance(named(reader, "1.1/instrument")[2], BrokenInfo)
    assert values(reader, "1.1/measurement/a").tolist() == [5, 6, 7]


def test_spectra_without_points(tmp_path: Path) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#@CHANN 2 0 1 1", b"@A 1 2", b"@A 3 4"))
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[1, 2], [3, 4]]
    assert same_as_silx(tmp_path / "x.dat")


def test_a_text_in_a_spectrum_is_named_with_its_line(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a", b"@A 1 2 3", b"5", b"@A 1 x 3", b"6"))
    with pytest.raises(DamagedError, match=r"spectrum 1: line 5 \('@A 1 x 3'\): 'x' is not a"):
        values(reader, "1.1/instrument/mca_0/data")


MCA = HEAD + b"#S 1 mca\n#@MCA %8C\n#@CHANN 3 0 2 1\n"


@pytest.mark.parametrize("end", [b"", b" ", b"\n", b"\r\n", b" \t", b"\r"])
@pytest.mark.parametrize("spectra", [[b"@A 1 2 3"], [b"@A 1 2 3", b"@A 4\\\n5 6"]])
def test_a_spectrum_is_complete_with_all_its_channels(
    tmp_path: Path, spectra: list[bytes], end: bytes
) -> None:
    reader = opened(tmp_path, MCA + b"\n".join(spectra) + end)
    data = values(reader, "1.1/instrument/mca_0/data")
    assert data.ravel().tolist() == [1, 2, 3, 4, 5, 6][: 3 * len(spectra)]
    assert "left_out" not in told(reader)


@pytest.mark.parametrize("last", [b"@A 1 2", b"@A 1 2 3 4", b"@A 1 2 3\\", b"@A", b"@A 1\\\n2"])
def test_a_spectrum_that_may_go_on_is_left_out(tmp_path: Path, last: bytes) -> None:
    reader = opened(tmp_path, MCA + b"@A 7 8 9\n" + last)
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[7, 8, 9]]
    assert told(reader)["left_out"].endswith("the last has no line end, so that it may go on")


def test_the_last_spectrum_of_several_analysers(tmp_path: Path) -> None:
    two = HEAD + scan(b"#@CHANN 2 0 1 1", b"#@CHANN 3 0 2 1", b"#N 1", b"#L a", b"5")
    reader = opened(tmp_path, two + b"@A 1 2\n@B 1 2 3\n6\n@A 3 4\n@B 4 5 6")
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[1, 2], [3, 4]]
    assert values(reader, "1.1/instrument/mca_1/data").tolist() == [[1, 2, 3], [4, 5, 6]]
    reader = opened(tmp_path, two + b"@A 1 2\n@B 1 2 3\n6\n@A 3 4\n@B 4 5")
    assert values(reader, "1.1/instrument/mca_1/data").tolist() == [[1, 2, 3]]


def test_a_spectrum_before_its_point_waits_for_it(tmp_path: Path) -> None:
    """What comes after it shows that it is whole; without, "12" may become "123"."""
    start = HEAD + scan(b"#@CHANN 2 0 1 1", b"#N 1", b"#L a", b"@A 1 2", b"5")
    reader = opened(tmp_path, start + b"@A 3 4")
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[1, 2]]
    reader = opened(tmp_path, start + b"@A 3 4\n")
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"#@CHANN 3 0", "number, first, last and step"),
        (b"#@CHANN a b c d", "number, first, last and step"),
        (b"#@CHANN 3 0 2 0", "number, first, last and step"),
        (b"#@CHANN 3 0 99999999999 1", "channels"),
        (b"#@CHANN 3 99999999999999999999 99999999999999999999 1", "number, first, last"),
        (b"#@CALIB 1 x 3", "'x' is not a number"),
        (b"#@CTIME 1 2", "not three times"),
        (b"#@CTIME 1 2 3\n#@CTIME 1 2 3", "none for mca_2"),
    ],
)
def test_errors_of_mca_headers_are_sentences(tmp_path: Path, line: bytes, text: str) -> None:
    reader = opened(tmp_path, scan(line, b"#L a", b"@A 1", b"@A 2", b"@A 3", b"5"))
    group = named(reader, "1.1/instrument/mca_2")
    broken = [member for member in group if isinstance(member, BrokenInfo)]
    assert broken
    assert all(text in member.reason for member in broken)
