"""A Spec scan as the header of an EDF file."""

from pathlib import Path

import pytest

from esrffs.encoders.edf import MAX_HEADER_NBYTES, within_limits
from esrffs.errors import NotFoundError
from esrffs.formats.spec.edf_header import MAX_COLUMN_NUMBERS, number
from esrffs.formats.spec.reader import SpecReader

FILE = """#F some.dat
#E 1
#D Sat Jan 01 00:00:00 2022
#C sic  User = me
#O0 th  two theta  chi

#S 7 ascan th 0 2 2 1
#D Sat Jan 01 00:00:01 2022
#C one
#C two
#G1 1 2 3 90 90 120
#P0 9 1.50 -3
#N 3
#L th  det/a  mon
0 10 1e5
1 11.5 2e5
2 12 -3e-7

#S 8 empty
#D Sat Jan 01 00:00:02 2022
"""


def header(tmp_path: Path, text: str, scan: int = 0) -> dict[str, str]:
    (tmp_path / "some.dat").write_text(text)
    reader = SpecReader(str(tmp_path / "some.dat"), None)
    try:
        [told] = reader.frame_headers(f"/{scan}/2/1")
        return dict(told)
    finally:
        reader.close()


def test_motors_and_counters_are_those_of_the_last_point(tmp_path: Path) -> None:
    told = header(tmp_path, FILE)
    assert told["motor_mne"].split() == ["th", "two_theta", "chi"]
    assert told["motor_pos"].split() == ["2", "1.5", "-3"]
    assert told["counter_mne"].split() == ["th", "det/a", "mon"]
    assert told["counter_pos"].split() == ["2", "12", "-3e-07"]
    assert told["point_no"] == "2"


def test_columns_and_lines_have_keys_of_their_own(tmp_path: Path) -> None:
    told = header(tmp_path, FILE)
    assert told["det/a"] == "10 11.5 12"
    assert told["th"] == "0 1 2"
    assert told["title"] == "ascan th 0 2 2 1"
    assert told["scan_no"] == "7"
    assert told["#D"] == "Sat Jan 01 00:00:01 2022"
    assert [told["#C"], told["#C_2"], told["#C_3"]] == ["one", "two", "sic  User = me"]
    assert told["sample_mne"] == "U0 U1 U2 U3 U4 U5"
    assert told["sample_pos"] == "1 2 3 90 90 120"
    assert not {"#L", "#N", "#P0", "#O0"} & set(told)


def test_a_scan_without_points_has_no_counters(tmp_path: Path) -> None:
    told = header(tmp_path, FILE, 1)
    assert told["title"] == "empty"
    assert not {"point_no", "counter_mne", "motor_mne"} & set(told)


def test_of_a_long_scan_the_columns_are_left_out(tmp_path: Path) -> None:
    points = MAX_COLUMN_NUMBERS // 3 + 1
    text = FILE.partition("\n0 10")[0] + "\n" + "1 2 3.25\n" * points
    told = header(tmp_path, text)
    assert told["counter_pos"] == "1 2 3.25"
    assert told["point_no"] == str(points - 1)
    assert not {"th", "mon"} & set(told)


def test_a_column_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    told = header(
        tmp_path, FILE.replace("#N 3", "#N 3\n#C x").replace("1 11.5 2e5", "1 11.5 2e999x")
    )
    assert "th" in told["counter_mne"].split()


def test_where_there_is_no_scan(tmp_path: Path) -> None:
    for address in ("/9", "", "/x"):
        (tmp_path / "some.dat").write_text(FILE)
        reader = SpecReader(str(tmp_path / "some.dat"), None)
        with pytest.raises(NotFoundError):
            reader.frame_headers(address)
        reader.close()


def test_what_is_too_large_is_no_header() -> None:
    assert within_limits([(("a", "b"),)] * 100)
    assert not within_limits([(("a", "b" * MAX_HEADER_NBYTES),)])
    assert not within_limits([(("a", "b" * (MAX_HEADER_NBYTES - 10)),)] * 100)


def test_numbers_read_back() -> None:
    for value in (0.1, 5.0, -0.0, 1e300, 2.5e-7, 1e22, float("nan")):
        assert repr(float(number(value))) == repr(value)
    assert number(5.0) == "5"
