"""HDF5 readers in processes of their own: few descriptors, a file that is being written, damage."""

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from esrffs.errors import UnsupportedError
from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support.hdf5_corpus_folder import corpus_folder
from tests.support.reader_contract import get


def test_more_sources_than_files_can_be_open(tmp_path: Path) -> None:
    code = """
import resource, sys
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import Box
resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))
print(Hdf5Reader(sys.argv[1], None).read("/all", Box((0,), (200,))).tolist() == [*range(1, 201)])
"""
    layout = h5py.VirtualLayout((200,), "i8")
    for index in range(200):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            file["d"] = [index + 1]
        layout[index] = h5py.VirtualSource(f"{index}.h5", "d", (1,))[0]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("all", layout, fillvalue=-1)
    command = [sys.executable, "-c", code, str(tmp_path / "all.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


WRITING = """
import h5py, sys, numpy as np
file = h5py.File(sys.argv[1], "w", libver="latest")
data = file.create_dataset("d", (4,), "i4", maxshape=(None,), chunks=(4,))
if sys.argv[2] == "swmr":
    file.swmr_mode = True
data[:] = 1
file.flush()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("mode", ["swmr", "plain"])
def test_a_file_that_is_being_written(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / "a.h5")
    command = [sys.executable, "-c", WRITING, path, mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        if mode == "swmr":
            assert get(Hdf5Reader(path, None), "d").tolist() == [1] * 4
        else:
            with pytest.raises(UnsupportedError, match="writ"):
                Hdf5Reader(path, None)
        process.communicate()


def test_damage_is_an_error_or_harmless(tmp_path: Path) -> None:
    """Cut short or with bytes flipped: equal, or one of our errors.  HDF5 may crash, we may not."""
    command = [sys.executable, "-m", "tests.support.hdf5_damage", str(corpus_folder(tmp_path))]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
