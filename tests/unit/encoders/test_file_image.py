"""Segments: any range of a file is what the whole file has there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.encoders.file_image import ArrayRun, FileImage, Interleaved, Literal, Records, needed
from tests.support.encoded_files import file_bytes

VALUES = np.arange(12, dtype="<u2") * 1000


def rows(first: int, stop: int, arrays: list[np.ndarray]) -> bytes:
    assert [len(array) for array in arrays] == [2 * (stop - first)]
    return b"".join(b"%6d\n" % value for value in arrays[0][::2])


PARTS = {
    "literal": (Literal(b"header"), b"header"),
    "empty": (Literal(b""), b""),
    "run": (ArrayRun(0, 2, 9, VALUES.dtype), VALUES[2:9].tobytes()),
    "swapped": (ArrayRun(0, 0, 12, np.dtype(">u2")), VALUES.astype(">u2").tobytes()),
    "cast": (ArrayRun(0, 0, 12, np.dtype("<f8")), VALUES.astype("<f8").tobytes()),
    "records": (
        Records(4, 7, rows, ((0, 2),), offset=4),
        b"".join(b"%6d\n" % value for value in VALUES[4::2]),
    ),
    "frames": (
        Interleaved(3, 5, lambda k: b"fr %d\n" % k, 0, 4, VALUES.dtype),
        b"".join(b"fr %d\n" % k + VALUES[4 * k : 4 * k + 4].tobytes() for k in range(3)),
    ),
}


@given(st.lists(st.sampled_from(sorted(PARTS)), max_size=6), st.data())
def test_any_range(names: list[str], data: st.DataObject) -> None:
    image = FileImage(tuple(PARTS[name][0] for name in names))
    whole = b"".join(PARTS[name][1] for name in names)
    assert image.nbytes == len(whole)
    assert file_bytes(image, VALUES) == whole
    start = data.draw(st.integers(0, len(whole) + 5))
    stop = data.draw(st.integers(start, len(whole) + 9))
    assert file_bytes(image, VALUES, start=start, stop=stop) == whole[start:stop]


@pytest.mark.parametrize("name", ["run", "cast", "records", "frames"])
def test_no_more_is_asked_for_than_is_needed(name: str) -> None:
    image = FileImage((PARTS[name][0],))
    for start in range(image.nbytes):
        asked = sum(
            run.stop - run.first
            for piece in image.pieces(start, start + 1)
            for run in needed(piece)
        )
        assert asked <= 2
