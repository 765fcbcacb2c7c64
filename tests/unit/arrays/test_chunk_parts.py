"""What is needed of a chunk, without the rest; and longer chunks than needed."""

import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esrffs import limits
from esrffs.arrays import chunk_parts
from esrffs.errors import DamagedError, TooLargeError, UnsupportedError
from esrffs.formats.filters import codecs
from tests.support.chunk_streams import COMPRESSORS, one_chunk, pipeline, rewritten, zeros

SHUFFLE, DEFLATE = 2, 1


@settings(max_examples=200)
@given(
    chunk=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    data=st.data(),
    dtype=st.sampled_from(["u1", "<u2", ">f8", "V5"]),
    run=st.integers(1, 200),
    filters=st.sampled_from([(), (DEFLATE,), (SHUFFLE, DEFLATE)]),
)
def test_a_part_is_that_of_the_whole(
    chunk: list[int], data: st.DataObject, dtype: str, run: int, filters: tuple[int, ...]
) -> None:
    itemsize = np.dtype(dtype).itemsize
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, itemsize * int(np.prod(chunk)), np.uint8).tobytes()
    array = np.frombuffer(raw, dtype).reshape(chunk)
    inside = []
    for n in chunk:
        start = data.draw(st.integers(0, n - 1))
        inside.append(slice(start, data.draw(st.integers(start + 1, n))))
    client = {SHUFFLE: (itemsize,), DEFLATE: (1,)}
    if SHUFFLE in filters:
        raw = np.frombuffer(raw, np.uint8).reshape(-1, itemsize).T.tobytes()
    if DEFLATE in filters:
        raw = zlib.compress(raw)
    told = tuple((number, client[number]) for number in filters)
    assert chunk_parts.passable(told, 0, itemsize)
    target = np.zeros(array[tuple(inside)].shape, dtype)
    before = chunk_parts._RUN
    chunk_parts._RUN = run
    try:
        chunk_parts.fill(
            lambda start, count: memoryview(raw)[start : start + count],
            len(raw),
            told,
            0,
            chunk,
            inside,
            target,
        )
    finally:
        chunk_parts._RUN = before
    assert target.tobytes() == array[tuple(inside)].tobytes()


def test_what_ends_too_early_is_damaged() -> None:
    raw = zlib.compress(bytes(1000))
    for cut in (raw[:-8], zlib.compress(bytes(900)), b"no chunk"):
        with pytest.raises(DamagedError, match="deflate"):
            chunk_parts.fill(
                lambda start, count, cut=cut: memoryview(cut)[start : start + count],
                len(cut),
                ((DEFLATE, (1,)),),
                0,
                (1000,),
                (slice(990, 1000),),
                np.zeros(10, "u1"),
            )


def column(rows: int, width: int, raw: bytes, **options: Any) -> Any:
    """The first column of a packed chunk of this shape."""
    target = np.ones((rows, 1), "u1")
    chunk_parts.fill(
        lambda start, count: memoryview(raw)[start : start + count],
        len(raw),
        ((DEFLATE, (1,)),),
        0,
        (rows, width),
        (slice(0, rows), slice(0, 1)),
        target,
        **options,
    )
    return target


def test_no_more_is_unpacked_than_a_few_times_the_largest_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "_sizes", limits.Limits(chunk=1 << 20))
    most = limits.PASSED_OVER
    assert not column(most, 1 << 20, zlib.compress(bytes(most << 20))).any()
    with pytest.raises(TooLargeError, match=r"needed of it.*chunk_limit=1\)"):
        column(most + 2, 1 << 20, b"not even looked at")


def test_unpacking_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that does it ends, too: nothing else could end it."""
    seconds = iter(range(1000))
    monkeypatch.setattr(chunk_parts, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with pytest.raises(TooLargeError, match="time_limit"):
        column(200, 1 << 20, zeros(200, 1 << 20), until=50)
    assert next(seconds) == 52  # looked at once for each piece


def test_what_cannot_be_had_in_parts() -> None:
    assert not chunk_parts.passable(((32015, (3,)),), 0, 4)
    assert chunk_parts.passable(((32015, (3,)),), 1, 4)
    assert not chunk_parts.passable(((SHUFFLE, (8,)), (DEFLATE, (1,))), 0, 4)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", COMPRESSORS)
def test_the_first_bytes_of_more_are_taken(name: str, shuffle: bool) -> None:
    """As h5py does: of a chunk that holds more, and of one with something behind its end."""
    options: dict[str, Any] = COMPRESSORS[name] | {"shuffle": shuffle}
    array = np.repeat(np.arange(1000, dtype="<u2"), 4)
    for count in (len(array) + 8, 2 * len(array)):
        longer = np.resize(array, count)
        with one_chunk(longer, options) as file:
            filters = pipeline(file["x"])
            mask, raw = file["x"].id.read_direct_chunk((0,))
        for more in (bytes(raw), bytes(raw) + bytes(12)):
            with one_chunk(array, options) as file:
                try:
                    expected = rewritten(file, more, mask)
                except OSError:
                    continue  # what HDF5 does not read need not be read
            try:
                found = codecs.decode(more, filters, mask, 2, array.nbytes)
            except UnsupportedError:
                assert "zstd" in name  # with something behind it: hdf5plugin is asked
                continue
            assert bytes(found) == expected, (count, len(more) - len(raw))
