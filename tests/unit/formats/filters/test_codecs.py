"""What `filters/codecs` makes of a stored chunk is what h5py makes of it, or a DamagedError."""

import ctypes
import mmap
import random
import re
import resource
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esrffs.errors import DamagedError, TooLargeError, UnsupportedError
from esrffs.formats.filters import codecs, plugins
from tests.support.chunk_streams import COMPRESSORS, DTYPES, one_chunk, pipeline, rewritten, values


def test_what_is_supported() -> None:
    shuffle, gzip = (2, (4,)), (1, (4,))
    assert codecs.supported((), 4)
    assert codecs.supported((shuffle, gzip, (3, ())), 4)
    assert not codecs.supported((shuffle, gzip, (32000, ())), 4)  # two compressors
    assert not codecs.supported(((4, (1, 2)),), 4)  # szip
    assert not codecs.supported(((32026, (1, 2)),), 4)  # Blosc2
    assert not codecs.supported(((2, (0,)),), 4)
    assert not codecs.supported(((2, ()),), 4)
    assert not codecs.supported(((32008, (0, 4, 0, 0, 2)),), 4)
    assert not codecs.supported(((32008, (0, 4, 2, 7, 2)),), 4)
    assert not codecs.supported(((32008, (0, 4, 2, 0, 9)),), 4)
    with pytest.raises(UnsupportedError):
        codecs.decode(b"x", ((4, ()),), 0, 1, 1)


@pytest.mark.parametrize("name", COMPRESSORS)
@settings(max_examples=60)
@example(seed=0, itemsize=300, count=13_982, noise=0, shuffle=False, fletcher32=False)
@given(
    seed=st.integers(0, 2**32),
    itemsize=st.sampled_from(sorted(DTYPES)),
    count=st.integers(1, 300) | st.integers(1, 20_000),
    noise=st.sampled_from([0, 1, 3, 15, 255]),
    shuffle=st.booleans(),
    fletcher32=st.booleans(),
)
def test_every_chunk_decodes_as_h5py_reads_it(
    name: str, seed: int, itemsize: int, count: int, noise: int, shuffle: bool, fletcher32: bool
) -> None:
    array = values(seed, itemsize, count, noise)
    options = COMPRESSORS[name] | {"shuffle": shuffle, "fletcher32": fletcher32}
    with one_chunk(array, options) as file:
        mask, raw = file["x"].id.read_direct_chunk((0,))
        filters = pipeline(file["x"])
        assert codecs.supported(filters, itemsize)
        if name == "lz4 64" and -(-array.nbytes // 64) > plugins.MANY:
            with pytest.raises(UnsupportedError):  # the walk over them would be the work
                codecs.decode(raw, filters, mask, itemsize, array.nbytes)
            return
        found = codecs.decode(raw, filters, mask, itemsize, array.nbytes)
        assert bytes(found) == file["x"][...].tobytes() == array.tobytes()


@given(st.binary(min_size=1, max_size=100), st.permutations([1, 2, 3]), st.integers(0, 7))
def test_orders_and_masks(data: bytes, order: list[int], mask: int) -> None:
    """Written by hand, in any order, some filters skipped; h5py reads the same."""
    array = np.frombuffer(data, np.uint8)
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(array.shape)
        for number in order:
            client = {1: (6,), 2: (3,), 3: ()}[number]
            plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, client)
        space = h5py.h5s.create_simple(array.shape)
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, plist)
        filters = pipeline(file["x"])
        raw = data
        for k, (number, client) in enumerate(filters):
            if not mask >> k & 1:
                raw = encoded(raw, number, client)
        assert rewritten(file, raw, mask) == data
        assert bytes(codecs.decode(memoryview(raw), filters, mask, 1, len(data))) == data


