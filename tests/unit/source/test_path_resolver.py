"""`source/path_resolver`: links of HDF5 files are followed, within a file and to others."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import trio

from esrffs.errors import AccessDeniedError, LinkLoopError, NotFoundError
from esrffs.model import GroupInfo, JsonInfo
from esrffs.source.context import DataContext
from esrffs.source.path_resolver import HOPS, PathResolver
from tests.support.in_process import data_context

Work = Callable[[DataContext, PathResolver], Awaitable[Any]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """`a.h5` with links of all kinds, some of them to `sub/b.h5` and to `outside.h5`."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    with h5py.File(folder / "sub/b.h5", "w") as file:
        file["far/data"] = np.arange(3)
        file["back"] = h5py.ExternalLink("../a.h5", "/entry/data")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file["data"] = 1
    with h5py.File(folder / "a.h5", "w") as file:
        file["entry/data"] = np.arange(12).reshape(3, 4)
        file["entry/relative"] = h5py.SoftLink("data")
        file["entry/absolute"] = h5py.SoftLink("/entry/relative")
        file["group"] = h5py.SoftLink("/entry")
        file["external"] = h5py.ExternalLink("sub/b.h5", "/far")
        file["round trip"] = h5py.ExternalLink("sub/b.h5", "/back")
        file["dangling"] = h5py.SoftLink("/nothing")
        file["missing file"] = h5py.ExternalLink("none.h5", "/x")
        file["outside"] = h5py.ExternalLink("../outside.h5", "/data")
        file["ring/a"] = h5py.SoftLink("/ring/b")
        file["ring/b"] = h5py.SoftLink("/ring/a")
        file["chain/0"] = 1
        for number in range(1, HOPS + 2):
            file[f"chain/{number}"] = h5py.SoftLink(f"/chain/{number - 1}")
        virtual = h5py.VirtualLayout((3,), "i8")
        virtual[:] = h5py.VirtualSource("sub/b.h5", "far/data", (3,))
        file.create_virtual_dataset("virtual", virtual)
    return folder


def in_file(source: Path, work: Work, *, confined: bool = False) -> Any:
    """What `work` returns, given the context of this folder and a resolver of its own."""

    async def main() -> Any:
        context = data_context(source, confined=confined)
        return await work(context, PathResolver(context))

    return trio.run(main)


def located(source: Path, path: str, *, confined: bool = False) -> tuple[str, str, set[str]]:
    """The file and the address of the dataset at this path, and the files that are watched."""

    async def work(context: DataContext, resolver: PathResolver) -> tuple[str, str, set[str]]:
        file = await context.files.current("a.h5", "hdf5")
        found = await resolver.locate_dataset(file, path)
        return found.source.path, found.info.address, set(resolver.watched)

    return in_file(source, work, confined=confined)


@pytest.mark.parametrize(
    "path", ["entry/data", "/entry/./data", "entry/relative", "entry/absolute", "group/data"]
)
def test_links_within_a_file(source: Path, path: str) -> None:
    assert located(source, path) == ("a.h5", "/entry/data", set())


def test_links_to_other_files_are_watched(source: Path) -> None:
    other = str(source / "sub/b.h5")
    for confined in (False, True):
        path, address, watched = located(source, "external/data", confined=confined)
        assert (address, watched) == ("/far/data", {other})
        assert path.endswith("sub/b.h5")
    path, address, watched = located(source, "round trip")
    assert (address, watched) == ("/entry/data", {other, str(source / "a.h5")})


def test_sources_of_a_virtual_dataset_are_watched(source: Path) -> None:
    assert located(source, "virtual")[2] == {str(source / "sub/b.h5")}


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("nothing", NotFoundError, "no 'nothing' in /"),
        ("entry/nothing", NotFoundError, "no 'nothing' in /entry"),
        ("entry", NotFoundError, "entry is no dataset"),
        ("entry/data/deeper", NotFoundError, "no 'deeper' in data"),
        ("dangling", NotFoundError, "no 'nothing' in /"),
        ("missing file", NotFoundError, r"none\.h5"),
        ("ring/a", LinkLoopError, "too many links"),
        (f"chain/{HOPS + 1}", LinkLoopError, "too many links"),
    ],
)
def test_paths_that_lead_to_no_dataset(
    source: Path, path: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        located(source, path)


def test_as_many_links_as_hdf5_follows(source: Path) -> None:
    assert located(source, f"chain/{HOPS}") == ("a.h5", "/chain/0", set())


def test_a_confined_mount_does_not_leave_the_source(source: Path) -> None:
    assert located(source, "outside")[1] == "/data"
    with pytest.raises(AccessDeniedError, match="leads out of the source"):
        located(source, "outside", confined=True)


def test_a_file_that_is_not_there_yet_is_watched(source: Path) -> None:
    async def work(context: DataContext, resolver: PathResolver) -> object:
        file = await context.files.current("a.h5", "hdf5")
        with pytest.raises(NotFoundError):
            await resolver.locate_dataset(file, "missing file")
        return resolver.watched

    assert in_file(source, work) == {str(source / "none.h5"): None}


def test_members_of_a_group_have_the_names_of_the_file(source: Path) -> None:
    async def work(context: DataContext, resolver: PathResolver) -> object:
        file = await context.files.current("a.h5", "hdf5")
        members = await resolver.members(file, "")
        with pytest.raises(NotFoundError, match="is no group"):
            await resolver.members(file, "entry/data")
        return members

    members = in_file(source, work)
    assert "round trip" in members
    assert isinstance(members["entry"], GroupInfo)
    assert not any(isinstance(member, JsonInfo) for member in members.values())
