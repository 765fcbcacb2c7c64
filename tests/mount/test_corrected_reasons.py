"""Why there is no `corrected/` is told to whoever asks, though nobody has looked there before."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.corrected_scans import counts, edf
from tests.support.errnos import errno_of
from tests.support.mounts import Mounted, MountFactory


@pytest.fixture
def mounted(mount: MountFactory, tmp_path: Path) -> Mounted:
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    (source / "plain").mkdir()
    with h5py.File(source / "scan.nx", "w") as file:
        for name, keys in (("good", [2, 1, 0]), ("bad", [0, 0, 3])):
            file[f"{name}/instrument/detector/data"] = counts(name, 3)[:, : 4 + len(name)]
            file[f"{name}/instrument/detector/image_key"] = keys
        file["none/definition"] = "NXtomo"
        file["4.1/title"], file["4.1/instrument/pco/acq_mode"] = "projections 0 - 3", "SINGLE"
    with h5py.File(source / "numbers.h5", "w") as file:
        file["x"] = np.arange(3)
    edf(source / "images" / "dark.edf", counts("dark"))
    edf(source / "images" / "wood.edf", counts("wood"))
    edf(source / "plain" / "wood.edf", counts("wood"))
    mounted = mount(source)
    mounted.expect("no corrected/")
    return mounted


def reason(path: Path) -> str:
    return os.getxattr(path, "user.esrffs.error").decode()


def test_of_groups_and_folders(mounted: Mounted) -> None:
    assert "no flat (no 1 in image_key, nor in another entry" in reason(mounted / "scan.nx/bad")
    assert "no image_key or image_key_control was found" in reason(mounted / "scan.nx/none")
    assert "4.1 is a scan of projections, but no" in reason(mounted / "scan.nx/4.1")
    assert "no flat image" in reason(mounted / "images")
    told = reason(mounted / "scan.nx")  # of the file: all that is known by now
    for text in ("no flat (no 1", "no image_key or image_key_control was found in none",
                 "4.1 is a scan of projections, but no instrument/<detector>/data"):  # fmt: skip
        assert text in told


def test_what_is_well_has_none(mounted: Mounted) -> None:
    for name in ("scan.nx/good", "numbers.h5", "plain", "."):
        assert errno_of(os.getxattr, mounted / name, "user.esrffs.error") == errno.ENODATA