def encoded(raw: bytes, number: int, client: tuple[int, ...]) -> bytes:
    if number == 1:
        return zlib.compress(raw, client[0])
    if number == 2:
        size = client[0]
        whole = len(raw) // size * size
        return b"".join(raw[k:whole:size] for k in range(size)) + raw[whole:]
    padded = np.frombuffer(raw + bytes(len(raw) % 2), ">u2").astype(int)
    low = int(padded.sum()) % 65535 or (65535 if padded.any() else 0)
    total = int(np.cumsum(padded).sum())
    high = total % 65535 or (65535 if total else 0)
    return raw + struct.pack("<I", high << 16 | low)


def test_checksums_are_checked_in_both_byte_orders() -> None:
    raw = encoded(b"some bytes", 3, ())
    swapped = raw[:-4] + bytes(raw[k] for k in (-3, -4, -1, -2))
    assert raw != swapped
    for good in raw, swapped:
        assert codecs.decode(good, ((3, ()),), 0, 1, 10) == b"some bytes"
    for k in range(len(raw)):
        with pytest.raises(DamagedError, match=r"its fletcher32 data are damaged \(checksum"):
            codecs.decode(raw[:k] + bytes([raw[k] ^ 4]) + raw[k + 1 :], ((3, ()),), 0, 1, 10)


def test_a_size_that_is_not_the_chunks() -> None:
    assert codecs.decode(b"ten bytes!", (), 0, 1, 9) == b"ten bytes"  # as HDF5
    for size in 11, 2**31 - 1:
        with pytest.raises(DamagedError):
            codecs.decode(b"ten bytes!", (), 0, 1, size)
    with pytest.raises(TooLargeError):
        codecs.decode(b"ten bytes!", (), 0, 1, 2**31)


def claims(size: int, block: int) -> list[tuple[int, tuple[int, ...], bytes]]:
    """Headers that declare `size` bytes, each with hardly anything after them."""
    return [
        (32004, (0,), struct.pack(">QII", size, block, 4) + b"abcd"),
        (32008, (0, 4, 2, 0, 2), struct.pack(">QII", size, block, 4) + b"abcd"),
        (32008, (0, 4, 2, 0, 3, 3), struct.pack(">QII", size, block, 4) + b"abcd"),
        (
            32001,
            (2, 2, 2, 8, 5, 1, 1),
            bytes([2, 1, 0x21, 2]) + struct.pack("<III", size % 2**32, block, 20) + b"abcd",
        ),
        (32015, (3,), b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"abcd"),
    ]


