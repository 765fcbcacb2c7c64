"""Spec files, against silx (the oracle of names and values) and against the text itself."""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import silx.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esrffs.encoders.json_text import to_json
from esrffs.errors import DamagedError, NotFoundError
from esrffs.formats.spec.reader import SpecReader, is_spec
from esrffs.model import Box, BrokenInfo, DatasetInfo, GroupInfo, LinkInfo, Member
from tests.support.reader_contract import ReaderContract, whole
from tests.support.real_data import DATA

REAL = [DATA / "oleg.dat", DATA / "31oct98.dat"]

HEAD = b"#F /data/x.dat\n#E 909799770\n#D Sat Oct 31 12:12:20 1998\n#O0 th  tth  chi\n#O1 phi\n\n"

TWO_ANALYSERS = HEAD + (
    b"#S 1 ascan  th 0 1  2 1\n#D Sat Oct 31 12:13:46 1998\n#P0 1.5 2 3\n#P1 -4e-3\n"
    b"#G1 1 2 3 90 90 120\n#G3 1 0 0 0 1 0 0 0 1\n"
    b"#@MCA %3C\n#@CHANN 3 0 2 1\n#@CHANN 3 5 7 1\n#@CALIB 1 2 3\n#@CALIB 4 5 6\n"
    b"#@CTIME 1 2 3\n#@CTIME 4 5 6.5\n#N 3\n#L th  a/b  Epoch\n"
    b"@A 0 1\\\n 2\n@A 10 11 12\n0.25 1e5 909799771.25\n"
    b"#C in between\n@A 3 4 5\n@A 13 14\\\n 15\n0.5 -0 909799772.5\n"
    b"\n#S 2 loopscan\n#N 2\n#L a  b\n1 2\n3 4\n#C Scan aborted\n\n#S 1 again\n#N 1\n#L c\n7\n"
)


def opened(tmp_path: Path, content: bytes) -> SpecReader:
    path = tmp_path / "x.dat"
    path.write_bytes(content)
    return SpecReader(str(path), None)


def scan(*lines: bytes, number: int = 1) -> bytes:
    return b"#S %d t\n" % number + b"".join(line + b"\n" for line in lines)


def named(reader: SpecReader, path: str) -> list[Member]:
    """The members of the group at this path."""
    return list(reader.listing(reader.find(path).address).members)


def names(reader: SpecReader, path: str = "") -> list[str]:
    return [member.name for member in named(reader, path)]


def values(reader: SpecReader, path: str) -> np.ndarray:
    return values_of(reader, reader.find(path))


def values_of(reader: SpecReader, info: object) -> np.ndarray:
    assert isinstance(info, DatasetInfo)
    return reader.read(info.address, whole(info))


def same_as_silx(path: Path) -> int:
    """Every name, value, link and attribute; how many datasets there are."""
    logging.getLogger("silx").setLevel(logging.CRITICAL)
    reader, count = SpecReader(str(path), None), 0

    def compare_attributes(address: str, expected: object) -> None:
        told = reader.attributes(address)
        attributes = {key: value[()] for key, value in expected.attrs.items()}
        if not address:
            attributes["file_time"] = datetime.fromtimestamp(path.stat().st_mtime).isoformat()
        assert told == to_json(attributes)

    def compare(address: str, expected: object) -> None:
        nonlocal count
        listing = reader.listing(address)
        assert [member.name for member in listing.members] == list(expected.keys())
        compare_attributes(address, expected)
        for member in listing.members:
            match member:
                case LinkInfo():
                    link = expected.get(member.name, getlink=True)
                    assert (member.path, member.file) == (link.path, None)
                    found = reader.find(member.path)
                    assert isinstance(found, GroupInfo) == (member.kind == "group")
                case GroupInfo():
                    compare(member.address, expected[member.name])
                case DatasetInfo():
                    count += 1
                    compare_attributes(member.address, expected[member.name])
                    assert bool(member.attributes) == bool(dict(expected[member.name].attrs))
                    ours = values_of(reader, member)
                    theirs = np.asarray(expected[member.name][()])
                    assert ours.shape == theirs.shape, member
                    if ours.dtype.kind == "U":
                        assert ours.tolist() == theirs.tolist()
                    else:
                        assert ours.dtype == (np.int64 if theirs.dtype.kind == "i" else np.float64)
                        np.testing.assert_array_equal(np.float32(ours), np.float32(theirs))
                case _:
                    pytest.fail(f"{member} is not in silx's tree")

    with redirect_stdout(io.StringIO()), silx.io.open(str(path)) as file:
        assert isinstance(file, silx.io.spech5.SpecH5)
        compare("", file)
    return count


