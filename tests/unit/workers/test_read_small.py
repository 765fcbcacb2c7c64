"""Several small arrays by one call of a worker."""

from pathlib import Path

import numpy as np
import pytest

from esrffs.model import Box, Generation
from esrffs.workers import server
from esrffs.workers.protocol import ReaderSpec

SPEC = "#F x\n#E 1\n\n" + "".join(
    f"#S {number} ascan th 0 2 2 1\n#N 2\n#L th  mon\n0 {number}\n1 {number}.5\n\n"
    for number in range(1, 4)
)


WHOLE = Box((0,), (2,))


def subject(folder: Path) -> ReaderSpec:
    path = folder / "x.dat"
    path.write_text(SPEC)
    generation = Generation.of(path.stat())
    return ReaderSpec((str(path),), (generation,), "spec", series=False, boundary=None)


def test_each_array_or_none(tmp_path: Path) -> None:
    addresses = ["/0/3/1", "/2/3/1", "/9/3/1", "/1/3/0"]
    found = server.read_small(subject(tmp_path), [(address, WHOLE) for address in addresses])
    expected = [[1, 1.5], [3, 3.5], None, [0, 1]]
    for content, values in zip(found, expected, strict=True):
        assert values is None or content == np.array(values, np.float64).tobytes()
        assert values is not None or content is None


def test_what_takes_too_long_is_left_to_be_asked_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SMALL_ARRAYS_SECONDS", -1.0)
    assert server.read_small(subject(tmp_path), [("/0/3/1", WHOLE)] * 3) == [None] * 3
