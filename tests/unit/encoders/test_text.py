"""Lines of text: what each element looks like."""

import numpy as np
import pytest

from esrffs.encoders import text
from tests.support.encoded_files import described


@pytest.mark.parametrize(
    ("array", "lines"),
    [
        (np.array("scan 1"), b"scan 1\n"),
        (np.array(["a", "", "µm"]), "a\n\nµm\n".encode()),
        (np.array([["a", "b"], ["c", "d"]]), b"a\nb\nc\nd\n"),
        (np.array([b"a ", b"\xb5m"]), "a \nµm\n".encode()),
        (np.array("bad \udcff"), "bad ÿ\n".encode()),
        (np.array(1.1, ">f4"), b"1.1\n"),
        (np.array(0.1), b"0.1\n"),
        (np.array(7, "u1"), b"7\n"),
        (np.array(True), b"True\n"),
        (np.array(1 - 2j), b"1-2j\n"),
        (np.array(float("nan")), b"nan\n"),
    ],
)
def test_lines(array: np.ndarray, lines: bytes) -> None:
    assert text.accepts(described(array))
    assert text.lines(array) == lines


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((), "V4"), np.zeros((), [("x", "f8")])])
def test_what_has_no_text(array: np.ndarray) -> None:
    assert not text.accepts(described(array))
