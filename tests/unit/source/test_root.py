"""The mounted folder: a file or folder that is swapped for a link while it is opened."""

import os
import threading
from pathlib import Path

import pytest
import trio

from esrffs.errors import AccessDeniedError, EsrffsError
from esrffs.source.root import SourceRoot
from tests.support.linked_images import linked_images
from tests.support.secrets import swapping


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder `source`, and outside of it `secret.raw`."""
    folder = tmp_path / "source"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(b"secret")
    return folder


def test_a_link_swapped_while_a_file_is_opened(source: Path) -> None:
    (source / "open.raw").write_bytes(b"open")
    (source / "swapped").symlink_to("open.raw")
    folders = SourceRoot(str(source), confined=True)
    end = threading.Event()
    thread = swapping(source / "swapped", "open.raw", "../secret.raw", end)
    seen = {b"open": 0, b"refused": 0}
    try:
        for _ in range(2000):
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
    found = {"own": 0}
    refused = 0
    try:
        for _ in range(2000):
            try:
                for entry in folders._scan("swapped"):
                    found[entry.name] += 1
            except EsrffsError:
                refused += 1
    finally:
        end.set()
        thread.join()
    assert found["own"] > 0
    assert refused > 0


@pytest.mark.parametrize("confined", [False, True])
def test_what_links_are_taken_for(tmp_path: Path, confined: bool) -> None:
    source = linked_images(tmp_path)
    folders = SourceRoot(str(source), confined=confined)
    found = {e.name: (e.format, e.link) for e in trio.run(folders.scan, "sorted")}
    assert found["in_0001.edf"] == ("raster", "../raw/k03.edf")
    absolute = None if confined else "raster"  # which is opened by no confined mount
    assert found["abs_0001.edf"] == (absolute, "../raw/k03.edf")
    assert found["out_0001.edf"][0] == (None if confined else "raster")
    assert found["gone_0001.edf"][0] is found["folder_0001.edf"][0] is None