class TestGenerated(ReaderContract):
    @pytest.fixture
    def reader(self, tmp_path: Path) -> Iterator[SpecReader]:
        reader = opened(tmp_path, TWO_ANALYSERS)
        yield reader
        reader.close()


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
class TestReal(ReaderContract):
    @pytest.fixture
    def reader(self, path: Path) -> Iterator[SpecReader]:
        if not path.exists():
            pytest.skip("no real data here")
        reader = SpecReader(str(path), None)
        yield reader
        reader.close()

    @pytest.mark.usefixtures("reader")
    def test_same_as_silx(self, path: Path) -> None:
        assert same_as_silx(path) > 300

    @pytest.mark.usefixtures("reader")
    def test_recognised(self, path: Path) -> None:
        assert is_spec(path.read_bytes()[:4096], path.name)


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


PLAIN = st.sampled_from(["%d", "%g", "%.8f", "%.3e", "%+.2E", "%.17g"])
NUMBER = st.builds(
    lambda form, x: form % x, PLAIN, st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == x)
)
# silx drops the blank of a motor "a b" at the end of a line: two letters or more after a blank
LABEL = st.from_regex(r"[A-Za-z][A-Za-z0-9_/%]{0,5}( [A-Za-z0-9_]{2,4})?", fullmatch=True)


@st.composite
def spec_files(draw: st.DrawFn, numbers: st.SearchStrategy[str]) -> tuple[bytes, list[list]]:
    """A regular file, and for each scan its labels and its columns as text."""
    motors = draw(st.lists(LABEL, max_size=10, unique_by=lambda label: label.replace("/", "%")))
    text = "#F x\n#E 909799770\n#D Sat Oct 31 12:12:20 1998\n"
    groups = [motors[i : i + 4] for i in range(0, len(motors), 4)]
    text += "".join(f"#O{i} {'  '.join(group)}\n" for i, group in enumerate(groups)) + "\n"
    expected = []
    for number in draw(st.lists(st.integers(0, 30), min_size=1, max_size=4)):
        # a motor that is scanned, or not; more labels
        labels = draw(
            st.lists(
                LABEL | st.sampled_from(motors or ["th"]),
                min_size=1,
                max_size=6,
                unique_by=lambda label: label.replace("/", "%"),
            )
        )
        text += f"#S {number} {draw(st.sampled_from(['ascan  th 0 1  2 1', 'ct', '99 x']))}\n"
        if draw(st.booleans()):
            text += draw(st.sampled_from(["#D Sat Oct 31 12:13:46 1998\n", "#D yesterday\n"]))
        if draw(st.booleans()):
            text += "".join(
                f"#P{i} {' '.join(draw(NUMBER) for _ in group)}\n" for i, group in enumerate(groups)
            )
        if draw(st.booleans()):
            text += "#G1 " + " ".join(draw(NUMBER) for _ in range(6)) + "\n"
        analysers, length = draw(st.sampled_from([(0, 0), (1, 3), (2, 4)]))
        text += f"#N {len(labels)}\n#L {'  '.join(labels)}\n"
        rows = []
        for _ in range(draw(st.integers(0 if not analysers else 1, 5))):
            rows.append([draw(numbers) for _ in labels])
            for _ in range(analysers):
                text += "@A " + " ".join(draw(NUMBER) for _ in range(length)) + "\n"
            text += draw(st.sampled_from([" ", "  "])).join(rows[-1]) + "\n"
            text += draw(st.sampled_from(["", "", "#C why not\n"]))
        text += "\n"
        expected.append([labels, list(zip(*rows, strict=True)) or [()] * len(labels)])
    return text.encode(), expected


