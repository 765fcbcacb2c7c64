"""`encoders/listing_json`: what is read is what was written, and nothing else is read."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.encoders import listing_json
from esrffs.formats.readers import open_reader
from esrffs.model import (
    BrokenInfo,
    ChunkedLayout,
    ContiguousLayout,
    DatasetInfo,
    FramesLayout,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    LinkInfo,
    OpaqueLayout,
    VirtualLayout,
)

RECORD = np.dtype([("a", "<i4"), ("b", ">f8", (2, 3)), ("c", [("d", "S5"), ("e", "?")])])
PADDED = np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [0, 8]})
MEMBERS = (
    GroupInfo("g", "/g", 17),
    GroupInfo("odd \udcff name\n", "/x", None),
    DatasetInfo("x", "/x", (3, 4), np.dtype(">u2"), ContiguousLayout(2048)),
    DatasetInfo("scalar", "/s", (), np.dtype("<f8"), attributes=JsonText(10, b'{"a": 1}\n\xff')),
    DatasetInfo("r", "/r", (0,), RECORD, OpaqueLayout((1, 2)), label="a/b"),
    DatasetInfo("p", "/p", (2,), PADDED, text=JsonText(2, b"t\n")),
    DatasetInfo("t", "/t", (2,), np.dtype("<U7"), OpaqueLayout()),
    DatasetInfo(
        "c",
        "/c",
        (100, 7),
        np.dtype("<c16"),
        ChunkedLayout((10, 7), ((2, (16,)), (32008, (0, 0, 2**32 - 1))), b"\0" * 16, indexed=True),
    ),
    DatasetInfo("d", "/d", (5,), np.dtype("V3"), ChunkedLayout((5,))),
    JsonInfo("j", "/j", JsonText(5000), JsonText(3, b"{}\n")),
    LinkInfo("l", "../x", kind="dataset"),
)
LISTING = GroupListing(MEMBERS, JsonText(9000), 42, end="frame 7: is not whole")


def is_refused(text: bytes) -> bool:
    """Whether the text is refused as it should be; else it is a listing."""
    try:
        return not isinstance(listing_json.decode(text), GroupListing)
    except ValueError:
        return True


def again(listing: GroupListing) -> GroupListing:
    text = listing_json.encode(listing)
    assert text is not None
    assert text.isascii()
    return listing_json.decode(text)


def test_what_is_read_is_what_was_written() -> None:
    assert again(LISTING) == LISTING
    assert again(GroupListing(())) == GroupListing(())


def test_frames_of_many_files() -> None:
    offsets = np.array([0, 512, 1 << 40], np.int64)
    layout = FramesLayout(offsets, swapped=True, files=("/a", "/b\udce9", "/c"))
    member = DatasetInfo("data", "/d", (3, 2), np.dtype("<i4"), layout)
    found = again(GroupListing((member,))).members[0]
    assert isinstance(found, DatasetInfo)
    assert isinstance(found.layout, FramesLayout)
    assert found.layout.offsets.dtype == np.int64
    assert found.layout.offsets.tolist() == offsets.tolist()
    assert (found.layout.swapped, found.layout.files) == (True, layout.files)


@pytest.mark.parametrize(
    "member",
    [
        BrokenInfo("b", "took too long"),
        LinkInfo("l", "/x", file="/other.h5", kind="group"),
        LinkInfo("l", "/x"),
        LinkInfo("l", "/x", kind="group", forbidden=True),
        LinkInfo("l", "/x", kind="group", refusal="less readable"),
        DatasetInfo("v", "/v", (1,), np.dtype("i4"), dependencies=("/other.h5",)),
        DatasetInfo("v", "/v", (1,), np.dtype("i4"), VirtualLayout((), b"")),
        DatasetInfo("o", "/o", (1,), np.dtype(object)),
        DatasetInfo("e", "/e", (1,), h5py.enum_dtype({"A": 1}, "i1")),
        GroupInfo("g", "/g", 1 << 70),
    ],
)
def test_what_depends_on_more_than_the_file_is_not_written(member: object) -> None:
    assert listing_json.encode(replace(LISTING, members=(*MEMBERS, member))) is None


def test_what_readers_tell(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["NX_class"] = "NXroot"
        file["x"] = np.arange(10.0)
        file["text"] = "words"
        file["texts"] = np.array(["one", "three"], dtype=h5py.string_dtype())
        file.create_dataset("gz", data=np.zeros((10, 10), "<u2"), chunks=(5, 5), compression="gzip")
        file["g/y"] = np.zeros(3, RECORD)
        file["soft"] = h5py.SoftLink("/g/y")
    reader = open_reader("hdf5", str(tmp_path / "a.h5"), None)
    for address in ("", "/g"):
        listing = reader.listing(address)
        assert again(listing) == replace(listing, prefetched={})
    reader.close()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner),
))  # fmt: skip
def test_other_json_is_refused(value: object) -> None:
    assert is_refused(json.dumps(value).encode())


@given(st.data())
def test_changed_text_is_refused_or_a_listing(data: st.DataObject) -> None:
    text = bytearray(listing_json.encode(LISTING) or b"")
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    is_refused(bytes(text))


@pytest.mark.parametrize("text", [b"", b"\x80\x04K\x01.", b"[" * 100_000, b"null", b"\xff",
    b'[[["dataset","x","/x",[1],"<i4",["frames",[9999999999999999999],false,[]],null,"",null]],null,null,""]',
    b'[[["dataset","x","/x",[1],"O",["opaque",[]],null,"",null]],null,null,""]',
    b'[[["dataset","x","/x",[1],"zzz",["opaque",[]],null,"",null]],null,null,""]',
    b'[[["dataset","x","/x",[-1],"<i4",["opaque",[]],null,"",null]],null,null,""]',
])  # fmt: skip
def test_text_that_is_no_listing(text: bytes) -> None:
    assert is_refused(text)
