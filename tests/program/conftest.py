"""Places for mounts of other users."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_path(tmp_path: Path) -> Iterator[Path]:
    """A folder that everyone may enter, unlike pytest's own."""
    path = Path("/tmp") / f"esrffs-test-{os.getpid()}"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    yield path
    subprocess.run(["umount", "-l", path / "mnt"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(path)
