"""Spec files, and what silx reads of them."""

import io
import json
import logging
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import silx.io
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from esrffs.encoders.json_text import to_json
from esrffs.formats.spec.reader import SpecReader
from esrffs.model import DatasetInfo, GroupInfo, LinkInfo, Member
from tests.support.reader_contract import whole

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


ODD = st.sampled_from(["nan", "inf", "-inf", "NaN", "-0", ".5", "5.", "1e-320", "+7", "1E+300"])


def columns(reader: SpecReader, path: str = "1.1/measurement") -> dict[str, list[float]]:
    """The counters of a scan that has no spectra."""
    return {name: values(reader, f"{path}/{name}").tolist() for name in names(reader, path)}


def told(reader: SpecReader, name: str = "1.1") -> dict[str, str]:
    return json.loads(reader.attributes(reader.find(name).address))