fuzz = settings(suppress_health_check=list(HealthCheck), database=None)


@settings(fuzz, max_examples=100)
@given(spec_files(NUMBER))
def test_regular_files_as_silx(tmp_path: Path, made: tuple[bytes, list[list]]) -> None:
    (tmp_path / "x.dat").write_bytes(made[0])
    assert same_as_silx(tmp_path / "x.dat")


ODD = st.sampled_from(["nan", "inf", "-inf", "NaN", "-0", ".5", "5.", "1e-320", "+7", "1E+300"])


@settings(fuzz, max_examples=100)
@given(spec_files(NUMBER | ODD))
def test_every_number_is_what_is_written(tmp_path: Path, made: tuple[bytes, list[list]]) -> None:
    reader = opened(tmp_path, made[0])
    scans = reader.listing("").members
    assert len(scans) == len(made[1])
    for group, (labels, columns) in zip(scans, made[1], strict=True):
        measurement = reader.listing(reader.listing(group.address).members[3].address)
        infos = [member for member in measurement.members if isinstance(member, DatasetInfo)]
        assert [info.name for info in infos] == [label.replace("/", "%") for label in labels]
        for info, column in zip(infos, columns, strict=True):
            expected = np.array([float(token) for token in column], np.float64)
            assert values_of(reader, info).tobytes() == expected.tobytes()
    reader.close()


@settings(fuzz, max_examples=300)
@given(st.data())
def test_bytes_changed_at_random_give_our_failures_only(tmp_path: Path, data: object) -> None:
    content = bytearray(TWO_ANALYSERS)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        odd = st.sampled_from(b"\n#@\\ SLOP0-\xe9\0_") | st.integers(0, 255)
        content[at : at + data.draw(st.integers(0, 3))] = bytes([data.draw(odd)])
    try:
        reader = opened(tmp_path, bytes(content))
    except DamagedError:
        return

    def go(address: str) -> None:
        try:
            members = reader.listing(address).members
        except DamagedError:
            return
        for member in members:
            if isinstance(member, GroupInfo):
                go(member.address)
            elif isinstance(member, DatasetInfo):
                try:
                    array = values_of(reader, member)
                except DamagedError:
                    continue
                assert (array.shape, array.dtype) == (member.shape, member.dtype)

    go("")
    reader.close()


def test_a_file_cut_anywhere_serves_what_is_complete(tmp_path: Path) -> None:
    full = opened(tmp_path, TWO_ANALYSERS)
    complete = {}

    def go(reader: SpecReader, address: str, path: str, seen: dict[str, np.ndarray]) -> None:
        for member in reader.listing(address).members:
            if isinstance(member, GroupInfo):
                go(reader, member.address, f"{path}/{member.name}", seen)
            elif isinstance(member, DatasetInfo):
                seen[f"{path}/{member.name}"] = values_of(reader, member)

    go(full, "", "", complete)
    full.close()
    for size in range(len(TWO_ANALYSERS)):
        try:
            reader = opened(tmp_path, TWO_ANALYSERS[:size])
        except DamagedError:
            assert size < 15
            continue
        seen: dict[str, np.ndarray] = {}
        go(reader, "", "", seen)
        reader.close()
        for path, array in seen.items():
            if "measurement" in path or path.endswith("/data"):
                np.testing.assert_array_equal(array, complete[path][: len(array)])
    assert set(seen) == set(complete)


