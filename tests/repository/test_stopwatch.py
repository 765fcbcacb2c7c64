"""The stopwatch of the tests: what hangs is found out, and what others take does not count."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import stopwatch
from tests.support.stopwatch import Stopwatch


def test_whoever_sleeps_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "_PRESSURE", [Path("/nowhere/cpu")])
    watch = Stopwatch()
    time.sleep(0.2)
    assert watch.seconds >= 0.2


@pytest.mark.parametrize(("stalled", "counted"), [(0.0, 10.0), (7.5, 2.5), (9.9, 1.0), (30.0, 1.0)])
def test_what_counts(
    stalled: float, counted: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(seconds: float, of_others: float) -> None:
        for name in ("cpu", "io"):
            text = "{} avg10=1.00 avg60=2.00 avg300=3.00 total={}\n"
            told = text.format("some", round(of_others / 2 * 1e6)) + text.format("full", 77)
            (tmp_path / name).write_text(told)
        monkeypatch.setattr(time, "monotonic", lambda: seconds)

    monkeypatch.setattr(stopwatch, "_PRESSURE", [tmp_path / "cpu", tmp_path / "io"])
    at(100, 50)
    watch = Stopwatch()
    at(110, 50 + stalled)
    assert watch.seconds == pytest.approx(counted)


@pytest.mark.skipif(not stopwatch._PRESSURE[0].exists(), reason="the kernel does not tell")
def test_a_busy_machine_takes_time_that_does_not_count() -> None:
    """More programs than can run, all on one processor."""
    program = "import os, time; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    program += "while time.process_time() < 0.2: pass"
    began, watch = time.monotonic(), Stopwatch()
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert watch.seconds < 0.75 * (time.monotonic() - began)
