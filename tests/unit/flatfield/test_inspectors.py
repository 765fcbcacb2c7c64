"""`flatfield/inspectors`: answers of an HDF5 file, and what they depend on."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import trio

from esrffs.errors import NotFoundError, StaleError, UnavailableError
from esrffs.flatfield.conventions.queries import (
    READ_LIMIT,
    DescribeArray,
    ListMembers,
    MemberSummary,
    OwnName,
    Query,
    ReadTextFile,
    ReadValues,
    beside,
)
from esrffs.flatfield.inspectors import FileInspector, or_none
from tests.support.in_process import data_context

Work = Callable[[FileInspector], Awaitable[Any]]
MANY = 4000  # attributes' values that do not come with a listing


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """`scan.h5`, with links to `flats.h5` beside it."""
    folder = tmp_path / "source"
    folder.mkdir()
    with h5py.File(folder / "flats.h5", "w") as file:
        file["flat"] = np.full((3, 4), 7, "u2")
    with h5py.File(folder / "scan.h5", "w") as file:
        file["entry/data"] = np.arange(24, dtype=">u2").reshape(2, 3, 4)
        file["entry/image_key"] = np.array([1, 0], "i1")
        file["entry/empty"] = np.zeros((0, 3), "<f4")
        file["entry/name"] = "a scan"
        file["entry/flat"] = h5py.ExternalLink("flats.h5", "/flat")
        file["entry/soft"] = h5py.SoftLink("data")
        file["entry/gone"] = h5py.SoftLink("/nothing")
        file["rgb"] = np.zeros((3, 4, 3), "u1")
        file["rgb"].attrs["interpretation"] = "rgb-image"
        file["palette"] = np.zeros((3, 4, 3), "u1")
        file["palette"].attrs["IMAGE_SUBCLASS"] = np.bytes_("IMAGE_TRUECOLOR")
        file["rgb of many words"] = np.zeros((3, 4, 3), "u1")
        file["rgb of many words"].attrs["interpretation"] = "rgba-image"
        file["rgb of many words"].attrs["words"] = np.arange(MANY)
        file.create_dataset("large", (READ_LIMIT + 1,), "u1")
    return folder


def ask(source: Path, work: Work) -> Any:
    async def main() -> Any:
        context = data_context(source)
        return await work(FileInspector(context, await context.files.current("scan.h5", "hdf5")))

    return trio.run(main)


def answer(source: Path, question: Query) -> Any:
    return ask(source, lambda inspector: inspector.answer(question))


def test_members_of_a_group(source: Path) -> None:
    found = answer(source, ListMembers("entry"))
    assert found["data"] == MemberSummary("dataset", (2, 3, 4), np.dtype(">u2"))
    assert found["image_key"] == MemberSummary("dataset", (2,), np.dtype("i1"))
    assert found["soft"].kind == found["flat"].kind == "link"
    assert found["gone"].kind == "link"
    assert answer(source, ListMembers(""))["entry"] == MemberSummary("group")


def test_links_are_followed_to_what_is_described(source: Path) -> None:
    whole = MemberSummary("dataset", (2, 3, 4), np.dtype(">u2"))
    assert answer(source, DescribeArray("entry/soft")) == whole
    assert answer(source, DescribeArray("entry/flat")).shape == (3, 4)


@pytest.mark.parametrize("name", ["rgb", "palette", "rgb of many words"])
def test_colour_is_told_by_attributes(source: Path, name: str) -> None:
    """Also by those that are too many to come with the listing of the group."""
    assert answer(source, DescribeArray(name)).colour
    listed = answer(source, ListMembers(""))[name]
    assert listed.colour or listed.shape is None
    assert not answer(source, DescribeArray("entry/data")).colour


def test_values_of_small_datasets(source: Path) -> None:
    assert answer(source, ReadValues("entry/image_key")).tolist() == [1, 0]
    assert answer(source, ReadValues("entry/flat")).tolist() == [[7] * 4] * 3
    assert answer(source, ReadValues("entry/name")) == np.array("a scan")
    empty = answer(source, ReadValues("entry/empty"))
    assert (empty.shape, empty.dtype) == ((0, 3), np.dtype("<f4"))
    assert answer(source, ReadValues("large")) is None


@pytest.mark.parametrize(
    "question",
    [
        *(kind(path) for kind in (DescribeArray, ReadValues) for path in ("entry/gone", "no")),
        *(ListMembers(path) for path in ("no", "entry/data", beside("none.h5", "x"))),
        ReadTextFile("notes.txt"),  # of folders
    ],
    ids=repr,
)
def test_none_for_what_is_not_there(source: Path, question: Query) -> None:
    assert answer(source, question) is None


def test_the_name_of_the_file(source: Path) -> None:
    assert answer(source, OwnName()) == "scan.h5"


def test_a_file_beside_is_asked_and_watched(source: Path) -> None:
    async def work(inspector: FileInspector) -> None:
        path = beside("flats.h5", "flat")
        assert (await inspector.answer(DescribeArray(path))).shape == (3, 4)  # type: ignore[attr-defined]
        assert (await inspector.locate(path)).info.address == "/flat"
        found = inspector.dependencies()
        assert set(found.links) == {str(source / "flats.h5")}
        assert found.is_current()
        os.utime(source / "flats.h5", ns=(1, 1))
        assert not found.is_current()

    ask(source, work)


def test_a_link_to_another_file_is_watched_and_one_within_the_file_is_not(source: Path) -> None:
    async def work(inspector: FileInspector) -> None:
        await inspector.answer(DescribeArray("entry/soft"))
        assert not inspector.dependencies().links
        await inspector.answer(DescribeArray("entry/flat"))
        assert set(inspector.dependencies().links) == {str(source / "flats.h5")}

    ask(source, work)


def test_a_failure_for_a_moment_is_no_answer() -> None:
    """Nothing would be found then, and this would be believed."""

    async def failing(error: Exception) -> object:
        raise error

    for error in (StaleError("a: changed"), UnavailableError("a: no reader")):
        with pytest.raises(type(error)):
            trio.run(lambda error=error: or_none(failing(error)))
    assert trio.run(lambda: or_none(failing(NotFoundError("a: no x")))) is None
