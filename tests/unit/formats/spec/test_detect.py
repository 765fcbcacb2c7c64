"""Which files are taken for Spec, and that those are the files that the reader reads."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esrffs.formats.detect import detect_format
from esrffs.formats.spec.reader import is_spec
from esrffs.model import Format
from tests.support.spec_files import HEAD, opened, scan

fuzz = settings(suppress_health_check=list(HealthCheck), database=None)


def taken(content: bytes) -> Format | None:
    return detect_format(lambda at, count: content[at : at + count], len(content), "x.dat")


SPEC = {
    "usual": HEAD + scan(b"#L a", b"1"),
    "scan first": scan(b"#L a", b"1"),
    "scan without more": b"#S 1 t\n1 2\n",
    "no title": b"#S 5\n#D Sat Oct 31 12:13:46 1998\n",
    "just begun": b"#F x.dat\n#E 909799770\n",
    "keys of a beamline": b"#S 1 Scan File\n# Exposure = 0.3\n#Sample = a\n#N 1\n#L q\n1\n",
    "a command of many lines": b"#S 1 a e=array([\n 0.1, 0.2,\n 0.3])\n#N 1\n#L q\n1\n",
    "a remark first": b"#F x\n# made by hand\n#E 909799770\n#D Sat Oct 31 12:12:20 1998\n",
    "Latin-1": b"#F \xe9\n#E 909799770\n" + scan(b"#L \xe9", b"1"),
    "Windows": (HEAD + scan(b"#L a", b"1")).replace(b"\n", b"\r\n"),
    "DABAX": b"#F f0.dat\n#UT Scattering factors\n#UIDL f0\n#UD\n\n#S  1  H\n#N 1\n#L f0\n 1.5\n",
    "numbered comments": b"#F a.dat\n#U00\n#U01 From a table\n\n#S 1 K\n#N 1\n#L Z\n1\n",
    "cut in the first scan": (HEAD + scan(b"#L a", b"1"))[:-12],
}
OTHER = {
    "empty": b"",
    "blank": b"\n\n",
    "log": b"2024-01-01 12:00 started\n#S 1 t\n",
    "a scan inside a log": b"started\n#S 1 t\n#D Sat Oct 31 12:13:46 1998\n1 2\n",
    "columns": b"# x y\n1 2\n3 4\n",
    "CSV": b"#S 1,2,3\n# F\n1,2,3\n",
    "comment S": b"#S = 5\nprint(1)\n",
    "comment F": b"#F is for foo\nimport os\n",
    "a note": b"#F is the key for fax",
    "a note of a line": b"#F is the key for fax\n",
    "a note of keys": b"#F is the key for fax\n#D is the key for date\n",
    "a note on a scan": b"#S 5 was the good one\n",
    "just begun": b"#F /data/x.dat",
    "its first line is being written": b"#C x\n#F /data/x.dat",
    "old Macintosh": (HEAD + scan(b"#L a", b"1")).replace(b"\n", b"\r"),
    "old Macintosh, edited": (HEAD + scan(b"#L a", b"1")).replace(b"\n", b"\r") + b"\n",
    "columns named by #S": b"#S 1 sample\n# q I\n1 2\n3 4\n",
    "comment F twice": b"#F 1\n#Something else\nx = 1\n",
    "markdown": b"# Title\n\n#S 1 is a tag\n\nSome text.\n",
    "shell": b"#!/bin/sh\n#F usage\nls\n",
    "python": b"#!/usr/bin/env python\n# D\n#C comment\nimport numpy\n",
    "NUL": b"#F x\n#E 909799770\n\0\0\0",
    "dates": b"#D Sat Oct 31 12:13:46 1998\n1 2 3\n",
    "EDF": b"{\nHeaderID = EH:000001:000000:000000 ;\n",
}


@pytest.mark.parametrize("case", SPEC)
def test_recognised(case: str) -> None:
    assert is_spec(SPEC[case][:4096], "scan.dat")


@pytest.mark.parametrize("case", OTHER)
def test_not_recognised(case: str) -> None:
    assert not is_spec(OTHER[case][:4096], "notes.txt")


LONG = HEAD.split(b"\n", 1)[1] + b"#O2 a  b\n" * 500
LONG_SPEC = {
    "long header, no #F": LONG + scan(b"#L a", b"1"),
    "long remarks": b"#F f0.dat\n" + b"#UD text\n" * 700 + scan(b"#L a", b"1"),
    "long first line": b"#S 1 ascan " + b"x" * 5000 + b"\n#N 1\n#L a\n1\n",
    "long second line": b"#F x\n#O0 " + b"m  " * 2000 + b"\n#E 909799770\n",
}
LONG_OTHER = {
    "comments": b"# comment\n" * 800 + b"1 2\n",
    "header without scans": LONG,
    "one line": b"#" * 9000,
    "keys": b"#F is for fax\n" + b"#D is for date\n" * 500,
}


@pytest.mark.parametrize("case", [*LONG_SPEC, *LONG_OTHER])
def test_headers_longer_than_what_is_looked_at_first(tmp_path: Path, case: str) -> None:
    content = {**LONG_SPEC, **LONG_OTHER}[case]
    assert taken(content) == ("spec" if case in LONG_SPEC else None)
    if case in LONG_SPEC:
        opened(tmp_path, content).close()


@pytest.mark.parametrize("case", SPEC)
def test_what_is_recognised_is_read(tmp_path: Path, case: str) -> None:
    opened(tmp_path, SPEC[case]).close()


PIECES = st.sampled_from(
    [
        *(b"#S 1 a", b"#S", b"#F x", b"#F", b"#E 909799770", b"#N 1", b"#L a", b"#C x", b"# k = v"),
        *(b"#D Sat Oct 31 12:12:20 1998", b"1 2", b"x", b"@A 1", b"#O0 th", b"", b" ", b"\\"),
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r", b"", b" \n"])


@settings(fuzz, max_examples=1000)
@given(st.lists(st.builds(bytes.__add__, PIECES, ENDS), max_size=8).map(b"".join))
def test_whatever_is_recognised_is_read(tmp_path: Path, content: bytes) -> None:
    """What the reader would refuse is passed through."""
    if taken(content) == "spec":
        opened(tmp_path, content).close()


@given(st.binary(max_size=300) | st.text("#SFEDLNO 01\n", max_size=60).map(str.encode))
def test_recognition_never_fails(head: bytes) -> None:
    assert is_spec(head, "") in (True, False)


def test_sources_of_this_project_are_not_spec() -> None:
    for path in Path(__file__).parents[4].rglob("*.*"):
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".txt"}:
            assert not is_spec(path.read_bytes()[:4096], "extensionless"), path
