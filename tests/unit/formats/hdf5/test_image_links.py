"""Links, names and references in HDF5 views: where they lead in a file whose root is the group."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support.hdf5_images import assemble, walk
from tests.support.hdf5_references import with_references
from tests.support.hdf5_views import View, made


def tree(file: h5py.File) -> None:
    file["a/b/data"] = np.arange(4)
    file["a/b/relative"] = h5py.SoftLink("data")
    file["a/b/absolute"] = h5py.SoftLink("/a/./b//data")
    file["a/b/other"] = h5py.SoftLink("/a/c/more")
    file["a/b/itself"] = h5py.SoftLink("/a/b")
    file["a/b/dangling"] = h5py.SoftLink("/a/b/nowhere")
    file["a/b/out"] = h5py.SoftLink("/outside")
    file["a/b/through"] = h5py.SoftLink("/alias/b/data")
    file["a/b/deep/link"] = h5py.SoftLink("/a/b/data")
    file["a/c/more"] = np.arange(7)
    file["alias"] = h5py.SoftLink("/a")
    file["outside"] = 1


def links_in(path: Path) -> dict[str, object]:
    with h5py.File(path) as file:
        return {path: link for path, link, obj in walk(file) if link is not None}


def test_links_of_the_whole_file_stay(tmp_path: Path) -> None:
    view = View(made(tmp_path, tree))
    assert links_in(view.path) == links_in(view.source)


@pytest.mark.parametrize("address", ["/a/b", "/alias/b"])
def test_links_of_a_group_lead_to_its_data(address: str, tmp_path: Path) -> None:
    view = View(made(tmp_path, tree), address)
    assert not view.broken
    assert links_in(view.path) == {
        "/relative": b"data",
        "/absolute": b"/data",
        "/other": b"/a/c/more",  # leads out, and may dangle
        "/itself": b"/",
        "/dangling": b"/nowhere",
        "/out": b"/outside",
        "/through": b"/data",
        "/deep/link": b"/data",
    }
    with h5py.File(view.path) as shown:
        for name in ("relative", "absolute", "through", "deep/link"):
            assert shown[name][()].tolist() == [0, 1, 2, 3], name


def test_links_of_a_group_above_lead_into_what_is_below(tmp_path: Path) -> None:
    view = View(made(tmp_path, tree), "/a")
    with h5py.File(view.path) as shown:
        assert shown["b/other"][()].tolist() == list(range(7))
        assert shown["b/itself/data"][()].tolist() == [0, 1, 2, 3]
        assert shown["b/absolute"] == shown["b/data"]


def test_a_link_out_of_the_group_never_leads_to_something_else(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["data"] = "that is meant"
        file["group/data"] = "that is not"
        file["group/link"] = h5py.SoftLink("/data")

    view = View(made(tmp_path, fill), "/group")
    assert "something else" in view.broken["/group/link"]
    assert links_in(view.path) == {}


def test_one_object_with_several_names(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["g/data"] = np.arange(3)
        file["again"] = file["g/data"]
        file["g/sub/again"] = file["g/data"]
        file["g/sub/up"] = file["g"]
        file["h"] = file["g/sub"]
        file["g/top"] = file["/"]

    for address, names in {
        "": ["g/data", "again", "g/sub/again", "h/again", "h/up/data"],
        "/g": ["data", "sub/again", "sub/up/sub/again", "top/again", "top/h/again"],
        "/h": ["again", "up/data", "up/top/h/again"],
    }.items():
        view = View(made(tmp_path, fill), address)
        assert not view.broken
        assert len(view.image.runs) == 1
        with h5py.File(view.path) as shown:
            for name in names:
                assert shown[name] == shown[names[0]], name
                assert shown[name][()].tolist() == [0, 1, 2]
        view.path.unlink()


def other_file(folder: Path, name: str, value: int) -> None:
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    with h5py.File(folder / name, "w") as file:
        file["group/data"] = value
        file["group/relative"] = h5py.SoftLink("data")
        file["group/absolute"] = h5py.SoftLink("/group/data")
        file["group/out"] = h5py.SoftLink("/more")
        file["group/sub/link"] = h5py.SoftLink("/group")
        file["more"] = value + 1


def external(file: h5py.File) -> None:
    file["g/inside"] = h5py.ExternalLink("raw/one.h5", "/group/data")
    file["g/gone"] = h5py.ExternalLink("raw/none.h5", "/group")
    file["g/outside"] = h5py.ExternalLink("../elsewhere/two.h5", "/group")
    file["g/again"] = h5py.ExternalLink("../elsewhere/two.h5", "/group")
    file["g/lost"] = h5py.ExternalLink("../elsewhere/none.h5", "/group")
    file["g/no object"] = h5py.ExternalLink("../elsewhere/two.h5", "/none")
    file["g/own"] = h5py.ExternalLink("source.h5", "/g/x")
    file["g/x"] = 3


def in_folders(tmp_path: Path, fill: Callable[[h5py.File], object]) -> Path:
    folder = tmp_path / "experiment"
    folder.mkdir()
    other_file(folder, "raw/one.h5", 1)
    other_file(tmp_path, "elsewhere/two.h5", 2)
    return made(folder, fill)


@pytest.mark.parametrize(("address", "up", "g"), [("", "", "/g"), ("/g", "../", "")])
def test_external_links(address: str, up: str, g: str, tmp_path: Path) -> None:
    """A file of the source has a view beside its directory; what lies elsewhere is included."""
    view = View(in_folders(tmp_path, external), address)
    assert not view.broken
    links = links_in(view.path)
    assert {path.removeprefix(g): link for path, link in links.items()} == {
        "/inside": (f"{up}raw/one.h5.h5".encode(), b"/group/data"),
        "/gone": (f"{up}raw/none.h5.h5".encode(), b"/group"),
        "/lost": (b"../elsewhere/none.h5", b"/group"),
        "/no object": (b"../elsewhere/two.h5", b"/none"),
        "/own": f"{g}/x".encode(),
        "/outside/relative": b"data",
        "/again/relative": b"data",  # the same group
    }
    with h5py.File(view.path) as shown:
        group = shown[g or "/"]
        assert group["own"][()] == 3
        assert group["outside"] == group["again"]
        for name in ("data", "relative", "absolute", "sub/link/data"):
            assert group["outside"][name][()] == 2
        assert group["outside/out"][()] == 3


def test_a_link_to_another_view_works_beside_it(tmp_path: Path) -> None:
    path = in_folders(tmp_path, external)
    view = View(path)
    other = Hdf5Reader(str(path.parent / "raw/one.h5"), None)
    assemble(other, other.image(""), path.parent / "raw/one.h5.h5")
    other.close()
    with h5py.File(view.path) as shown:
        assert shown["g/inside"][()] == 1


def test_confined_links_are_told_and_not_followed(tmp_path: Path) -> None:
    path = in_folders(tmp_path, external)
    reader = Hdf5Reader(str(path), str(path.parent))
    image = reader.image("", str(path.parent))
    reader.close()
    broken = {part.address: part for part in image.broken}
    assert broken.keys() == {"/g/outside", "/g/again", "/g/no object"}
    assert all(part.forbidden for part in broken.values())
    assert [run.address for run in image.runs] == ["/g/x"]


def test_a_file_that_is_mounted_alone_includes_all_others(tmp_path: Path) -> None:
    path = in_folders(tmp_path, external)
    reader = Hdf5Reader(str(path), None)
    image = reader.image("/g")
    assemble(reader, image, tmp_path / "view.h5")
    reader.close()
    with h5py.File(tmp_path / "view.h5") as shown:
        assert (shown["inside"][()], shown["outside/data"][()]) == (1, 2)


def test_the_view_of_a_group_behind_a_link(tmp_path: Path) -> None:
    view = View(in_folders(tmp_path, external), "/g/outside")
    assert not view.broken
    assert links_in(view.path) == {
        "/relative": b"data",
        "/absolute": b"/data",
        "/out": b"/more",  # leads out of the group
        "/sub/link": b"/",
    }
    assert {run.address for run in view.image.runs} == {"/g/outside/data"}
    with h5py.File(view.path) as shown:
        assert shown["sub/link/absolute"][()] == 2


def test_files_that_link_to_each_other_end(tmp_path: Path) -> None:
    for one, two in ("ab", "ba"):
        with h5py.File(tmp_path / f"{one}.h5", "w") as file:
            file["g/data"] = ord(one)
            file["g/next"] = h5py.ExternalLink(f"{two}.h5", "/g")
            file["g/self"] = file["g"]
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    image = reader.image("")
    assemble(reader, image, tmp_path / "view.h5")
    reader.close()
    assert not image.broken
    with h5py.File(tmp_path / "view.h5") as shown:
        assert [shown[f"g/{'next/' * n}data"][()] for n in range(3)] == [97, 98, 97]


def test_references_lead_to_the_same_objects(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["g/data"] = np.arange(24).reshape(4, 6)
        file["out"] = 1
        data = file["g/data"]
        objects = file.create_dataset("g/objects", (2, 2), h5py.ref_dtype)
        objects[0, 0], objects[0, 1], objects[1, 0] = data.ref, file["g"].ref, file["out"].ref
        regions = file.create_dataset("g/regions", (2,), h5py.regionref_dtype)
        regions[0] = data.regionref[1:3, 2:4]
        sequence = file.create_dataset("g/sequence", (2,), h5py.vlen_dtype(h5py.ref_dtype))
        sequence[0] = np.array([data.ref, file["out"].ref, data.ref], h5py.ref_dtype)
        record = np.dtype([("r", h5py.ref_dtype), ("n", "i4"), ("two", h5py.ref_dtype, (2,))])
        rows = np.array([(data.ref, 5, [file["g"].ref, file["out"].ref])], record)
        file["g"].create_dataset("record", data=rows)
        file["g"].attrs["ref"] = data.ref
        file["g"].attrs["region"] = data.regionref[0, 0]
        file["g"].attrs.create("many", [data.ref] * 9, dtype=h5py.ref_dtype)

    for options in ({}, {"userblock_size": 1024}, {"libver": "latest"}):
        view = View(made(tmp_path, fill, **options), "/g")
        assert not view.broken
        with h5py.File(view.path) as shown:
            data = shown["data"]
            objects = shown["objects"][()]
            assert (shown[objects[0, 0]], shown[objects[0, 1]]) == (data, shown["/"])
            assert not objects[1, 0], "its target is not in the group"
            assert not objects[1, 1]
            region = shown["regions"][0]
            assert shown[region] == data
            assert data[region].tolist() == data[1:3, 2:4].tolist()
            assert not shown["regions"][1]
            assert [bool(ref) and shown[ref] == data for ref in shown["sequence"][0]] == [1, 0, 1]
            row = shown["record"][0]
            assert (shown[row["r"]], row["n"], shown[row["two"][0]]) == (data, 5, shown["/"])
            assert not row["two"][1]
            assert shown[shown.attrs["ref"]] == data
            assert data[shown.attrs["region"]].tolist() == [[0]]
            assert {shown[ref] for ref in shown.attrs["many"]} == {data}
        view.path.unlink()


def test_references_of_hdf5_1_12_become_those_that_all_versions_read(tmp_path: Path) -> None:
    with_references(tmp_path / "a.h5")
    view = View(tmp_path / "a.h5")
    assert not view.broken
    with h5py.File(view.path) as shown:
        references = shown["refs"][()]
        assert shown[references[0]] == shown["data"]
        assert [bool(one) for one in references] == [True, False, False, False, False]
        assert shown[shown["data"].attrs["ref"][0]] == shown["data"]


def test_committed_datatypes_become_plain_ones_and_stand_by_themselves(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["g/type"] = np.dtype([("a", ">i2"), ("b", "S3")])
        file["g/type"].attrs["note"] = "of the datatype"
        file["g"].create_dataset("data", (2,), file["g/type"])
        file["g"].attrs.create("attribute", np.zeros(1, file["g/type"]), dtype=file["g/type"])

    view = View(made(tmp_path, fill), "/g")
    assert not view.broken
    with h5py.File(view.path) as shown:
        assert isinstance(shown["type"], h5py.Datatype)
        assert shown["type"].attrs["note"] == "of the datatype"
        assert shown["type"].dtype == shown["data"].dtype == shown.attrs["attribute"].dtype
        assert not shown["data"].id.get_type().committed()


def test_deep_groups(tmp_path: Path) -> None:
    deep = "/".join("g" * 1500)
    view = View(made(tmp_path, lambda file: file.create_dataset(f"{deep}/x", data=1)))
    assert not view.broken
    with h5py.File(view.path) as shown:
        assert shown[f"{deep}/x"][()] == 1
