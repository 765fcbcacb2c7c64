"""Damaged `.gz` and `.bz2`: pixels that were never in the file are never served."""

import bz2
import gzip
import io
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from esrffs.errors import DamagedError
from esrffs.formats.images.packed import CUT, PackedFile, packed_nbytes
from esrffs.formats.images.reader import ImageFileReader
from esrffs.model import Box, DatasetInfo
from tests.support.image_files import WRITERS, edf, edf_text, image, in_order, opened

__all__ = ["in_order"]  # a fixture for every test here

Pack = Callable[[bytes], bytes]
PACKERS: dict[str, Pack] = {"gzip": gzip.compress, "bzip2": bz2.compress}
SUFFIXES = {"gzip": ".edf.gz", "bzip2": ".edf.bz2"}
STACK = np.random.default_rng(1).poisson(20, (12, 128, 128)).astype("<u2")


def values(path: Path) -> tuple[npt.NDArray[np.generic], str | None]:
    """The frames that are served, with an axis for them, and what `end` says."""
    reader = opened(ImageFileReader(str(path), None))
    info = reader.find("scan_0/image/data")
    assert isinstance(info, DatasetInfo)
    array = reader.read(info.address, Box((0,) * len(info.shape), info.shape))
    return array.reshape(-1, *info.shape[-2:]), json.loads(reader.attributes("")).get("end")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return edf(tmp_path_factory.mktemp("raw") / "a.edf", *STACK).read_bytes()


def noise(count: int) -> list[int]:
    return [int(x) for x in np.random.default_rng(2).integers(0, 1 << 30, count)]


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("level", [1, 9])
def test_changed_bytes_give_what_was_packed_or_nothing(raw: bytes, kind: str, level: int) -> None:
    """Anywhere; and at the end, where a changed bit makes the decompressor run into the trailer."""
    pack: Callable[..., bytes] = PACKERS[kind]
    sound = pack(raw, level)
    places = [n % (len(sound) - 10) + 10 for n in noise(60)] + [*range(-40, 0)]
    trusted = set()
    for number, place in enumerate(places):
        damaged = bytearray(sound)
        damaged[place] ^= (255, 1, 16, 128)[number % 4]
        packed = PackedFile(io.BytesIO(damaged), kind)
        packed.run_out()
        count = packed.trusted
        assert packed.fault or count == len(raw)  # some bits mean nothing
        packed.seek(0)
        assert packed.read(count) == raw[:count]
        trusted.add(count)
    if kind == "gzip":
        assert trusted <= {0, len(raw)}
    elif level == 1:
        assert len(trusted) > 3  # the blocks before the one that is damaged


