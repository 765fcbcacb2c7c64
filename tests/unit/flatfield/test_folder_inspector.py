"""The inspector of a folder: permissions are checked in threads, and what is gone is not found."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio

from esrffs.errors import NotFoundError
from esrffs.flatfield import folder_inspector
from esrffs.flatfield.conventions.queries import ListMembers, ReadTextFile
from esrffs.source.context import DataContext
from esrffs.source.listings import DataFileRef
from esrffs.source.root import SourceRoot


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "data.h5").touch()
    return tmp_path


def test_who_may_list_or_read_what_is_asked_in_threads(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are looked at, which may wait for a server: the loop must go on."""
    (source / "sub").mkdir()
    (source / "text").write_text("text")
    threads = []

    def note(*_: object) -> bool:
        threads.append(threading.get_ident())
        return True

    monkeypatch.setattr(folder_inspector, "may_reference", note)
    monkeypatch.setattr(folder_inspector, "may_list", note)
    folders = SourceRoot(str(source), confined=True)
    context = cast(DataContext, SimpleNamespace(files=SimpleNamespace(folders=folders)))
    file = DataFileRef(context, "data.h5", "hdf5")

    async def look(_: str) -> folder_inspector.Contents:
        return folder_inspector.Contents({})

    async def ask() -> tuple[object, object]:
        contents = folder_inspector.Contents({"data.h5": file})
        listing = folder_inspector.FolderListing("", contents, look, b"")
        inspector = folder_inspector.FolderInspector(context, listing)
        await inspector._open_to_all("data.h5")
        return await inspector.answer(ListMembers("sub")), await inspector.answer(
            ReadTextFile("text")
        )

    assert trio.run(ask) == ({}, b"text")
    assert len(threads) == 4
    assert threading.get_ident() not in threads


def test_a_file_that_goes_away_while_its_rights_are_looked_at(
    source: Path,
) -> None:
    folders = SourceRoot(str(source), confined=True)
    context = cast(DataContext, SimpleNamespace(files=SimpleNamespace(folders=folders)))

    async def look(_: str) -> folder_inspector.Contents:
        return folder_inspector.Contents({})

    file = DataFileRef(context, "gone.h5", "hdf5")
    contents = folder_inspector.Contents({"gone.h5": file})
    listing = folder_inspector.FolderListing("", contents, look, b"")
    inspector = folder_inspector.FolderInspector(context, listing)
    with pytest.raises(NotFoundError, match=r"gone\.h5"):
        trio.run(inspector._open_to_all, "gone.h5")
