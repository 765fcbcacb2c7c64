"""`source/root`: what a folder holds, where links lead, and races between check and use."""

import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import trio

from esrffs.errors import AccessDeniedError, EsrffsError, NotFoundError, StaleError
from esrffs.model import Generation
from esrffs.source.root import FolderEntry, SourceRoot
from tests.support.image_files import edf, image
from tests.support.linked_images import linked_images
from tests.support.secrets import swapping


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder `source`, and outside of it `secret.raw`."""
    folder = tmp_path / "source"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(b"secret")
    return folder


def until(met: Callable[[], bool]) -> Iterator[int]:
    """At least 2000 turns, and more until this is so, for at most 20 s."""
    end = time.monotonic() + 20
    for turn in itertools.count():
        if turn >= 2000 and (met() or time.monotonic() > end):
            return
        yield turn


def test_a_link_swapped_while_a_file_is_opened(source: Path) -> None:
    (source / "open.raw").write_bytes(b"open")
    (source / "swapped").symlink_to("open.raw")
    folders = SourceRoot(str(source), confined=True)
    end = threading.Event()
    thread = swapping(source / "swapped", "open.raw", "../secret.raw", end)
    seen = {b"open": 0, b"refused": 0}
    try:
        for _ in until(lambda: min(seen.values()) > 0):
            try:
                descriptor = folders.open("swapped")
            except AccessDeniedError:
                seen[b"refused"] += 1
            else:
                seen[os.pread(descriptor, 100, 0)] += 1
                os.close(descriptor)
    finally:
        end.set()
        thread.join()
    assert min(seen.values()) > 0, "both were met"


def test_a_folder_swapped_for_a_link_while_it_is_listed(source: Path) -> None:
    (source / "plain").mkdir()
    (source / "plain/own").touch()
    (source.parent / "outside").mkdir()
    (source.parent / "outside/foreign").touch()
    (source / "swapped").symlink_to("plain")
    folders = SourceRoot(str(source), confined=True)
    end = threading.Event()
    thread = swapping(source / "swapped", "plain", "../outside", end)
    found = {"own": 0, "refused": 0}
    try:
        for _ in until(lambda: min(found.values()) > 0):
            try:
                for entry in folders._scan("swapped"):
                    found[entry.name] += 1
            except EsrffsError:
                found["refused"] += 1
    finally:
        end.set()
        thread.join()
    assert min(found.values()) > 0, "both were met"


@pytest.mark.parametrize("confined", [False, True])
def test_what_links_are_taken_for(tmp_path: Path, confined: bool) -> None:
    source = linked_images(tmp_path)
    folders = SourceRoot(str(source), confined=confined)
    found = {e.name: (e.format, e.link) for e in trio.run(folders.scan, "sorted")}
    assert found["in_0001.edf"] == ("image", "../raw/k03.edf")
    absolute = None if confined else "image"  # which is opened by no confined mount
    assert found["abs_0001.edf"] == (absolute, "../raw/k03.edf")
    assert found["out_0001.edf"][0] == (None if confined else "image")
    assert found["gone_0001.edf"][0] is found["folder_0001.edf"][0] is None


# Listing and looking up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The source: files, folders, links and a FIFO; the folder `outside` is beside it."""
    place = tmp_path / "folder"
    (place / "sub/deep").mkdir(parents=True)
    (place / "notes.txt").write_text("notes")
    with h5py.File(place / "sub/data.dat", "w") as file:
        file["x"] = 1
    edf(place / "one.edf", image(0))
    edf(place / "two.edf", image(0), image(1))
    os.mkfifo(place / "pipe")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/far.h5").write_bytes((place / "sub/data.dat").read_bytes())
    for name, text in {
        "inside": "sub/data.dat",
        "absolute": str(place / "notes.txt"),
        "to folder": "sub",
        "dangling": "nothing",
        "out": "../outside/far.h5",
        "out folder": "../outside",
    }.items():
        (place / name).symlink_to(text)
    return place


def scan(folder: Path, path: str = "", **options: Any) -> dict[str, FolderEntry]:
    root = SourceRoot(str(folder), **options)
    return {entry.name: entry for entry in trio.run(root.scan, path)}


def test_files_folders_and_what_is_neither(folder: Path) -> None:
    found = scan(folder)
    assert list(found) == sorted(found)
    assert "pipe" not in found
    assert (found["notes.txt"].format, found["notes.txt"].link) == (None, None)
    assert stat.S_ISDIR(found["sub"].status.st_mode)
    assert (found["one.edf"].format, found["one.edf"].single_frame) == ("image", True)
    assert (found["two.edf"].format, found["two.edf"].single_frame) == ("image", False)
    inner = scan(folder, "sub")
    assert (inner["data.dat"].format, inner["data.dat"].path) == ("hdf5", "sub/data.dat")


