"""The servers of the benchmarks: a folder with latency, and the floor of FUSE."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.floor import served
from benchmarks.slow_source import CALLS
from tests.support.mounts import FUSE

pytestmark = pytest.mark.skipif(not FUSE, reason="there is no /dev/fuse")


def test_a_slow_source_has_the_same_bytes_and_waits_for_each_call(tmp_path: Path) -> None:
    folder, at = tmp_path / "folder", tmp_path / "slow"
    folder.mkdir()
    content = os.urandom(3 << 20)
    for name in ("a", "b"):
        (folder / name).write_bytes(content)
    with served("benchmarks.slow_source", at, folder, at, 50):
        began = time.monotonic()
        assert sorted(os.listdir(at)) == ["a", "b"]
        assert (at / "a").read_bytes() == content
        assert time.monotonic() - began >= 3 * 0.05  # the listing, the open, a read
        assert (at / "a").stat().st_ino == (folder / "a").stat().st_ino
        calls = json.loads(os.getxattr(at, CALLS))
        (at / "a").read_bytes()
        again = json.loads(os.getxattr(at, CALLS))
        assert (calls["open"], again["open"]) == (1, 2)
        assert again["read"] >= 2 * calls["read"] >= 4, "each open reads anew"
        shown = subprocess.run(["cat", at / "c"], capture_output=True, check=False)
        assert b"No such file" in shown.stderr
    assert not os.path.ismount(at)


def test_a_slow_source_is_not_mounted_on_its_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.slow_source", tmp_path, tmp_path, "1"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert b"would wait for itself" in done.stderr
    assert not os.path.ismount(tmp_path)


def test_the_floor_has_files_of_any_size(tmp_path: Path) -> None:
    at = tmp_path / "floor"
    with served("benchmarks.floor", at, at, 128):
        found = np.fromfile(at / "5000000-1", np.uint8)
        assert len(found) == 5_000_000
        assert not (at / "x").exists()