def test_a_last_line_without_its_end_is_no_point(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a", b"1", b"2") + b"34")
    assert values(reader, "1.1/measurement/a").tolist() == [1, 2]


def test_a_label_used_twice_gives_both_columns(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a  b  a", b"1 2 3", b"4 5 6"))
    first, _, second = named(reader, "1.1/measurement")
    assert (first.name, second.name) == ("a", "a")
    assert values_of(reader, first).tolist() == [1, 4]
    assert values_of(reader, second).tolist() == [3, 6]


def test_latin_1_spoils_nothing(tmp_path: Path) -> None:
    content = b"#F caf\xe9\n#O0 \xe9t\xe9\n\n" + scan(b"#P0 5", b"#L \xe9  b", b"1 2")
    reader = opened(tmp_path, content.replace(b"#S 1 t", b"#S 1 \xe9chantillon"))
    assert values(reader, "1.1/title") == "échantillon"
    assert names(reader, "1.1/measurement") == ["\udce9", "b"]
    assert os.fsencode(names(reader, "1.1/instrument/positioners")[0]) == b"\xe9t\xe9"
    assert values(reader, "1.1/measurement/b") == [2]


ROW = b"#F x\n\n" + scan(b"#N 2", b"#L a  b", b"1 2")


@pytest.mark.parametrize("last", [b"3 4 ", b" 3 4\t", b"3 4  \r"])
def test_a_last_point_that_lacks_its_line_end_only(tmp_path: Path, last: bytes) -> None:
    assert values(opened(tmp_path, ROW + last), "1.1/measurement/b").tolist() == [2, 4]
    assert same_as_silx(tmp_path / "x.dat")


@pytest.mark.parametrize("last", [b"3 4", b"3 ", b"3 4 5 ", b"#N 2 ", b"@A 3 4 "])
def test_a_last_line_that_may_go_on_does_not_count(tmp_path: Path, last: bytes) -> None:
    assert values(opened(tmp_path, ROW + last), "1.1/measurement/b").tolist() == [2]


@pytest.mark.parametrize("end", [b"KB IC Y", b"A B", b"Th X ", b"Th Xy"])
def test_motors_that_end_in_a_single_letter(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(b"#F x\n#O0 Two Theta  " + end + b"\n#O1 A X  chi\n\n" + scan(b"#P0 1 2 3 4"))
    assert same_as_silx(path)


def test_line_ends_of_windows(tmp_path: Path) -> None:
    reader = opened(tmp_path, TWO_ANALYSERS.replace(b"\n", b"\r\n"))
    assert names(reader, "1.1/measurement")[:3] == ["th", "a%b", "Epoch"]
    assert values(reader, "1.1/measurement/th").tolist() == [0.25, 0.5]
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not any("\r" in line for line in values(reader, "1.1/instrument/specfile/scan_header"))


def test_numbers_silx_cannot_read(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a  b", b"1.5D+3 nan", b"1d2 -inf"))
    assert values(reader, "1.1/measurement/a").tolist() == [1500, 100]
    np.testing.assert_array_equal(values(reader, "1.1/measurement/b"), [np.nan, -np.inf])


@pytest.mark.parametrize("word", [b"foo", b"1_0", b"1.2.3", b"0x10", b"1e", b"-"])
def test_a_word_spoils_its_column_only(tmp_path: Path, word: bytes) -> None:
    reader = opened(tmp_path, scan(b"#L a  b", b"1 2", word + b" 4"))
    assert values(reader, "1.1/measurement/b").tolist() == [2, 4]
    with pytest.raises(DamagedError, match=r"scan 1\.1, a: .*is not a number"):
        values(reader, "1.1/measurement/a")
    info = reader.find("1.1/measurement/a")
    assert reader.read(info.address, Box((0,), (1,))).tolist() == [1]


def test_blanks_after_the_last_label(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L   a  b    ", b"1 2"))
    assert names(reader, "1.1/measurement") == ["a", "b"]


def test_more_motors_than_positions(tmp_path: Path) -> None:
    """Nobody knows whose the positions are: only motors that were scanned are left."""
    reader = opened(tmp_path, HEAD + scan(b"#P0 1 2 3", b"#L tth", b"5"))
    assert names(reader, "1.1/instrument/positioners") == ["tth"]
    assert values(reader, "1.1/instrument/positioners/tth").tolist() == [5]
    assert same_as_silx(tmp_path / "x.dat")


def test_no_positions_at_all(tmp_path: Path) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#L a", b"5"))
    assert values(reader, "1.1/instrument/positioners/th") == np.inf
    assert same_as_silx(tmp_path / "x.dat")


def test_a_position_that_is_no_number(tmp_path: Path) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#P0 1 x 3", b"#P1 4", b"#L a", b"5"))
    kinds = [type(member) for member in named(reader, "1.1/instrument/positioners")]
    assert kinds == [DatasetInfo, BrokenInfo, DatasetInfo, DatasetInfo]


def test_blanks_after_positions_count_as_in_silx(tmp_path: Path) -> None:
    """Its defect, and its numbers: see `spec_headers.positions`."""
    reader = opened(tmp_path, HEAD + scan(b"#P0 1 2 3  ", b"#P1 4", b"#L a", b"5"))
    assert values(reader, "1.1/instrument/positioners/phi") == 0
    assert same_as_silx(tmp_path / "x.dat")


@pytest.mark.parametrize("line", [b"#L a  b", b"#L", b"#C Scan aborted after 0 points.", b""])
def test_scans_without_points(tmp_path: Path, line: bytes) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#P0 1 2 3", b"#P1 4", line) + scan(b"#L c", b"9"))
    assert values(reader, "1.2/measurement/c") == [9]
    for member in named(reader, "1.1/measurement"):
        assert values_of(reader, member).shape == (0,)
    assert values(reader, "1.1/instrument/positioners/chi") == 3


@pytest.mark.parametrize("start", [b"#S", b"#S ", b"#S 7", b"#S  7 x", b"#S x", b"#S\t7 x"])
def test_odd_scan_lines_spoil_nothing(tmp_path: Path, start: bytes) -> None:
    reader = opened(tmp_path, HEAD + start + b"\n#L a\n1\n" + scan(b"#L c", b"9"))
    assert names(reader)[1] == "1.1"
    assert values(reader, f"{names(reader)[0]}/measurement/a") == [1]
    assert values(reader, "1.1/measurement/c") == [9]


def test_comments_and_blank_lines_first(tmp_path: Path) -> None:
    content = b"\n# made by hand\n\n" + HEAD + scan(b"#L a", b"1")
    assert is_spec(content, "x")
    assert values(opened(tmp_path, content), "1.1/measurement/a") == [1]


def test_two_file_headers(tmp_path: Path) -> None:
    content = HEAD + scan(b"#P0 1 2 3", b"#P1 4", b"#L a", b"1") + b"#F y\n#O0 mono\n\n"
    reader = opened(tmp_path, content + scan(b"#P0 8", b"#L a", b"2"))
    assert names(reader, "1.1/instrument/positioners") == ["th", "tth", "chi", "phi"]
    assert names(reader, "1.2/instrument/positioners") == ["mono"]
    assert values(reader, "1.2/instrument/specfile/file_header").tolist() == ["#F y", "#O0 mono"]
    assert same_as_silx(tmp_path / "x.dat")


def test_a_file_header_alone(tmp_path: Path) -> None:
    reader = opened(tmp_path, HEAD)
    assert is_spec(HEAD, "x")
    assert reader.listing("").members == ()
    assert b'"NXroot"' in reader.attributes("")


def test_many_columns_and_long_numbers(tmp_path: Path) -> None:
    """silx gives nothing beyond 512 columns, and its buffer for one number has 100 bytes."""
    labels = b"  ".join(b"c%d" % i for i in range(700))
    row = b" ".join([b"%d" % i for i in range(699)] + [b"0" * 300 + b"7"])
    reader = opened(tmp_path, scan(b"#L " + labels, row))
    assert values(reader, "1.1/measurement/c600") == [600]
    assert values(reader, "1.1/measurement/c699") == [7]


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


def test_a_file_larger_than_what_is_looked_at_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path, TWO_ANALYSERS)
    for chunk in (7, 64, 100, 333):
        monkeypatch.setattr("esrffs.formats.spec.scan_index.CHUNK", chunk)
        assert same_as_silx(tmp_path / "x.dat") > 30


def test_growth_is_not_seen_and_a_cut_is_an_error(tmp_path: Path) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#L a", b"1", b"2"))
    with open(tmp_path / "x.dat", "ab") as file:
        file.write(b"3\n" + scan(b"#L a", b"1", number=2))
    assert values(reader, "1.1/measurement/a").tolist() == [1, 2]
    info = reader.find("1.1/measurement/a")
    os.truncate(tmp_path / "x.dat", 50)
    with pytest.raises(DamagedError, match="cut short"):
        values_of(reader, info)


def test_failures_of_opening(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        SpecReader(str(tmp_path / "none"), None)
    with pytest.raises(DamagedError):
        SpecReader(str(tmp_path), None)
    for content in (b"", b"#F x", b"some text\n", b"\0" * 5000):
        with pytest.raises(DamagedError, match="not a Spec file"):
            opened(tmp_path, content)


@pytest.mark.parametrize("address", ["1", "/9", "/0/99", "/0/0/0", "/-1", "/0/", "/x", "//"])
def test_addresses_that_nobody_gave(tmp_path: Path, address: str) -> None:
    reader = opened(tmp_path, TWO_ANALYSERS)
    with pytest.raises(NotFoundError):
        reader.listing(address)
    with pytest.raises(NotFoundError):
        reader.read("/0", Box((), ()))


def test_listing_parses_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = opened(tmp_path, TWO_ANALYSERS.replace(b"@A", b"#A"))
    monkeypatch.setattr("esrffs.formats.spec.scan_index._floats", lambda _: pytest.fail("parsed"))
    monkeypatch.setattr(
        "esrffs.formats.spec.scan_index.SpecFile.survey",
        lambda *_: pytest.fail("surveyed"),
    )
    assert names(reader) == ["1.1", "2.1", "1.2"]
    monkeypatch.undo()
    monkeypatch.setattr("esrffs.formats.spec.scan_index._floats", lambda _: pytest.fail("parsed"))
    assert names(reader, "1.1/measurement") == ["th", "a%b", "Epoch"]


def test_strings_survive_numpy_save(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a", b"1").replace(b" t\n", b"\n"))
    for path in ("1.1/title", "1.1/start_time", "1.1/instrument/specfile/file_header"):
        stream = io.BytesIO()
        np.save(stream, values(reader, path), allow_pickle=False)
        stream.seek(0)
        assert np.load(stream).tolist() in ("", [])


def test_thousands_of_scans_are_listed_without_doing_things_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = opened(tmp_path, HEAD + b"".join(scan(b"#L a", b"1", number=i) for i in range(9)))
    spans = []
    for name in ("lines", "survey"):
        read = getattr(reader._file, name)
        noting = lambda span, read=read: spans.append(span) or read(span)  # noqa: E731
        monkeypatch.setattr(reader._file, name, noting)
    layouts = set()
    for i in range(9):
        names(reader, f"{i}.1")
        infos = [*named(reader, f"{i}.1"), *named(reader, f"{i}.1/instrument/positioners")]
        layouts |= {id(info.layout) for info in infos if isinstance(info, DatasetInfo)}
    assert len(spans) == len(set(spans)) == 10
    assert len(layouts) == 1
