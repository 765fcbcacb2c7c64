"""Listing never takes long for one object: texts, sequences, enumerations, many mappings."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from esrffs import limits
from esrffs.encoders.json_text import value_to_json
from esrffs.errors import DamagedError, TooLargeError
from esrffs.formats import budget
from esrffs.formats.budget import NotNowError
from esrffs.formats.hdf5 import chunk_check, json_values, text_widths, values
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.formats.hdf5.references import References
from esrffs.model import Box, BrokenInfo, DatasetInfo, JsonInfo, Member
from tests.support.reader_contract import whole

TEXT = h5py.string_dtype()
Filled = Callable[[h5py.File], object]


@pytest.fixture(autouse=True)
def unhurried() -> Iterator[None]:
    """The time of a call is that of its process."""
    yield
    budget.begin(math.inf)
    limits.configure(limits.Limits())


def listed(tmp_path: Path, fill: Filled) -> tuple[Hdf5Reader, dict[str, Member]]:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        fill(file)
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    return reader, {member.name: member for member in reader.listing("").members}


# ---- texts

WORDS = ["", "a", "héllo", "日本語", "x" * 300, "ü" * 200, "end"]
PACKED = {
    "contiguous": {},
    "chunked": {"chunks": (7,)},
    "one chunk": {"chunks": (100,), "compression": "gzip", "shuffle": True},
    "zstd": {"chunks": (9,), **hdf5plugin.Zstd()},
    "bitshuffle": {"chunks": (16,), **hdf5plugin.Bitshuffle()},
    "lzf": {"chunks": (30,), "compression": "lzf", "shuffle": True},
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("charset", ["utf-8", "ascii"])
def test_texts_are_as_wide_as_the_longest(tmp_path: Path, packed: str, charset: str) -> None:
    words = [WORDS[(i * 5) % len(WORDS)] for i in range(100)]
    if charset == "ascii":
        words = [word if word.isascii() else "plain" for word in words]
    kind = h5py.string_dtype(charset)

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("x", (100,), kind, **PACKED[packed])
        made[:90] = np.array(words[:90], object)  # the others were never written

    reader, found = listed(tmp_path, fill)
    wanted = np.array([*words[:90], *[""] * 10])
    assert found["x"].dtype == wanted.dtype
    assert (reader.read("/x", whole(found["x"])) == wanted).all()


@pytest.mark.parametrize(
    ("shape", "chunk"), [((40, 30), (40, 1)), ((40, 30), (1, 30)), ((9, 8, 7), None)]
)
def test_texts_of_several_axes(tmp_path: Path, shape: tuple[int, ...], chunk: object) -> None:
    words = np.array(["y" * (i % 53) for i in range(math.prod(shape))], object).reshape(shape)
    _, found = listed(
        tmp_path, lambda file: file.create_dataset("x", data=words, dtype=TEXT, chunks=chunk)
    )
    assert found["x"].dtype == np.dtype("<U52")


def test_texts_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = values.measure
    monkeypatch.setattr(values, "measure", lambda *args: calls.append(1) or real(*args))
    mixed = np.dtype([("n", "i4"), ("t", TEXT)])

    def fill(file: h5py.File) -> None:
        file["x"] = np.array(["one", "three"], object)
        file.create_dataset("c", (2,), mixed)

    reader, found = listed(tmp_path, fill)
    reader.listing("")
    reader.find("x")
    reader.read("/x", whole(found["x"]))
    reader.read("/c", whole(found["c"]))
    assert len(calls) == 2
    other = Hdf5Reader(str(tmp_path / "a.h5"), None)
    other.learn("/x", found["x"].dtype)
    assert other.read("/x", whole(found["x"])).tolist() == ["one", "three"]
    assert len(calls) == 2


def test_one_large_chunk_is_decoded_once(tmp_path: Path) -> None:
    """Each block of texts would decode it anew: libhdf5 keeps less than it by itself."""
    count = 300_000
    words = np.array([f"AC{i:07d}" for i in range(count)], object)

    def fill(file: h5py.File) -> None:
        file.create_dataset("x", data=words, dtype=TEXT, chunks=(count,), compression="gzip")

    with h5py.File(tmp_path / "a.h5", "w") as file:
        fill(file)
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    cache = reader._files.main.id.get_access_plist().get_cache()
    assert cache[2] > 16 * count
    info = reader.find("x")
    assert reader._values._last is not None, "closed, a dataset forgets its chunks"
    assert info.dtype == np.dtype("<U9")


def read_bit_by_bit(tmp_path: Path, count: int, parts: int) -> tuple[Hdf5Reader, list[float]]:
    """Ten texts at a time of one large chunk: the processor time that each part takes."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        words = np.array([f"AC{i:07d}" for i in range(count)], object)
        file.create_dataset("x", data=words, dtype=TEXT, chunks=(count,), compression="gzip")
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    seconds = []
    for number in range(parts):
        start = number * (count // parts)
        begun = time.process_time()
        found = reader.read("/x", Box((start,), (start + 10,)))
        seconds.append(time.process_time() - begun)
        assert found.tolist() == words[start : start + 10].tolist()
        if not number:
            seconds.clear()  # to find out how long they are takes long
    return reader, seconds


def test_one_large_chunk_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    real = chunk_check._check

    def check(raw: memoryview, *words: object) -> int:
        checked.append(len(raw))
        return real(raw, *words)

    monkeypatch.setattr(chunk_check, "_check", check)
    reader, _ = read_bit_by_bit(tmp_path, 1000, 20)
    assert len(checked) == 1
    with h5py.File(tmp_path / "a.h5", locking=False) as file:
        chunk = file["x"].id.get_chunk_info(0)
    with open(tmp_path / "a.h5", "r+b") as raw:  # it is looked at again where it is another
        raw.seek(chunk.byte_offset + 9)
        raw.write(b"other")
    with pytest.raises(DamagedError):
        reader.read("/x", Box((5,), (9,)))


def test_one_large_chunk_stays_unpacked_between_its_checks(tmp_path: Path) -> None:
    """To be asked for a chunk as it is stored makes libhdf5 unpack it anew."""
    reader, seconds = read_bit_by_bit(tmp_path, 1_000_000, 21)
    begun = time.process_time()
    for _ in range(3):
        reader._files.find("/x").object.read_direct_chunk((0,))
        reader.read("/x", Box((5,), (9,)))
    anew = time.process_time() - begun
    assert sum(seconds) < 20 / 3 * anew / 2, "20 times as if each had been the first"


def test_references_are_looked_up_once_for_each_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those to objects without a name are left to h5py."""
    count = 3000

    def fill(file: h5py.File) -> None:
        file["g/x"], file["gone"] = 1, 2
        rows = np.empty(count, object)
        rows[:] = [file["g/x"].ref, file["g"].ref, h5py.Reference()] * (count // 3)
        file.create_dataset("refs", (count,), h5py.ref_dtype)[:] = rows
        file.create_dataset("array", (2,), np.dtype((h5py.ref_dtype, (3,))))
        file.create_dataset("lost", (2,), h5py.ref_dtype)[:1] = [file["gone"].ref]
        del file["gone"]

    reader, found = listed(tmp_path, fill)
    lost = reader.read("/lost", whole(found["lost"]))
    assert lost.tolist() == ["?", ""]
    assert reader.read("/array", whole(found["array"])).tolist() == [["", "", ""]] * 2
    monkeypatch.setattr(References, "text", lambda *_: pytest.fail("one by one"))
    told = reader.read("/refs", whole(found["refs"])).tolist()
    assert told == ["/g/x", "/g", ""] * (count // 3)


# ---- arrays that would be far too wide


def test_one_long_text_makes_json(tmp_path: Path) -> None:
    words = ["ok"] * 20_000
    words[7] = "z" * 1_000_000
    mixed = np.dtype([("n", "i4"), ("t", TEXT)])

    def fill(file: h5py.File) -> None:
        file["notes"] = np.array(words, object)
        rows = np.zeros(20_000, mixed)
        rows["n"], rows["t"] = range(20_000), words
        file["rows"] = rows
        file["link"] = h5py.SoftLink("/notes")

    reader, found = listed(tmp_path, fill)
    assert isinstance(found["notes"], JsonInfo)
    assert json.loads(reader.text("/notes")) == words
    assert found["notes"].content.size == len(reader.text("/notes"))
    assert isinstance(found["rows"], JsonInfo)
    assert json.loads(reader.text("/rows"))[7] == {"n": 7, "t": words[7]}
    assert found["link"].kind == "text"


@pytest.mark.parametrize(
    ("count", "long", "wide"),
    [
        (1000, 17_000, True),
        (1000, 15_000, False),
        (70_000, 1000, True),
        (4, 4_300_000, False),
        (5, 4_300_000, True),
    ],
)
def test_where_json_begins(tmp_path: Path, count: int, long: int, wide: bool) -> None:
    """More than 64 MiB, and more than 16 times the bytes of the texts."""
    words = np.array(["z" * long, *[""] * (count - 1)], object)
    _, found = listed(tmp_path, lambda file: file.create_dataset("x", data=words, dtype=TEXT))
    assert isinstance(found["x"], JsonInfo) == wide


def test_long_texts_alike_stay_an_array(tmp_path: Path) -> None:
    words = np.array(["z" * 1_000_000] * 40, object)
    _, found = listed(tmp_path, lambda file: file.create_dataset("x", data=words, dtype=TEXT))
    assert isinstance(found["x"], DatasetInfo)


# ---- sequences

SEQUENCES = {
    "floats": (h5py.vlen_dtype("f8"), [np.arange(i % 4) / 3 for i in range(700)]),
    "no numbers": (h5py.vlen_dtype("f4"), [np.array([np.nan, 1.5, -np.inf][:i]) for i in range(4)]),
    "integers": (h5py.vlen_dtype("<u2"), [np.arange(i % 3) for i in range(600)]),
    "bytes": (h5py.vlen_dtype("u1"), [np.frombuffer(b"abc", "u1")] * 5),
    "big-endian": (h5py.vlen_dtype(">i8"), [np.array([-1, 1 << 60], ">i8")] * 5),
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_the_same_json_in_blocks(tmp_path: Path, name: str) -> None:
    kind, rows = SEQUENCES[name]

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("x", (len(rows),), kind)
        for number, row in enumerate(rows):
            made[number] = row

    reader, found = listed(tmp_path, fill)
    text = reader.text("/x")
    wanted = [[v if np.isfinite(v) else None for v in row.tolist()] for row in rows]
    assert json.loads(text) == wanted
    assert text.decode() == json.dumps(wanted, indent=2) + "\n"
    assert found["x"].content.size == len(text)


@pytest.mark.parametrize("kind", ["i2", "u4", "i8", "f4", "f8", "c16", "f2"])
@pytest.mark.parametrize("order", "<>")
def test_sequences_of_either_byte_order(tmp_path: Path, kind: str, order: str) -> None:
    """h5py (3.16) gives the bytes of big-endian ones as they are; it writes them right."""
    values = np.array([1, 2, 300], order + kind)
    nested = h5py.vlen_dtype(h5py.vlen_dtype(values.dtype))

    def fill(file: h5py.File) -> None:
        file.create_dataset("x", (1,), h5py.vlen_dtype(values.dtype))[0] = values
        fields = [("n", ">i4"), ("v", h5py.vlen_dtype(values.dtype))]
        made = file.create_dataset("c", (1,), np.dtype(fields))
        made[0] = (7, values)
        rows = np.array([values, values[:2]], object)
        file["x"].attrs.create("a", rows, dtype=h5py.vlen_dtype(values.dtype))
        file.create_dataset("nested", (1,), nested)

    reader, _ = listed(tmp_path, fill)
    wanted = json.loads(value_to_json(values.tolist()))
    assert json.loads(reader.text("/x")) == [wanted]
    assert json.loads(reader.text("/c")) == [{"n": 7, "v": wanted}]
    assert json.loads(reader.attributes("/x")) == {"a": [wanted, wanted[:2]]}
    assert json.loads(reader.text("/nested")) == [[]]


def test_json_that_is_too_large_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not everything is read for a file that is then refused, and that only once."""
    count = 20_000

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("x", (count,), h5py.vlen_dtype("f8"))
        rows = np.empty(count, object)
        for number in range(count):
            rows[number] = np.arange(40 - number % 2) / 3
        made[:] = rows
        file["y"] = 1

    limits.configure(limits.Limits(json=1 << 20))
    boxes = []
    real = json_values.json_nbytes
    monkeypatch.setattr(json_values, "json_nbytes", lambda a: boxes.append(a.size) or real(a))
    reader, found = listed(tmp_path, fill)
    assert isinstance(found["y"], DatasetInfo)
    assert isinstance(found["x"], BrokenInfo)
    assert (found["x"].errno, found["x"].kind) == (TooLargeError.errno, "text")
    assert "json_limit" in found["x"].reason
    assert sum(boxes) < count / 2
    seen = len(boxes)
    reader.listing("")
    assert len(boxes) == seen


# ---- enumerations


def test_large_enumerations(tmp_path: Path) -> None:
    members = {f"name{3000 - i:05d}": i for i in range(3000)}
    kind = h5py.enum_dtype(members, basetype="i4")

    def fill(file: h5py.File) -> None:
        file["kind"] = np.dtype(kind)
        file.create_dataset("x", data=np.arange(10, dtype="i4"), dtype=file["kind"])
        file.create_dataset("c", (2,), np.dtype([("a", kind), ("b", "f4")]))
        file.create_dataset("array", (2,), np.dtype((kind, (3,))))
        file["x"].attrs.create("e", 5, dtype=kind)

    reader, found = listed(tmp_path, fill)
    told = {name: json.loads(reader.attributes(f"/{name}")) for name in ("x", "c", "array")}
    assert told["x"]["__enum__"] == told["c"]["__enum__"]["a"] == members
    assert told["array"]["__enum__"] == members
    assert told["x"]["e"] == 5
    assert found["array"].shape == (2, 3)


# ---- too slow


def test_a_slow_object_is_broken_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is only the second of two: each may take half of the time that is left."""
    now = [0.0]
    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
    real = text_widths._note_lengths

    def slow(widths: object, dataset: object, box: object) -> None:
        now[0] += 1.0 if dataset.shape[0] > 50_000 else 0.01
        real(widths, dataset, box)

    monkeypatch.setattr(text_widths, "_note_lengths", slow)

    def fill(file: h5py.File) -> None:
        for name, count in (("a", 900_000), ("b", 10), ("c", 900_000), ("d", 10)):
            file.create_dataset(name, (count,), TEXT)
        file["e"] = 1

    with h5py.File(tmp_path / "a.h5", "w") as file:
        fill(file)
    reader = Hdf5Reader(str(tmp_path / "a.h5"), None)
    budget.begin(10)
    found = {member.name: member for member in reader.listing("").members}
    assert now[0] < 10
    assert [name for name in found if isinstance(found[name], BrokenInfo)] == ["a", "c"]
    assert found["a"].reason.startswith("/a: needs more time than there is")
    before = now[0]
    budget.begin(10)
    reader.listing("")
    assert now[0] == before, "what is known is not tried again"


def test_what_nobody_asked_for_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    reader, _ = listed(tmp_path, lambda file: file.create_dataset("g/x", (9,), TEXT))
    monkeypatch.setattr(budget.time, "monotonic", lambda: float(next(now)))
    budget.begin(0.01, prefetching=True)
    with pytest.raises(NotNowError):
        reader.listing("/g")
    budget.begin(math.inf)
    assert isinstance(reader.listing("/g").members[0], DatasetInfo)
