"""Lines of nothing but numbers are taken at once: the index is the one of line by line."""

import re
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.formats.spec import points
from esrffs.formats.spec.points import MAX_NUMBERS, index_scan

LINES = r"""1 2.5 -3e-7\n|4 5 6\r\n| 7\t8 9 \n|\n| \r\n|1 2\n|1 2 nan\n
|1 - 2\n|1 2 x\n|1_0 2 3\n|#C no\n
|#L a  b  c\n|#L d  e  f\n|@A 1 2 3\n|@A 1 \\\n|4 5\\\n|1 2 3e\n|1 2 3\r\r\n"""
LINE = st.sampled_from(
    [one.encode().decode("unicode_escape").encode() for one in LINES.replace("\n", "").split("|")]
)


def index(content: bytes, at: int = 0) -> points.ScanIndex:
    """In two parts of whole lines."""
    half = content.rfind(b"\n", 0, max(at, 0)) + 1
    return index_scan([(100, content[:half]), (100 + half, content[half:])])


@given(st.lists(LINE, max_size=20), st.sampled_from([b"", b"1 2 3", b"1 2 3 "]), st.integers(0, 90))
def test_at_once_is_as_line_by_line(lines: list[bytes], end: bytes, at: int) -> None:
    content = b"#S 1 x\n#N 3\n#L a  b  c\n" + b"".join(lines) + end
    found = index(content, at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "PLAIN_LINES", re.compile(rb"(?!)"))
        expected = index(content)
    assert expected.numbers is None or not len(expected.points)
    for field in fields(expected):
        if field.name != "numbers":
            one, other = getattr(found, field.name), getattr(expected, field.name)
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, (
                field
            )
    if found.numbers is not None:
        rows = [content[start - 100 : stop - 100].split() for start, stop in found.points.tolist()]
        assert found.numbers.tolist() == [[float(word) for word in row] for row in rows]


def test_numbers_are_kept_of_regular_scans_that_are_not_too_long() -> None:
    regular = b"#S 1 x\n#L a  b\n" + b"1 2\n3 4e5\n"
    assert index(regular).numbers.tolist() == [[1, 2], [3, 4e5]]
    assert index(regular + b"5 x\n").numbers is None
    assert index(b"#S 1 x\n#L a\n" + b"1\n" * (MAX_NUMBERS + 1)).numbers is None
