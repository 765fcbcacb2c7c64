"""Spec files, against silx (the oracle of names and values) and against the text itself."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esrffs.errors import DamagedError, NotFoundError
from esrffs.formats.spec.reader import SpecReader, is_spec
from esrffs.model import Box, BrokenInfo, DatasetInfo, GroupInfo
from tests.support.reader_contract import ReaderContract
from tests.support.real_data import DATA
from tests.support.spec_files import (
    HEAD,
    NUMBER,
    ODD,
    TWO_ANALYSERS,
    fuzz,
    named,
    names,
    opened,
    same_as_silx,
    scan,
    spec_files,
    values,
    values_of,
)

REAL = [DATA / "oleg.dat", DATA / "31oct98.dat"]


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


@settings(fuzz, max_examples=100)
@given(spec_files(NUMBER))
def test_regular_files_as_silx(tmp_path: Path, made: tuple[bytes, list[list]]) -> None:
    (tmp_path / "x.dat").write_bytes(made[0])
    assert same_as_silx(tmp_path / "x.dat")


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
