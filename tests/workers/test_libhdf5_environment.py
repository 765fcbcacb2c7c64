"""Nothing of the environment reaches libhdf5: neither plugins nor settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.foreign_filter import file_with_foreign_filter


@pytest.fixture
def filtered(source: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = file_with_foreign_filter(source, place)
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(place / "plugins"))
    return path


def test_nothing_of_the_environment_reaches_libhdf5() -> None:
    """Though not all of it would have an effect today: files are opened with settings of ours."""
    names = "EXT_PREFIX VDS_PREFIX EXTFILE_PREFIX DRIVER DRIVER_CONFIG VOL_CONNECTOR PLUGIN_PATH"
    told = {f"HDF5_{name}": "x" for name in (*names.split(), "USE_FILE_LOCKING")}
    program = """if True:
        import ctypes
        import esrffs.formats.hdf5.library
        ctypes.CDLL(None).system(b"env | grep ^HDF5_ | sort")
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "HDF5_PLUGIN_PRELOAD=::\nHDF5_USE_FILE_LOCKING=FALSE\n"


_READ = """
import sys
{ours}
from h5py import h5pl
print(sys.argv[2] in [h5pl.get(index).decode() for index in range(h5pl.size())])
h5pl.append(sys.argv[2].encode())
import h5py
try:
    h5py.File(sys.argv[1])["x"][()]
except OSError:
    print("refused")
"""


@pytest.mark.parametrize("ours", [True, False])
def test_no_plugin_is_loaded_from_anywhere(
    filtered: Path, place: Path, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from the environment's folder nor from the one that libhdf5 was built with.

    Each is kept out by itself: the folder is not known, and were it known, nothing is loaded.
    """
    monkeypatch.delenv("HDF5_PLUGIN_PRELOAD", raising=False)  # that of another test's import
    program = _READ.format(ours="import esrffs.formats.hdf5.library" if ours else "")
    command = [sys.executable, "-c", program, filtered, place / "plugins"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{not ours}\nrefused\n"
    assert (place / "was-loaded").exists() == (not ours)
