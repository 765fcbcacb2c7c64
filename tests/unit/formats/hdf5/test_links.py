"""Links within a file and to other files; nothing outside of a confined folder is opened."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5p

from esrffs.errors import AccessDeniedError, LinkLoopError, NotFoundError
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import BrokenInfo, DatasetInfo, GroupInfo, LinkInfo
from tests.support.reader_contract import get, members


def test_links(opened, folder: Path) -> None:
    reader = opened("links.h5")
    found = members(reader)
    assert found["absolute"] == LinkInfo("absolute", "/a/./soft", None, "dataset")
    assert found["to group"] == LinkInfo("to group", "a", None, "group")
    assert found["to sequence"] == LinkInfo("to sequence", "sequence", None, "text")
    assert found["dangling"] == LinkInfo("dangling", "/nowhere")
    assert found["loop"] == LinkInfo("loop", "/loop")
    other = str(folder / "linked.h5")
    assert found["external"] == LinkInfo("external", "/group/data", other, "dataset")
    assert found["moved"] == LinkInfo("moved", "group", other, "group")
    assert found["missing"] == LinkInfo("missing", "/", str(folder / "missing.h5"))
    assert found["round"].kind == "dataset"
    assert found["outside"] == LinkInfo("outside", "/", str(folder.parent / "outside.h5"), "group")
    assert isinstance(found["\udcff\udcfe"], GroupInfo)
    assert reader.listing(found["\udcff\udcfe"].address).members == ()
    assert list(members(reader, "/ordered")) == ["z", "a", "y"]


def test_hard_links_share_an_identity(opened) -> None:
    reader = opened("links.h5")
    root = reader.find("")
    assert members(reader, "/a")["up"].identity == root.identity
    assert isinstance(members(reader, "/a")[".."], DatasetInfo)


def test_paths_are_followed_through_links(opened) -> None:
    reader = opened("links.h5")
    assert reader.find("to group/soft").address == "/a/data"
    assert reader.find("/a/up/a/./data").name == "data"
    assert get(reader, "external").tolist() == [1, 2, 3]
    assert get(reader, "moved/data").tolist() == [1, 2, 3]
    assert get(reader, "round") == 1.0
    with pytest.raises(LinkLoopError):
        reader.find("loop")
    for path in ("dangling", "missing", "a/data/below", "a/nothing"):
        with pytest.raises(NotFoundError):
            reader.find(path)


def test_nothing_outside_is_opened_when_confined(opened, folder: Path) -> None:
    reader = opened("links.h5", confine=True)
    found = members(reader)
    assert found["outside"].forbidden
    assert found["outside"].kind is None
    assert found["external"].kind == "dataset"
    with pytest.raises(AccessDeniedError):
        reader.find("outside/d")
    with pytest.raises(AccessDeniedError):
        get(opened("external.h5", confine=True), "outside")
    assert get(opened("external.h5"), "outside").tobytes() == b"root"


def test_a_symlink_does_not_lead_out(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    with h5py.File(tmp_path / "out.h5", "w") as file:
        file.create_dataset("d", data=np.arange(4), maxshape=(None,))
    (inside / "looks inside.h5").symlink_to(tmp_path / "out.h5")
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource("looks inside.h5", "d", (4,))
    endless = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple((0,), (endless,))
    space.select_hyperslab((0,), (endless,), (1,), (1,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_virtual(space, b"looks inside.h5", b"d", space)
    with h5py.File(inside / "a.h5", "w", libver="latest") as file:
        file["link"] = h5py.ExternalLink("looks inside.h5", "d")
        file.create_virtual_dataset("virtual", layout)
        h5py.h5d.create(file.id, b"growing", h5py.h5t.NATIVE_INT64, space, plist)
    reader = Hdf5Reader(str(inside / "a.h5"), os.path.realpath(inside))
    found = members(reader)
    assert found["link"].forbidden
    with pytest.raises(AccessDeniedError):
        get(reader, "virtual")
    assert isinstance(found["growing"], BrokenInfo)  # not even its shape can be told
    free = Hdf5Reader(str(inside / "a.h5"), None)
    assert get(free, "virtual").tolist() == get(free, "growing").tolist() == [0, 1, 2, 3]


_OBJECTS = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_GROUP | h5py.h5f.OBJ_DATASET


def test_files_are_closed_whoever_holds_their_objects(tmp_path: Path) -> None:
    """Opened weakly, a file would stay open, with what HDF5 remembers of it, and be seen old."""
    with h5py.File(tmp_path / "target.h5", "w") as file:
        file["d"] = 1
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["good"], file["bad"] = (h5py.ExternalLink("target.h5", f"/{n}") for n in ("d", "none"))
    before = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, _OBJECTS)
    reader = Hdf5Reader(str(tmp_path / "source.h5"), None)
    root, member = reader._files.main.root, reader._files.other(str(tmp_path / "target.h5")).root
    assert get(reader, "good") == 1
    reader.close()
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, _OBJECTS) == before
    assert not root.valid
    assert not member.valid
