"""A little of `soak`, `gauntlet` and `fuzz`, and mutants that once were defects or crashers."""

import subprocess
import sys
from pathlib import Path

import pytest

from esrffs.formats import Format
from tests.conftest import FUSE
from tests.faults import fuzz

ROOT = Path(__file__).parents[2]
# Mutants that something went wrong with: `… fuzz --format F --seed S --count 1` makes them again.
KEPT: list[tuple[Format, int]] = []


@pytest.mark.skipif(not FUSE, reason="there is no /dev/fuse")
def test_half_a_minute_of_soak() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", "--minutes", "0.4", "--processes", "4"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not FUSE, reason="there is no /dev/fuse")
def test_a_hundred_bad_files_beside_sound_ones() -> None:
    counts = ["--good", "10", "--malformed", "30", "--damaged", "40", "--mutants", "45"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.gauntlet", *counts, "--seconds", "120"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("format_", ["hdf5", "spec", "raster"])
def test_mutants_are_refused_as_errors_should_be(format_: Format, tmp_path: Path) -> None:
    for seed in range(1, 26):
        told = fuzz.run(format_, seed, tmp_path)
        assert not told.startswith("defect"), f"seed {seed}: {told}"


@pytest.mark.parametrize(("format_", "seed"), KEPT)
def test_kept_mutants(format_: Format, seed: int, tmp_path: Path) -> None:
    assert not fuzz.run(format_, seed, tmp_path).startswith("defect")


def test_sound_files_are_walked_without_an_error(tmp_path: Path) -> None:
    for format_, make in fuzz.MAKE.items():
        path = tmp_path / f"sound{fuzz.SUFFIX[format_]}"
        make(path)
        assert fuzz.outcome(path) == "fine"
