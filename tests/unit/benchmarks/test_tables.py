"""The tables of the benchmarks: ratios, goals, multiples of the floor."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks import material, report, rows, slow
from benchmarks.decoding import Decoding
from benchmarks.timing import Taken, Times


@pytest.mark.parametrize(("ours", "verdict"), [(0.5, "0.83 / 0.83"), (1.2, "2.00 ✗ / 2.00 ✗")])
def test_a_first_read_as_a_multiple_of_floor_and_decoding(ours: float, verdict: str) -> None:
    [row, *_] = rows.stacks(4)
    times: Times = {(row.name, "decoding", "first"): [Taken(0.4, 0)] * 3}
    for kind in ("ordinary", "root"):
        times[row.name, kind, "first"] = [Taken(ours, 0), Taken(ours, 0), Taken(9, 0)]
        times[row.name, f"floor, {kind}", "first"] = [Taken(0.2, 0)]
    line = report.floor_table([row], times).splitlines()[-1]
    milliseconds = f"{1e3 * ours:.0f} / {1e3 * ours:.0f}"
    assert line == f"| gzip + shuffle | 200 / 200 | 400 | {milliseconds} | {verdict} |"


def test_a_goal_that_is_not_reached_is_marked() -> None:
    theirs, ours = slow.Measured(3.0, 100, 2), slow.Measured(1.0, 120, 32)
    lines = [
        slow.SlowLine(10.0, "stack", "h5py", goal, 3.0, 3.1, theirs, ours) for goal in (None, 3, 4)
    ]
    found = slow.table(lines).splitlines()[-3:]
    assert found == [
        f"| 10 ms | stack | h5py | {text} | 3.10 | 3.00 : 1.00 | 100 : 120 | 2 : 32 |"
        for text in (" | 3.00", "3 | 3.00", "4 | 3.00 ✗")
    ]


@pytest.mark.parametrize("name", [*material.FILTERS, "contiguous"])
def test_all_chunks_are_decoded(tmp_path: Path, name: str) -> None:
    values = np.arange(4 * 64 * 64, dtype=np.uint16).reshape(4, 64, 64)
    options = {"chunks": (1, 64, 64), **material.FILTERS[name]} if name != "contiguous" else {}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=values, **options)
    assert Decoding("a.h5")(tmp_path)() == (values.nbytes if options else 0)


def test_what_was_measured_before_an_interruption_is_told(tmp_path: Path) -> None:
    clock = slow.SlowClock(tmp_path, tmp_path, lambda _: None)
    assert clock.lines() == []
    row = slow.slow_rows.rows()[0]
    for name in ("", *(rival.name for rival in row.rivals)):
        clock._found[10.0, row.name, name].append(slow.Measured(2.0, 10, 1))
    assert [line.ratio for line in clock.lines()] == [1.0] * len(row.rivals)
