"""Fixtures of all tests: mounts, places for them, and the order of the tests."""

import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from esrffs.formats import budget
from tests.support.mounts import Mounted, MountFactory, mount_factory
from tests.support.real_data import DATA

TESTS = Path(__file__).parent

# The same examples in every run, however slow the machine: what fails is the change, not the draw.
# `pytest --hypothesis-profile=explore` draws others.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("explore"), derandomize=True)
settings.load_profile("steady")


# The folders of tests/ in the order in which they run: fast tests fail first.
FOLDERS = "unit workers repository mount program faults".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder, and sort the tests by `FOLDERS`."""

    def folder(item: pytest.Item) -> str:
        return next((name for name in FOLDERS if item.path.is_relative_to(TESTS / name)), "faults")

    for item in items:
        item.add_marker(folder(item))
    items.sort(key=lambda item: FOLDERS.index(folder(item)))


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Mounts of a file server keep what they learnt here, not in the home of who runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def no_time_limit() -> None:
    """Reset the time limit of readers, which is global, before each test."""
    budget.begin(math.inf)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that all users may enter, unlike `tmp_path`; its `mnt` is unmounted at the end."""
    path = Path(f"/tmp/esrffs-test-{os.getpid()}")
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    yield path
    subprocess.run(["umount", "-l", path / "mnt"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(path)


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[MountFactory]:
    """`mount(source, *options)` mounts a folder for the length of a test."""
    yield from mount_factory(tmp_path)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """The real data of `../shared/data`, mounted."""
    if not DATA.is_dir():
        pytest.skip("the real data are not here")
    factory = mount_factory(tmp_path_factory.mktemp("data"))
    yield next(factory)(DATA)
    next(factory, None)
