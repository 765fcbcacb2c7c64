"""Codecs that compress block by block decode the blocks that are wanted, and no others."""

import contextlib
import random
import time

import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.errors import DamagedError, UnsupportedError
from esrffs.formats.filters import codecs
from tests.support.chunk_streams import COMPRESSORS, DTYPES, one_chunk, pipeline, values

PARTIAL = {
    name: options
    for name, options in COMPRESSORS.items()
    if name.startswith(("lz4", "bitshuffle", "blosc"))
}


def stored(array: np.ndarray, options: dict) -> tuple[bytes, codecs.Filters, int]:
    with one_chunk(array, options) as file:
        mask, raw = file["x"].id.read_direct_chunk((0,))
        return raw, pipeline(file["x"]), mask


@given(st.data())
def test_any_part_of_any_chunk(data: st.DataObject) -> None:
    options = PARTIAL[data.draw(st.sampled_from(sorted(PARTIAL)))]
    itemsize = data.draw(st.sampled_from([n for n in DTYPES if n < 300]))
    count = data.draw(st.integers(1, 3000) | st.integers(20_000, 40_000))
    noise = data.draw(st.sampled_from([0, 3, 255]))
    array = values(data.draw(st.integers(0, 9)), itemsize, count, noise)
    raw, filters, mask = stored(array, options)
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, array.nbytes)] * 2)))
    decoded = codecs.decode(raw, filters, mask, itemsize, array.nbytes, (first, last))
    assert len(decoded) == array.nbytes
    assert bytes(decoded[first:last]) == array.tobytes()[first:last]


@pytest.mark.parametrize("name", sorted(PARTIAL))
def test_damage_is_an_error_or_elsewhere_but_never_a_crash(name: str) -> None:
    array = values(1, 4, 30_000, 3)
    raw, filters, mask = stored(array, PARTIAL[name])
    rng = random.Random(0)
    for _ in range(60):
        damaged = bytearray(raw)
        for _ in range(rng.choice([1, 5])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        damaged = damaged[: rng.choice([len(raw), rng.randrange(len(raw))])]
        first, last = sorted(rng.choices(range(array.nbytes), k=2))
        with contextlib.suppress(DamagedError, UnsupportedError):
            codecs.decode(bytes(damaged), filters, mask, 4, array.nbytes, (first, last))


@pytest.mark.parametrize(
    "options",
    [
        hdf5plugin.Bitshuffle(cname="lz4"),
        hdf5plugin.LZ4(nbytes=1 << 16),
        hdf5plugin.Blosc(cname="zstd"),
    ],
    ids=["bitshuffle", "lz4", "blosc"],
)
def test_a_part_takes_a_part_of_the_time(options: dict) -> None:
    array = values(1, 2, 1 << 23, 15)
    raw, filters, mask = stored(array, options)

    def seconds(wanted: tuple[int, int] | None) -> float:
        best = 9.0
        for _ in range(5):
            start = time.thread_time()
            codecs.decode(raw, filters, mask, 2, array.nbytes, wanted)
            best = min(best, time.thread_time() - start)
        return best

    assert seconds((1 << 20, (1 << 20) + 4096)) < seconds(None) / 3


def test_what_a_part_costs() -> None:
    bitshuffle, gzip, shuffle = (32008, (0, 0, 2, 0, 2)), (1, (4,)), (2, (2,))
    assert codecs.decoded_nbytes((), 10, 1000) == 10
    assert codecs.decoded_nbytes((bitshuffle,), 10, 1000) == 10
    assert codecs.decoded_nbytes((gzip,), 10, 1000) == 1000
    assert codecs.decoded_nbytes((shuffle, (32004, (64,))), 10, 1000) == 1000
    assert codecs.decoded_nbytes(((32004, (64,)),), 10, 1000) == 64
    assert codecs.decoded_nbytes(((32004, ()),), 10, 1000) == 1000  # all of it is one block
