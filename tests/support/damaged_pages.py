"""What a damaged array gives through a mount: each page as it should be, or an error."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

PAGE = 4096


def check(path: Path, array: npt.NDArray[Any], bad: npt.NDArray[np.bool_]) -> None:
    """Each page without a bad element is what it should be, each other one is an error.

    So it is asked for in order, backwards, and (without pages) element by element.
    """
    size = path.stat().st_size
    content = array.tobytes()
    head = size - len(content)
    missing = np.repeat(bad.reshape(-1), array.dtype.itemsize)
    for start in (*range(0, size, PAGE), *range((size - 1) // PAGE * PAGE, -1, -PAGE)):
        descriptor = os.open(path, os.O_RDONLY)
        first, last = max(start - head, 0), max(min(start + PAGE, size) - head, 0)
        try:
            if missing[first:last].any():
                with pytest.raises(OSError, match="Input/output"):
                    os.pread(descriptor, PAGE, start)
            else:
                got = os.pread(descriptor, PAGE, start)
                assert got[max(head - start, 0) :] == content[first:last], start
        finally:
            os.close(descriptor)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    itemsize = array.dtype.itemsize
    flat = bad.reshape(-1)
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    try:
        for index in {0, len(flat) - 1, *edges.tolist(), *(edges - 1).tolist()}:
            place = head + index * itemsize
            if flat[index]:
                with pytest.raises(OSError, match="Input/output"):
                    os.pread(descriptor, itemsize, place)
            else:
                got = os.pread(descriptor, itemsize, place)
                assert got == content[index * itemsize : (index + 1) * itemsize]
    finally:
        os.close(descriptor)