def test_links_inside_stay_links_and_keep_within_the_mount(folder: Path) -> None:
    for options in ({}, {"confined": True}):
        found = scan(folder, **options)
        assert found["inside"].link == "sub/data.dat"
        assert found["absolute"].link == "notes.txt"
        assert found["to folder"].link == "sub"
        assert found["dangling"].link == "nothing"


def test_links_out_are_followed_by_private_mounts_alone(folder: Path) -> None:
    found = scan(folder)
    assert (found["out"].link, found["out"].format) == (None, "hdf5")
    assert found["out folder"].link is None
    assert stat.S_ISDIR(found["out folder"].status.st_mode)
    found = scan(folder, confined=True)
    assert (found["out"].link, found["out"].format) == ("../outside/far.h5", None)
    assert found["out folder"].link == "../outside"


def test_the_own_mount_point_is_not_shown(folder: Path) -> None:
    assert "sub" not in scan(folder, hidden=str(folder / "sub"))
    assert "deep" not in scan(folder, "sub", hidden=str(folder / "sub/deep"))


def test_one_entry_is_that_of_the_listing(folder: Path) -> None:
    for confined in (False, True):
        root = SourceRoot(str(folder), confined=confined)
        for name, entry in scan(folder, confined=confined).items():
            found = trio.run(root.entry, "", name)
            assert Generation.of(found.status) == Generation.of(entry.status), name
            assert replace(found, status=entry.status) == entry, name  # atime may have changed
        for name in ("pipe", "nothing"):
            with pytest.raises(NotFoundError):
                trio.run(root.entry, "", name)


def test_what_is_no_folder_cannot_be_listed(folder: Path) -> None:
    root = SourceRoot(str(folder))
    with pytest.raises(NotFoundError):
        trio.run(root.scan, "nothing")
    with pytest.raises(EsrffsError, match="Not a directory"):
        trio.run(root.scan, "notes.txt")


def test_one_file_as_the_source(folder: Path) -> None:
    root = SourceRoot(str(folder / "sub/data.dat"))
    assert (root.single_file, root.root) == ("data.dat", str(folder / "sub"))
    assert root.path_inside(str(folder / "sub/data.dat")) == "data.dat"
    assert root.path_inside(str(folder / "inside")) == "data.dat"
    assert root.path_inside(str(folder / "sub/deep")) is None


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("", ""),
        ("sub/deep", "sub/deep"),
        ("to folder/data.dat", "sub/data.dat"),
        ("sub/../notes.txt", "notes.txt"),
        ("nothing", "nothing"),
        ("..", None),
        ("out", None),
        ("../folder2", None),
    ],
)
def test_paths_within_the_source(folder: Path, path: str, inside: str | None) -> None:
    (folder.parent / "folder2").mkdir()  # whose name begins like that of the source
    root = SourceRoot(str(folder))
    assert root.path_inside(os.path.join(folder, path)) == inside
    assert trio.run(root.find_inside, os.path.join(folder, path)) == inside


def test_an_open_file_is_of_the_generation_that_was_asked_for(folder: Path) -> None:
    root = SourceRoot(str(folder))
    generation = root.generation("notes.txt")
    assert generation is not None

    async def read() -> bytes:
        file = await root.open_verified("notes.txt", generation)
        try:
            return bytes(await file.read(0, 5))
        finally:
            file.close()

    assert trio.run(read) == b"notes"
    (folder / "notes.txt").write_text("other")
    with pytest.raises(StaleError):
        trio.run(read)
    (folder / "notes.txt").unlink()
    with pytest.raises(NotFoundError):
        trio.run(read)
    assert root.generation("notes.txt") is None


@pytest.mark.parametrize("name", ["pipe", "sub"])
def test_only_regular_files_are_opened(folder: Path, name: str) -> None:
    for confined in (False, True):
        with pytest.raises(AccessDeniedError, match="not a regular file"):
            SourceRoot(str(folder), confined=confined).open(name)


def test_status_follows_links(folder: Path) -> None:
    root = SourceRoot(str(folder))
    size = (folder / "sub/data.dat").stat().st_size
    assert trio.run(root.status, "inside").st_size == size
    assert [s.st_size for s in trio.run(root.statuses, ["notes.txt", "inside"])] == [5, size]
    with pytest.raises(NotFoundError):
        trio.run(root.status, "dangling")
    found = trio.run(root.generations, ["notes.txt", "nothing"])
    assert found == [root.generation("notes.txt"), None]
