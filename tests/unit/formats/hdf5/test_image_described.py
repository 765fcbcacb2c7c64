"""HDF5 views of descriptions, and of what the listings of a reader describe."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esrffs.errors import DamagedError
from esrffs.formats.hdf5.image import (
    ALIGNMENT,
    DescribedDataset,
    DescribedGroup,
    DescribedLink,
    Hdf5Image,
    ImageLimits,
    ImageTooLargeError,
)
from esrffs.formats.hdf5.image_described import image_of_description
from esrffs.formats.hdf5.image_reader import reader_image
from esrffs.model import (
    BrokenInfo,
    DatasetInfo,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    LinkInfo,
)
from tests.support.hdf5_images import assemble, check_places


class Listed:
    """A reader of these listings."""

    def __init__(self, listings: dict[str, GroupListing]) -> None:
        self._listings = listings

    def listing(self, address: str) -> GroupListing:
        if address not in self._listings:
            raise DamagedError(f"{address} is damaged")
        return self._listings[address]

    def read(self, address: str, box: Any) -> np.ndarray[Any, Any]:
        if "broken" in address:
            raise DamagedError(f"{address}: cannot be read")
        return np.array(["ä", "b"]) if "text" in address else np.zeros(box.shape, "<i4")

    def attributes(self, address: str) -> bytes:
        return json.dumps({"long": "x" * 5000}).encode()

    def text(self, address: str) -> bytes:
        return b"[1, 2]\n"


def test_what_is_broken_is_told_and_costs_itself(tmp_path: Path) -> None:
    int4, text = np.dtype("<i4"), np.dtype("<U1")
    members = (
        GroupInfo("gone", "/gone"),
        BrokenInfo("broken", "it is broken", forbidden=True, errno=13),
        DatasetInfo("text", "/text", (2,), text),
        DatasetInfo("broken text", "/broken text", (2,), text),
        DatasetInfo("unread", "/broken array", (2,), int4),
        DatasetInfo("none", "/none", (0, 3), int4),
        DatasetInfo("odd", "/odd", (3,), np.dtype([("text", "<U3")])),
        JsonInfo("sequences", "/sequences", JsonText(7)),
        LinkInfo("link", "/text"),
        LinkInfo("link", "text"),
        DatasetInfo("a/b", "/slash", (2,), int4, attributes=JsonText(6000)),
        DatasetInfo(".", "/dot", (2,), int4),
    )
    reader: Any = Listed({"": GroupListing(members, JsonText(2, b"{}"), end="there is more")})
    image = reader_image(reader)
    broken = {part.address: part for part in image.broken}
    assert broken.keys() == {"/", "/gone", "/broken", "/broken text", "/odd"}
    assert broken["/broken"].forbidden
    path = tmp_path / "view.h5"
    assert assemble(reader, image, path) == ["/broken array"]
    with h5py.File(path) as view:
        names = ["text", "unread", "none", "sequences", "link", "link~1", "a%b", "%2E"]
        assert list(view) == names
        assert view["text"].asstr()[()].tolist() == ["ä", "b"]
        assert view["sequences"].asstr()[()] == "[1, 2]\n"
        assert view["link"] == view["link~1"] == view["text"]
        assert view["a%b"].attrs["long"] == "x" * 5000


VALUES = {
    "text": "grün",
    "empty text": "",
    "surrogates": "\udcff",
    "zero": "a\0b",
    "integer": 5,
    "large": 1 << 62,
    "float": 2.5,
    "complex": 1 + 2j,
    "bool": True,
    "bytes": b"abc",
    "list": [1, 2, 3],
    "mixed": [1, 2.5],
    "texts": ["a", "bü"],
    "rows": [["a", "b"], ["c", "d"]],
    "big endian": np.arange(3, dtype=">i2"),
    "scalar": np.float32(1.5),
    "unicode": np.array(["x", "yy"]),
    "long double": np.longdouble(1) / 3,
}
HELD = {  # what h5py must be given for the same
    "bytes": np.bytes_(b"abc"),
    "surrogates": b"\xff",
    "zero": np.array(b"a\0b", h5py.string_dtype("utf-8", 3)),
    "unicode": ["x", "yy"],
}


def file_of(image: Hdf5Image, folder: Path) -> Path:
    """Without the data of the arrays."""
    path = folder / "view.h5"
    with path.open("wb") as file:
        for at, content in image.literals:
            file.seek(at)
            file.write(content)
        file.truncate(image.nbytes)
    return path


def test_attributes_are_what_h5py_would_write(tmp_path: Path) -> None:
    dataset = DescribedDataset("d", "/d", (2,), np.dtype("<f4"), VALUES)
    root = DescribedGroup("", (DescribedGroup("g", (dataset,), VALUES),), VALUES)
    image = image_of_description(root)
    assert image.broken == ()
    memory = {"driver": "core", "backing_store": False}
    with h5py.File(file_of(image, tmp_path)) as view, h5py.File("x", "w", **memory) as file:
        for name, value in VALUES.items():
            file.attrs[name] = HELD.get(name, value)
            expected = file.attrs.get_id(name).get_type()
            for holder in (view, view["g"], view["g/d"]):
                assert np.array_equal(holder.attrs[name], file.attrs[name]), name
                assert holder.attrs.get_id(name).get_type() == expected, name


def test_attributes_of_no_one_type(tmp_path: Path) -> None:
    attributes = {"none": None, "ragged": [[1], [2, 3]], "odd": [1, "a"], "dict": {"a": 1}}
    image = image_of_description(DescribedGroup("", (), attributes | {"no": []}))
    with h5py.File(file_of(image, tmp_path)) as view:
        assert isinstance(view.attrs["none"], h5py.Empty)
        for name in ("ragged", "odd", "dict"):
            assert json.loads(view.attrs[name]) == attributes[name]
        assert view.attrs["no"].shape == (0,)


def test_a_value_without_datatype_is_told() -> None:
    odd = np.zeros(1, [("text", "<U3")])
    group = DescribedGroup("g", (), {"odd": odd, "x": 1})
    image = image_of_description(DescribedGroup("", (group,)), where="/above")
    assert [part.address for part in image.broken] == ["/above/g@odd"]


names = st.text(min_size=1, max_size=8).filter(lambda name: not {*"/\0"} & {*name} and name != ".")
arrays = st.tuples(
    st.sampled_from(["<u2", ">f8", "?", "<c8", "S3", "<f2", "V3", "<M8[s]"]).map(np.dtype),
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
)
trees = st.recursive(
    st.one_of(arrays, st.text(max_size=5), names.map(lambda path: ["link", path])),
    lambda below: st.dictionaries(names, below, max_size=4),
    max_leaves=15,
)


def described(name: str, tree: Any, address: str) -> Any:
    match tree:
        case dict():
            below = (described(key, value, f"{address}/{key}") for key, value in tree.items())
            return DescribedGroup(name, tuple(below), {"name": name})
        case str():
            values = np.array(tree, object)
            return DescribedDataset(name, address, (), np.dtype("<U1"), {}, values)
        case ["link", path]:
            return DescribedLink(name, path)
        case (dtype, shape):
            return DescribedDataset(name, address, shape, dtype)
    raise AssertionError


def check_tree(tree: dict[str, Any], group: h5py.Group) -> None:
    assert list(group) == list(tree)
    for name, value in tree.items():
        match value:
            case dict():
                check_tree(value, group[name])
            case str():
                assert group[name].asstr()[()] == value
            case ["link", path]:
                assert group.get(name, getlink=True).path == path
            case (dtype, shape):
                assert (group[name].dtype, group[name].shape) == (dtype, shape)
                offset = group[name].id.get_offset()
                assert (offset is None) == (0 in shape)
                assert offset is None or offset % ALIGNMENT == 0


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(names, trees, max_size=5))
def test_any_description(tmp_path: Path, tree: dict[str, Any]) -> None:
    image = image_of_description(described("", tree, ""))
    assert image_of_description(described("", tree, "")) == image
    check_places(image)
    assert not image.broken
    with h5py.File(file_of(image, tmp_path)) as view:
        check_tree(tree, view)


def test_limits() -> None:
    datasets = tuple(
        DescribedDataset(f"{n}", f"/{n}", (), np.dtype("<U9"), {}, np.array("x" * 1000))
        for n in range(40)
    )
    root = DescribedGroup("", (DescribedGroup("g", datasets),))
    assert image_of_description(root, ImageLimits(objects=41)).nbytes > 40_000
    with pytest.raises(ImageTooLargeError, match=r"objects.*take a smaller group"):
        image_of_description(root, ImageLimits(objects=40))
    with pytest.raises(ImageTooLargeError, match=r"view_limit.*take a smaller group"):
        image_of_description(root, ImageLimits(nbytes=40_000))
    reader: Any = Listed(
        {"": GroupListing(tuple(GroupInfo(f"{n}", f"/{n}") for n in range(40)))}
        | {f"/{n}": GroupListing(()) for n in range(40)}
    )
    assert reader_image(reader, "", ImageLimits(objects=40)).nbytes
    with pytest.raises(ImageTooLargeError, match="take a smaller group"):
        reader_image(reader, "", ImageLimits(objects=39))
