"""Mounts whose readers fail when they are told to, and sources with sound files beside."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.faults.readers import program
from tests.support import mounts
from tests.support.mounts import MountFactory


@pytest.fixture
def faulty(mount: MountFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountFactory:
    """`mount`, with the readers of `tests.faults.readers`."""
    monkeypatch.setattr(mounts, "ESRFFS", program(tmp_path / "esrffs"))
    return mount


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with ten sound files: `good0.h5` …, made by `sound`."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(10):
        sound(folder / f"good{number}.h5", number)
    return folder


def sound(path: Path, number: int = 0) -> None:
    """Strings of variable length are what the daemon cannot read without a reader."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(1000) + number, chunks=(100,), compression="lzf")
        file["y"] = np.full(10, number)
        file["words"] = np.array(["a", "bc", str(number)], dtype=h5py.string_dtype())
