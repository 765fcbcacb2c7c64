"""The tree that silx shows of an image, and that a reader shows."""

import json

import numpy as np
from silx.io import commonh5

from esrffs.model import DatasetInfo, GroupInfo, LinkInfo, Reader
from tests.support.reader_contract import whole


def assert_same_tree(reader: Reader, address: str, group: commonh5.Group) -> None:
    """Names, order, kinds, attributes and values, but for the frames themselves."""
    listing = reader.listing(address)
    found = {member.name: member for member in listing.members}
    told = json.loads(reader.attributes(address)) if listing.attributes else {}
    expected = dict(group.attrs)
    if address == "":
        assert told.pop("file_time") != expected.pop("file_time")
    assert told == expected
    theirs = {fabio_name(name): node for name, node in group._get_items().items()}
    assert list(found) == list(theirs)
    for name, node in theirs.items():
        member = found[name]
        if isinstance(node, commonh5.SoftLink):
            kind = "dataset" if node.path.endswith("/data") else "group"
            assert member == LinkInfo(name, node.path, kind=kind)
        elif isinstance(node, commonh5.Group):
            assert isinstance(member, GroupInfo)
            assert_same_tree(reader, member.address, node)
        else:
            assert isinstance(member, DatasetInfo)
            assert_same_dataset(reader, member, node)


def assert_same_dataset(reader: Reader, member: DatasetInfo, node: commonh5.Dataset) -> None:
    told = json.loads(reader.attributes(member.address)) if member.attributes else {}
    assert told == dict(node.attrs)
    expected = np.asarray(node[()])
    if expected.dtype.hasobject:
        expected = expected.astype(str)
    assert (member.shape, member.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(reader.read(member.address, whole(member)), expected)


def fabio_name(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
