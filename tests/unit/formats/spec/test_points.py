"""Which lines of a Spec scan are points and spectra, where silx is no oracle: by construction."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esrffs.errors import DamagedError
from esrffs.model import Box, BrokenInfo
from tests.support.spec_files import (
    HEAD,
    columns,
    named,
    names,
    opened,
    same_as_silx,
    scan,
    told,
    values,
)
from tests.support.stopwatch import Stopwatch

fuzz = settings(suppress_health_check=list(HealthCheck), database=None)

POINTS = [b"10 1 2", b"11 3 4", b"12 5 6"]


STRAY = {
    "four numbers, more than points": [b"1.5 2.5 3.5 4.5"] * 9,
    "three numbers": [b"1 0 0", b"0 1 0", b"0 0 1"],
    "an array": [b"   0.1, 0.2, 0.3,"] * 7 + [b"   0.9])"],
    "words": [b"two words"] * 5,
    "three words": [b"only three words"] * 5,
    "one number": [b"7"],
    "an indented comment": [b"  #C 1 2"],
    "mail": [b"@home 1 2", b"@someone: look at this"],
    "NUL": [b"\0\0\0"],
}
CASES = {
    f"{what}, {'before' if before else 'after'} #L": (lines, before)
    for what, lines in STRAY.items()
    for before in (True, False)
    if before or what != "three numbers"
}


@pytest.mark.parametrize("case", CASES)
def test_stray_lines_decide_nothing(tmp_path: Path, case: str) -> None:
    lines, before = CASES[case]
    header = [b"#N 3", b"#L th  det  mon"]
    body = [*lines, *header, *POINTS] if before else [*header, POINTS[0], *lines, *POINTS[1:]]
    reader = opened(tmp_path, scan(b"#C offsets:", *body))
    assert columns(reader) == {"th": [10, 11, 12], "det": [1, 3, 5], "mon": [2, 4, 6]}
    assert told(reader)["left_out"].startswith(f"{len(lines)} line")


@st.composite
def strays(draw: st.DrawFn) -> tuple[bytes, list[str], np.ndarray, list[int]]:
    """A scan with stray lines; its labels, its points, and the numbers of the stray lines."""
    count = draw(st.integers(2, 6))
    array = draw(
        st.lists(
            st.lists(st.floats(-1e9, 1e9), min_size=count, max_size=count), min_size=1, max_size=8
        )
    )
    word = st.sampled_from(["1.5", "-2", "nan", "1e5", "x", "offsets", "[[0.1,", "\xe9", "\u00b5m"])
    label = st.sampled_from(["", " ", "#C a remark", "#R 1", "#N"])

    def stray(width: int) -> bool:
        return width != count

    stray_line = st.lists(word, min_size=1, max_size=9).filter(lambda words: stray(len(words)))
    words_only = st.lists(st.sampled_from("abc"), min_size=count, max_size=count)
    separator = draw(st.sampled_from(["  ", "\t", " ", "   "]))
    labels = [f"c{i}" for i in range(count)]
    lines = ["#F x", "#E 909799770", "", "#S 1 ascan  th 0 1"]
    at: list[int] = []

    def insert(*, anything: bool) -> None:
        for _ in range(draw(st.integers(0, 4))):
            if draw(st.booleans()):
                lines.append(draw(label))
            else:
                kinds = stray_line | words_only
                kinds = kinds | st.lists(word, min_size=1, max_size=9) if anything else kinds
                lines.append(draw(st.sampled_from(["", "  "])) + " ".join(draw(kinds)))
                at.append(len(lines))

    insert(anything=True)
    lines += [f"#N {count}", "#L " + separator.join(labels)]
    for i, row in enumerate(array):
        if i:
            insert(anything=False)
        lines.append(draw(st.sampled_from([" ", "\t", "  "])).join(map(repr, row)))
    insert(anything=False)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return (end.join(lines) + end).encode(), labels, np.array(array), at


@settings(fuzz, max_examples=200)
@given(strays())
def test_columns_among_stray_lines(
    tmp_path: Path, made: tuple[bytes, list[str], np.ndarray, list[int]]
) -> None:
    text, labels, array, at = made
    reader = opened(tmp_path, text)
    got = columns(reader)
    assert list(got) == labels
    np.testing.assert_array_equal(np.array(list(got.values())).T, array)
    if at:
        assert told(reader)["left_out"].startswith(f"{len(at)} line")
    else:
        assert "left_out" not in told(reader)
    reader.close()


def test_what_is_left_out_is_told_with_its_lines(tmp_path: Path) -> None:
    lines = [b"#L a  b", b"1 2", b"3", b"4 5 6", b"#C", b"x" * 99, b"7 8"]
    reader = opened(tmp_path, HEAD + scan(*lines))
    assert columns(reader) == {"a": [1, 7], "b": [2, 8]}
    start = HEAD.count(b"\n") + 4
    assert told(reader) == {
        "NX_class": "NXentry",
        "left_out": "3 lines without #, neither points of 2 numbers nor spectra: "
        f"lines {start}-{start + 1}, {start + 3} of the file, first '3'",
    }


def test_many_lines_are_told_in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esrffs.formats.spec.scan_index.CHUNK", 100)
    reader = opened(tmp_path, scan(b"#L a  b", *[b"x", b"1 2"] * 1000, b"y" * 300))
    text = told(reader)["left_out"]
    assert text.startswith("1001 lines")
    assert "lines 3, 5, 7" in text
    assert "41 and 981 more" in text
    assert len(text) < 300


def test_line_numbers_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = opened(tmp_path, scan(b"#L a", *[b"1" * (i % 7) for i in range(200)]))
    content = (tmp_path / "x.dat").read_bytes()
    starts = [0] + [at + 1 for at, byte in enumerate(content[:-1]) if byte == 10]
    monkeypatch.setattr("esrffs.formats.spec.scan_index.CHUNK", 100)
    for i in [*range(202), 5, 150, 7, 151, *range(201, 0, -1)]:
        assert reader._file.line_number(starts[i]) == i + 1


def test_nothing_is_told_of_a_regular_scan(tmp_path: Path) -> None:
    assert told(opened(tmp_path, scan(b"#L a  b", b"1 2", b"", b" ", b"#C x"))) == {
        "NX_class": "NXentry"
    }


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        ([b"#N 3", b"#L th det mon"], [b"1 2 3"], ["th", "det", "mon"]),
        ([b"#N 3", b"#L th\tdet\tmon"], [b"1 2 3"], ["th", "det", "mon"]),
        ([b"#N 3", b"#L th  det\tmon"], [b"1 2 3"], ["th", "det", "mon"]),
        ([b"#N 3", b"#L\tTwo Theta\t det\t\tmon"], [b"1 2 3"], ["Two Theta", "det", "mon"]),
        ([b"#N 2", b"#L Two Theta  det"], [b"1 2"], ["Two Theta", "det"]),
        ([b"#N 1", b"#L Two Theta"], [b"1"], ["Two Theta"]),
        ([b"#N 2", b"#L Two Theta"], [], ["Two", "Theta"]),
        ([b"#L th det mon"], [b"1 2 3"], ["th", "det", "mon"]),
        ([b"#L Two Theta"], [b"1", b"2"], ["Two Theta"]),
        ([b"#L Two Theta"], [], ["Two Theta"]),
        ([b"#L th\tdet"], [b"1 2"], ["th", "det"]),
        ([b"#N 4", b"#L a  b", b"#L c  d"], [b"1 2 3 4"], ["a", "b", "c", "d"]),
        ([b"#N 2", b"#L a  b", b"#N 3", b"#L c  d  e"], [b"1 2 3"], ["c", "d", "e"]),
        ([b"#N 2", b"#L a  b", b"#L a  b"], [b"1 2"], ["a", "b"]),
        ([b"#N two", b"#L a  b"], [b"1 2"], ["a", "b"]),
        ([b"#N 2 2", b"#L a  b"], [b"1 2"], ["a", "b"]),
    ],
)
def test_labels(
    tmp_path: Path, header: list[bytes], rows: list[bytes], expected: list[str]
) -> None:
    reader = opened(tmp_path, scan(*header, *rows))
    assert list(columns(reader)) == expected
    for i, name in enumerate(expected):
        column = [float(row.split()[i]) for row in rows]
        assert values(reader, f"1.1/measurement/{name}").tolist() == column
    assert "left_out" not in told(reader)


def test_more_labels_than_n(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#N 2", b"#L a  b  c", b"1 2", b"3 4"))
    assert values(reader, "1.1/measurement/b").tolist() == [2, 4]
    with pytest.raises(DamagedError, match="a point has 2 values, this is column 3"):
        reader.find("1.1/measurement/c")
    reader = opened(tmp_path, scan(b"#N 2", b"#L a  b  c", b"1 2 3", b"4 5 6"))
    assert columns(reader) == {"a": [1, 4], "b": [2, 5], "c": [3, 6]}


def test_fewer_labels_than_n(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#N 3", b"#L a  b", b"1 2 3", b"4 5 6"))
    assert columns(reader) == {"a": [1, 4], "b": [2, 5]}
    assert told(reader)["without_label"] == "column 3 of 3"


@pytest.mark.parametrize("row", [b"1 2", b"1 2 3 4", b"1,5 2,5 3,5"])
def test_a_header_that_fits_no_line_is_an_error(tmp_path: Path, row: bytes) -> None:
    """Rather than columns without points: nobody knows which number has which label."""
    reader = opened(tmp_path, HEAD + scan(b"#P0 1 2 3", b"#P1 4", b"#L a  b  th", row, row))
    assert [type(member) for member in named(reader, "1.1/measurement")] == [BrokenInfo] * 3
    with pytest.raises(DamagedError, match=r"#L has 3 labels, but line 11 of the file, .* '1"):
        reader.find("1.1/measurement/a")
    assert values(reader, "1.1/instrument/positioners/th") == 1


def test_remarks_in_a_scan_without_points_are_no_error(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"#L a  b", b"#C offsets", b"1 2 3", b"4 5 6"))
    assert columns(reader) == {"a": [], "b": []}
    assert told(reader)["left_out"].startswith("2 lines")


def test_points_after_other_labels_are_left_out(tmp_path: Path) -> None:
    lines = [b"#N 2", b"#L a  b", b"1 2", b"#N 2", b"#L c  d", b"3 4", b"#L a  b", b"5 6"]
    reader = opened(tmp_path, scan(*lines))
    assert columns(reader) == {"a": [1, 5], "b": [2, 6]}
    assert "line 7 of" in told(reader)["left_out"]


def test_numbers_without_labels(tmp_path: Path) -> None:
    reader = opened(tmp_path, scan(b"1 2", b"3 4", b"5"))
    assert names(reader, "1.1/measurement") == []
    assert told(reader)["without_label"] == "columns 1-2 of 2"
    assert told(reader)["left_out"].startswith("1 line ")


@pytest.mark.parametrize("word", [b"foo", b"1_0", b"1.2.3", b"0x10", b"1e", b"-", b"12:30:01"])
def test_a_text_costs_its_column_and_is_named_with_its_line(tmp_path: Path, word: bytes) -> None:
    rows = [b"1 2 3"] * 2000 + [b"4 " + word + b" 5", b"6 7 8"]
    reader = opened(tmp_path, HEAD + scan(b"#N 3", b"#L a  b  c", *rows))
    assert values(reader, "1.1/measurement/a")[-2:].tolist() == [4, 6]
    assert values(reader, "1.1/measurement/c")[-2:].tolist() == [5, 8]
    number = HEAD.count(b"\n") + 3 + 2001
    line = f"4 {word.decode()} 5"
    with pytest.raises(
        DamagedError, match=rf"scan 1\.1, b: line {number} \('{line}'\): '.*' is not a number"
    ):
        values(reader, "1.1/measurement/b")
    info = reader.find("1.1/measurement/b")
    assert reader.read(info.address, Box((0,), (2000,))).tolist() == [2] * 2000


def test_columns_of_texts(tmp_path: Path) -> None:
    rows = [b"2020-09-13 12:00:%02d %d" % (i, i) for i in range(5)]
    rows += [b"2020-09-13 12:00:06 foo", b"a remark there"]
    reader = opened(tmp_path, scan(b"#N 3", b"#L day  time  a", *rows))
    assert reader.find("1.1/measurement/a").shape == (5,)
    assert values(reader, "1.1/measurement/a").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(DamagedError, match="'2020-09-13' is not a number"):
        values(reader, "1.1/measurement/day")
    assert told(reader)["left_out"].startswith("2 lines")


def test_a_long_line_is_quoted_in_short(tmp_path: Path) -> None:
    row = b" ".join([b"1"] * 500 + [b"x" * 500])
    reader = opened(tmp_path, scan(b"#L " + b"  ".join(b"c%d" % i for i in range(501)), row))
    with pytest.raises(DamagedError) as caught:
        values(reader, "1.1/measurement/c500")
    assert len(str(caught.value)) < 250


def test_a_last_point_that_may_go_on_is_told(tmp_path: Path) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#N 2", b"#L a  b", b"1 2") + b"3 4")
    assert columns(reader) == {"a": [1], "b": [2]}
    assert told(reader)["left_out"].endswith("the last has no line end, so that it may go on")


@pytest.mark.parametrize("cut", [b"12 5", b"12 5 ", b"12 5 6", b"@A 1 2", b"12 5 1e-"])
def test_a_scan_that_was_stopped_within_a_line(tmp_path: Path, cut: bytes) -> None:
    header = [b"#N 3", b"#L th  det  mon"]
    content = HEAD + scan(*header, *POINTS[:2]) + cut + scan(*header, b"0 1 2", number=2)
    content += b"9 9 9 " + HEAD + scan(*header, b"3 4 5", number=3)
    reader = opened(tmp_path, content)
    assert names(reader) == ["1.1", "2.1", "3.1"]
    assert values(reader, "1.1/measurement/th").tolist() == [10, 11]
    assert values(reader, "1.1/measurement/mon").tolist() == [2, 4]
    assert told(reader)["left_out"].startswith("1 line")
    assert columns(reader, "2.1/measurement") == {"th": [0, 9], "det": [1, 9], "mon": [2, 9]}
    assert columns(reader, "3.1/measurement") == {"th": [3], "det": [4], "mon": [5]}


@pytest.mark.parametrize(
    "line", [b"#C see #S 5 of today", b"see #S 5 of today", b"5 #S 5", b"5 #Scan 5 x", b"a 5 #F x"]
)
def test_a_mark_within_text_is_no_scan(tmp_path: Path, line: bytes) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#N 1", b"#L a", b"1", line, b"2"))
    assert names(reader) == ["1.1"]
    assert columns(reader) == {"a": [1, 2]}


def test_scans_are_found_across_what_is_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = HEAD + b"".join(
        scan(b"#L a", b"1") + b"7.5 6 " + b"5" * (i % 60) + b" " for i in range(1, 150)
    )
    content += scan(b"#L a", b"1")
    for chunk in (1 << 20, 100, 333):
        monkeypatch.setattr("esrffs.formats.spec.scan_index.CHUNK", chunk)
        assert len(names(opened(tmp_path, content))) == 150


def test_many_marks_in_one_line_take_no_time(tmp_path: Path) -> None:
    content = HEAD + scan(b"#L a", b"1" * 3_000_000 + b"#S 1 x" * 500_000)
    stopwatch = Stopwatch()
    assert len(names(opened(tmp_path, content))) < 9
    assert stopwatch.seconds < 3


def test_many_label_lines_take_no_time(tmp_path: Path) -> None:
    lines = [b"#L a%d  b" % i for i in range(30_000)]
    stopwatch = Stopwatch()
    reader = opened(tmp_path, scan(*lines, b"1 2", *lines, b"3 4"))
    assert columns(reader) == {"a29999": [1, 3], "b": [2, 4]}
    assert stopwatch.seconds < 10


def test_words_that_are_numbers_to_python(tmp_path: Path) -> None:
    rows = [b"nan INF 1.0D+03", b"-inf NaN 1d-2", b"+.5 5. 1E+300", b"0017 -0 infinity"]
    got = columns(opened(tmp_path, scan(b"#N 3", b"#L a  b  c", *rows)))
    np.testing.assert_array_equal(got["a"], [np.nan, -np.inf, 0.5, 17])
    np.testing.assert_array_equal(got["b"], [np.inf, np.nan, 5, 0])
    np.testing.assert_array_equal(got["c"], [1000, 0.01, 1e300, np.inf])


def test_thousands_of_columns(tmp_path: Path) -> None:
    count = 5000
    labels = b"  ".join(b"c%d" % i for i in range(count))
    row = b" ".join(b"%d" % i for i in range(count))
    reader = opened(tmp_path, scan(b"#N %d" % count, b"#L " + labels, row, b"1 2 3", row))
    assert len(names(reader, "1.1/measurement")) == count
    assert values(reader, "1.1/measurement/c4999").tolist() == [4999, 4999]


def test_backslashes_with_blanks_behind(tmp_path: Path) -> None:
    reader = opened(tmp_path, HEAD + scan(b"#@CHANN 4 0 3 1", b"@A 1 2 \\  ", b" 3 4"))
    assert values(reader, "1.1/instrument/mca_0/data").tolist() == [[1, 2, 3, 4]]


def test_regular_scans_are_as_silx_has_them(tmp_path: Path) -> None:
    opened(tmp_path, HEAD + scan(b"#N 2", b"#L a  b", b"#C x", b"1 2", b"#R 1", b"3 4"))
    assert same_as_silx(tmp_path / "x.dat")
