"""A source beside secret files, mounted for everybody."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mounts import Mounted, MountFactory
from tests.support.secrets import secret_source


@pytest.fixture
def source(place: Path) -> Path:
    return secret_source(place)


@pytest.fixture
def shared_mount(
    place: Path, source: Path, mount: MountFactory
) -> Iterator[Callable[..., Mounted]]:
    """Mounts the source for everybody at `place/mnt`."""

    def mounted(*options: str) -> Mounted:
        made = Mounted(source, place / "mnt", place / "log", "-o", "allow_other", *options)
        mounts.append(made)
        return made

    mounts: list[Mounted] = []
    yield mounted
    for made in mounts:
        made.unmount()