@pytest.mark.parametrize("size", [0, 1, 100, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
@pytest.mark.parametrize("block", [0, 1, 8, 16, 8192, 2**31 - 16, 2**31, 2**32 - 1])
def test_a_header_that_claims_gigabytes(size: int, block: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, client, raw in claims(size, block):
        with pytest.raises(DamagedError):
            codecs.decode(raw, ((number, client),), 0, 2, 1000)
    for number, client, raw in claims(2**20, block):
        with pytest.raises(DamagedError):
            codecs.decode(raw, ((number, client),), 0, 2, 2**20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_a_zstd_chunk_without_its_size_is_left_to_a_worker() -> None:
    frame = b"\x28\xb5\x2f\xfd\0\x58" + struct.pack("<I", 10 << 3 | 1)[:3] + b"ten bytes!"
    with pytest.raises(UnsupportedError):
        codecs.decode(frame, ((32015, (3,)),), 0, 1, 10)


def test_a_chunk_of_crumbs_is_left_to_a_worker() -> None:
    raw = struct.pack(">QI", 2**20, 1) + b"\0\0\0\1x" * 2**20
    with pytest.raises(UnsupportedError):
        codecs.decode(raw, ((32004, (0,)),), 0, 1, 2**20)


class Guarded:
    """Bytes that end where the readable memory ends: a decoder that reads on dies here."""

    def __init__(self, room: int) -> None:
        page = mmap.PAGESIZE
        self.room = -(-room // page) * page
        self.map = mmap.mmap(-1, self.room + page)
        libc = ctypes.CDLL(None, use_errno=True)
        start = np.frombuffer(self.map, np.uint8).ctypes.data
        assert libc.mprotect(ctypes.c_void_p(start + self.room), page, 0) == 0

    def __call__(self, raw: bytes) -> memoryview:
        self.map[self.room - len(raw) : self.room] = raw
        return memoryview(self.map)[self.room - len(raw) : self.room]


def damaged(raw: bytes, rng: random.Random) -> bytes:
    found = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        at = rng.randrange(min(len(found), rng.choice([4, 16, 32, len(found)])))
        match rng.randrange(5):
            case 0:
                del found[at + 1 :]
            case 1:
                found[at] ^= 1 << rng.randrange(8)
            case 2:
                found[at] = rng.choice([0, 1, 127, 128, 255])
            case 3:
                found[at : at + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
            case 4:
                found[at:at] = rng.randbytes(rng.choice([1, 4, 100]))
    return bytes(found)


SEEDS = 300


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize(("itemsize", "count"), [(2, 4099), (4, 61), (3, 1000), (8, 20_000)])
def test_damage_is_noticed_or_decodes_as_h5py_reads_it(
    name: str, itemsize: int, count: int
) -> None:
    """h5py is asked only where we found nothing wrong: its filters crash on much of the rest."""
    rng = random.Random(f"{name} {itemsize}")
    array = values(count, itemsize, count, 15)
    guarded = Guarded(2 * array.nbytes + 2000)
    reasons: list[str] = []
    with one_chunk(array, COMPRESSORS[name] | {"shuffle": "shuffle" not in name}) as file:
        mask, good = file["x"].id.read_direct_chunk((0,))
        filters = pipeline(file["x"])
        for seed in range(SEEDS):
            raw = damaged(good, rng)
            try:
                found = bytes(codecs.decode(guarded(raw), filters, mask, itemsize, array.nbytes))
            except (DamagedError, UnsupportedError) as error:
                reasons.append(str(error))
                continue
            assert found == rewritten(file, raw, mask), seed
    assert reasons
    assert all(reasons)


def test_threads_side_by_side() -> None:
    """Same answers, whichever thread asks."""
    array = values(1, 2, 200_000, 15)
    for name in "gzip4", "bitshuffle-lz4 0", "blosc-zstd 1", "zstd3", "lz4 1000", "lzf":
        with one_chunk(array, COMPRESSORS[name] | {"shuffle": True}) as file:
            mask, raw = file["x"].id.read_direct_chunk((0,))
            arguments = raw, pipeline(file["x"]), mask, 2, array.nbytes
        with ThreadPoolExecutor(4) as threads:
            found = threads.map(lambda _, a=arguments: codecs.decode(*a), range(40))
            assert all(f == array.tobytes() for f in found)


BARE = re.compile(  # the words of Python, of C functions, of libraries about themselves
    r"unpack|Error|returned|detected an error|buffer size|decompressing|_ctx|_decode|__|[<>]"
)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_damage_is_told_in_sentences(name: str) -> None:
    """Cut at any length, and with any bytes changed: never the text of an exception."""
    array = np.arange(4000, dtype="<u2") % 57
    with one_chunk(array, COMPRESSORS[name] | {"fletcher32": True}) as file:
        filters = pipeline(file["x"])
        _, raw = file["x"].id.read_direct_chunk((0,))
    filters, raw = filters[:-1], bytes(raw)[:-4]  # whose checksum would find all of it
    if not filters:
        return
    random_ = random.Random(name)
    told = set()
    for number in range(300):
        changed = bytearray(raw[: (number % 2 and random_.randrange(len(raw))) or None])
        for _ in range(random_.choice([1, 5])):
            if changed:
                changed[random_.randrange(min(len(changed), 40))] = random_.randrange(256)
        try:
            codecs.decode(bytes(changed), filters, 0, 2, array.nbytes)
        except DamagedError as error:
            told.add(str(error))
        except UnsupportedError:
            pass
    assert told
    for text in told:
        assert re.fullmatch(r"its \w+ data are damaged \(.{12,90}\)", text)
        assert not BARE.search(text.replace("cannot unpack them", "")), text
