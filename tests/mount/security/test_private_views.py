"""Views beside a data file tell nothing of it to those who may not read it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import fabio
import h5py
import numpy as np
import pytest

from tests.support.mounts import Mounted
from tests.support.processes import as_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
VIEWS = ("secret.h5.h5", "secret.h5.csv", "secret.dat.h5", "s_####.edf.h5")


@pytest.fixture
def mounted() -> Iterator[Mounted]:
    place = Path(f"/tmp/esrffs-private-views-{os.getpid()}")  # which everybody may enter
    folder = place / "source"
    folder.mkdir(parents=True)
    for name in ("open", "secret"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["th"] = np.arange(3)
        (folder / f"{name}.dat").write_text("#F x\n#E 1\n\n#S 1 x\n#N 1\n#L th\n1\n2\n")
    for number in range(2):
        image = fabio.edfimage.EdfImage(np.zeros((3, 4), "u2"))
        image.write(str(folder / f"s_{number:04}.edf"))
    for name in ("secret.h5", "secret.dat", "s_0001.edf"):
        (folder / name).chmod(0o600)
    place.chmod(0o755)
    folder.chmod(0o755)
    mount = Mounted(folder, place / "mnt", place / "log", "-o", "allow_other")
    try:
        yield mount
    finally:
        mount.unmount()
        shutil.rmtree(place)


@pytest.mark.parametrize("first", ["nobody", "root"])
def test_not_even_the_size(mounted: Mounted, first: str) -> None:
    """Whoever has asked before: what the kernel remembers is not for all."""
    if first == "root":
        for name in VIEWS:
            assert (mounted / name).stat().st_size > 0
    for name in VIEWS:
        for command in ("stat", "cat"):
            refused = as_nobody(command, mounted / name)
            assert refused.returncode != 0, name
            assert "Permission denied" in refused.stderr
    for name in VIEWS:
        assert (mounted / name).read_bytes()
        assert "Permission denied" in as_nobody("stat", mounted / name).stderr


def test_what_everybody_may_read_has_its_views(mounted: Mounted) -> None:
    for name in ("open.h5.h5", "open.h5.csv", "open.dat.h5"):
        assert as_nobody("cat", mounted / name).returncode == 0
    assert "No such file" in as_nobody("stat", mounted / "none.h5.h5").stderr
    assert "No such file" in as_nobody("stat", mounted / "open.dat.csv").stderr
