"""A mount of files whose arrays have views of all formats."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import Mounted, mount_factory
from tests.support.view_files import write_view_sources


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views") / "source"
    write_view_sources(folder)
    return folder


@pytest.fixture(scope="module")
def mounted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    factory = mount_factory(tmp_path_factory.mktemp("mount"))
    yield next(factory)(source)
    next(factory, None)


@pytest.fixture
def views(mounted: Mounted) -> Path:
    return mounted / "all.h5"