@pytest.mark.parametrize("kind", PACKERS)
def test_a_stream_cut_short_serves_its_whole_frames(raw: bytes, kind: str, tmp_path: Path) -> None:
    pack: Callable[..., bytes] = PACKERS[kind]
    sound = pack(raw, 1)
    path = tmp_path / f"a{SUFFIXES[kind]}"
    for cut in (1, 4, 8, len(sound) // 3, len(sound) // 2):
        path.write_bytes(sound[:-cut])
        if kind == "bzip2" and cut == len(sound) // 2 and len(raw) < 100_000:
            continue
        array, end = values(path)
        np.testing.assert_array_equal(array, STACK[: len(array)])
        assert len(array) < 12 or cut <= 8
        assert end is not None
        assert CUT in end


@pytest.mark.parametrize("kind", PACKERS)
def test_whole_frames_before_a_damaged_member(raw: bytes, kind: str, tmp_path: Path) -> None:
    pack = PACKERS[kind]
    frame = len(raw) // 12
    members = [pack(raw[n * frame : (n + 1) * frame]) for n in range(12)]
    path = tmp_path / f"a{SUFFIXES[kind]}"
    path.write_bytes(b"".join(members))
    array, end = values(path)
    np.testing.assert_array_equal(array, STACK)
    assert end is None
    for bad in (5, 11):
        damaged = bytearray(members[bad])
        damaged[len(damaged) // 2] ^= 255
        path.write_bytes(b"".join([*members[:bad], damaged, *members[bad + 1 :]]))
        array, end = values(path)
        np.testing.assert_array_equal(array, STACK[:bad])
        assert end is not None
        assert "damaged" in end
    half = b"".join([pack(raw[: frame + 600]), members[1][:50]])  # the member ends within frame 1
    path.write_bytes(half)
    array, end = values(path)
    np.testing.assert_array_equal(array, STACK[:1])
    assert end is not None


def test_the_only_member_is_damaged(raw: bytes, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(raw))
    packed[len(packed) // 2] ^= 255
    path = tmp_path / "a.edf.gz"
    path.write_bytes(packed)
    with pytest.raises(DamagedError, match="its packed data are damaged"):
        ImageFileReader(str(path), None)


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(("rest", "told"), [(bytes(5000), False), (b"rubbish" * 999, True)])
def test_what_follows_the_packed_data(
    raw: bytes, kind: str, rest: bytes, told: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"a{SUFFIXES[kind]}"
    path.write_bytes(PACKERS[kind](raw) + rest)
    array, end = values(path)
    np.testing.assert_array_equal(array, STACK)
    assert (end is not None) == told


@pytest.mark.parametrize("trailer", ["checksum", "length"])
def test_a_wrong_trailer(raw: bytes, trailer: str, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(raw))
    packed[-8 if trailer == "checksum" else -4] ^= 1
    (tmp_path / "a.edf.gz").write_bytes(packed)
    with pytest.raises(DamagedError, match="damaged"):
        ImageFileReader(str(tmp_path / "a.edf.gz"), None)


@pytest.mark.parametrize("kind", PACKERS)
def test_reading_anywhere(raw: bytes, kind: str) -> None:
    pack = PACKERS[kind]
    packed = PackedFile(
        io.BytesIO(b"".join(pack(raw[n : n + 9999]) for n in range(0, len(raw), 9999))), kind
    )
    generator = random.Random(3)
    for _ in range(200):
        start, count = generator.randrange(len(raw) + 99), generator.randrange(9999)
        packed.seek(start)
        assert packed.read(count) == raw[start : start + count]
    packed.run_out()
    assert (packed.trusted, packed.fault) == (len(raw), "")


def test_much_out_of_little() -> None:
    """Several blocks, of tens of megabytes each, in one piece that goes in."""
    packed = bytearray(bz2.compress(bytes(120 << 20)))
    packed[-30] ^= 255
    file = PackedFile(io.BytesIO(packed), "bzip2")
    file.run_out()
    assert 40 << 20 < file.trusted < 120 << 20


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "zlib"])
def test_the_length_of_a_stream(kind: str) -> None:
    pack = {**PACKERS, "zlib": zlib.compress}[kind]
    packed = pack(bytes(range(256)) * 99)
    file = io.BytesIO(b"123" + packed + b"more")
    file.seek(3)
    assert packed_nbytes(file, kind) == len(packed)
    for damaged in (packed[:-2], packed[:-9] + b"\xff\xff" + packed[-7:]):
        assert packed_nbytes(io.BytesIO(damaged), kind) is None


def test_data_in_another_file_that_is_damaged(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(image().astype("<i4").tobytes()))
    path = edf_text(
        tmp_path / "a.edf", b"", EDF_DataBlockID="0.Image.Psd", EDF_BinarySize=0, Dim_1=32,
        Dim_2=24, ByteOrder="LowByteFirst", DataType="SignedInteger", EDF_BinaryFileName="raw.bin",
    )  # fmt: skip
    (tmp_path / "raw.bin.gz").write_bytes(packed)
    np.testing.assert_array_equal(values(path)[0][0], image())
    packed[-6] ^= 1
    (tmp_path / "raw.bin.gz").write_bytes(packed)
    with pytest.raises(DamagedError, match="damaged"):
        values(path)


@pytest.mark.parametrize("kind", PACKERS)
def test_images_that_fabio_reads(kind: str, tmp_path: Path) -> None:
    """FabIO reads as many bytes as it needs, and so never comes to the checksum."""
    WRITERS["a.mrc"](tmp_path / "a.mrc")
    path = tmp_path / f"a.mrc{SUFFIXES[kind][4:]}"
    packed = bytearray(PACKERS[kind]((tmp_path / "a.mrc").read_bytes() + bytes(9999)))
    path.write_bytes(packed)
    np.testing.assert_array_equal(values(path)[0], image(shape=(3, 24, 32)))
    for place in (-6 if kind == "gzip" else 60, len(packed) // 2):
        damaged = bytearray(packed)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DamagedError):
            values(path)
