"""What every reader owes, whatever the format: inherited by the tests of each of them."""

import json
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esrffs.errors import NotFoundError
from esrffs.model import Box, DatasetInfo, GroupInfo, JsonInfo, JsonText, Member, Reader


def walk(reader: Reader, address: str = "", seen: frozenset[int] = frozenset()) -> Iterator[object]:
    """Every member below a group, each with hard-link circles entered once."""
    for member in reader.listing(address).members:
        yield member
        if isinstance(member, GroupInfo) and member.identity not in seen:
            below = seen if member.identity is None else seen | {member.identity}
            yield from walk(reader, member.address, below)


def datasets(reader: Reader) -> list[DatasetInfo]:
    return [member for member in walk(reader) if isinstance(member, DatasetInfo)]


def whole(info: DatasetInfo) -> Box:
    return Box((0,) * len(info.shape), info.shape)


class ReaderContract:
    """Subclasses give a fixture `reader`: an open reader of a file with some datasets."""

    def test_listing_survives_the_pipe_and_repeats(self, reader: Reader) -> None:
        first, second = reader.listing(""), reader.listing("")
        assert [member.name for member in first.members] == [
            member.name for member in pickle.loads(pickle.dumps(second)).members
        ]

    def test_dtype_and_shape_are_as_listed(self, reader: Reader) -> None:
        assert datasets(reader)
        for info in datasets(reader):
            array = reader.read(info.address, whole(info))
            assert (array.shape, array.dtype.descr) == (info.shape, info.dtype.descr), info
            assert array.flags.c_contiguous, info

    def test_any_box_is_that_part_of_the_whole(self, reader: Reader) -> None:
        infos = datasets(reader)

        @settings(max_examples=50, suppress_health_check=list(HealthCheck), database=None)
        @given(st.data())
        def check(data: st.DataObject) -> None:
            info = data.draw(st.sampled_from(infos))
            bounds = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in info.shape]
            box = Box(tuple(a for a, _ in bounds), tuple(b for _, b in bounds))
            np.testing.assert_array_equal(
                reader.read(info.address, box),
                reader.read(info.address, whole(info))[box.slices],
            )

        check()

    def test_json_is_strict_and_of_the_size_told(self, reader: Reader) -> None:
        def check(told: JsonText | None, content: bytes) -> None:
            assert told is not None
            assert told.size == len(content)
            assert told.content in (None, content)
            json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
            assert content.endswith(b"\n")

        for member in walk(reader):
            if isinstance(member, DatasetInfo | JsonInfo) and member.attributes:
                check(member.attributes, reader.attributes(member.address))
            if isinstance(member, JsonInfo):
                check(member.content, reader.text(member.address))
            if isinstance(member, GroupInfo):
                listing = reader.listing(member.address)
                if listing.attributes:
                    check(listing.attributes, reader.attributes(member.address))

    def test_an_unknown_address_is_missing(self, reader: Reader) -> None:
        with pytest.raises(NotFoundError):
            reader.listing("/no such/group")
        with pytest.raises(NotFoundError):
            reader.find("no such/object")

    def test_close_twice(self, reader: Reader) -> None:
        reader.close()
        reader.close()


def members(reader: Reader, address: str = "") -> dict[str, Member]:
    return {member.name: member for member in reader.listing(address).members}


def get(reader: Reader, name: str) -> np.ndarray:
    info = reader.find(name)
    assert isinstance(info, DatasetInfo)
    return reader.read(info.address, whole(info))
