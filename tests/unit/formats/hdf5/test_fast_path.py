"""What is asked of libhdf5 directly, against what h5py is asked for the same objects."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.encoders.json_text import to_json
from esrffs.formats.hdf5 import attributes, fast_path, reader, shared_records
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.formats.hdf5.shared_records import SharedRecords
from esrffs.model import ChunkedLayout, DatasetInfo, JsonText
from tests.support import hdf5_corpus as corpus
from tests.support.reader_contract import walk

_UNUSUAL = fast_path.NOT_SIMPLE


def odd_attributes(folder: Path) -> Path:
    """Values at the edges of what is plain."""
    path = folder / "odd.h5"
    with h5py.File(path, "w", locking=False) as file:
        made = {
            "empty text": "",
            "latin": b"caf\xe9",
            "utf": "grün",
            "fixed": np.bytes_(b"ab"),
            "fixed utf": np.array("é".encode(), h5py.string_dtype("utf-8", 4)),
            "texts": ["a", "", "ccc"],
            "no texts": np.array([], h5py.string_dtype()),
            "table of texts": np.array([["a", "b"]], h5py.string_dtype()),
            "many texts": ["x" * 9] * 600,
            "bool": True,
            "bools": [True, False],
            "big endian": np.array([1, 2], ">i2"),
            "unsigned": np.uint64(2**64 - 1),
            "half": np.float16(0.1),
            "nan": np.nan,
            "long": np.longdouble(1) / 3,
            "complex": 1j,
            "row": np.arange(512.0),
            "long row": np.arange(513.0),
            "table": np.eye(2),
            "none": np.zeros(0),
            "null": h5py.Empty("f4"),
            "null text": h5py.Empty("S1"),
            "enum": np.array(5, h5py.enum_dtype({"red": 1, "blue": 5}, "i2")),
            "compound": np.array((1, 2.5), "i4,f4"),
            "array": np.array([(1, 2)], "(2,)i4"),
            "reference": file.ref,
            "opaque": np.void(b"ab"),
        }
        for number, (name, value) in enumerate(made.items()):
            dataset = file.create_dataset(f"{number}/d", data=np.arange(3))
            dataset.attrs["before"] = number
            dataset.attrs[name] = value
            file[f"{number}"].attrs[name] = value
        padded = h5py.h5t.C_S1.copy()
        padded.set_size(5)
        padded.set_strpad(h5py.h5t.STR_SPACEPAD)
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        held = h5py.h5a.create(file["0/d"].id, b"padded", padded, space)
        held.write(np.array(b"ab   ", "S5"), mtype=padded)
        unwritten = h5py.h5t.TypeID.copy(h5py.h5t.py_create(h5py.string_dtype(), logical=True))
        h5py.h5a.create(file["0/d"].id, b"unwritten", unwritten, space)
        for number in range(20):
            file["1/d"].attrs[f"further {number}"] = number
        file["typed"] = np.dtype("f8")
        committed = h5py.h5d.create(file.id, b"of a committed type", file["typed"].id, space)
        committed.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(2.5))
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = tmp_path_factory.mktemp("hdf5") / "source"
    made.mkdir()
    return [write(made) for write in (*corpus.WRITERS.values(), odd_attributes)]


def described(path: Path) -> list[object]:
    """All that a reader tells of a file, but for how far it is trusted with other files.

    The text of a scalar is told where it is at hand; `workers/listed_texts` reads the others.
    """
    reader = Hdf5Reader(str(path), None)
    try:
        found = [
            repr(replace(member, text=None) if isinstance(member, DatasetInfo) else member)
            for member in walk(reader)
        ]
        addresses = [member.address for member in walk(reader) if hasattr(member, "address")]
        return [found, [reader.attributes(address) for address in addresses]]
    finally:
        reader.close()


def test_both_ways_tell_the_same(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_path._hdf5 is not None
    directly = {path: described(path) for path in paths}
    monkeypatch.setattr(fast_path, "_hdf5", None)
    for path in paths:
        assert directly[path] == described(path), path.name


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often something was plain, and how often not."""
    counts = {"plain": 0, "not": 0}

    def counting(function):
        def call(*arguments):
            answer = function(*arguments)
            counts["not" if answer is None or answer is _UNUSUAL else "plain"] += 1
            return answer

        return call

    monkeypatch.setattr(reader, "describe_member", counting(fast_path.describe_member))
    plain = counting(fast_path.read_simple_attribute)
    monkeypatch.setattr(attributes, "read_simple_attribute", plain)
    return counts


def test_the_usual_is_plain(tmp_path: Path, asked: dict[str, int]) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", locking=False) as file:
        file.attrs["NX_class"] = "NXroot"
        for number in range(10):
            file[f"d{number}"] = np.arange(number + 1)
            file[f"d{number}"].attrs["units"] = "mm"
            file[f"d{number}"].attrs["scale"] = 0.5
            file[f"d{number}"].attrs["size"] = [1, 2]
            chunked = file.create_dataset(f"c{number}", (6, 4), "i2", chunks=(2, 4), fillvalue=7)
            chunked.attrs["units"] = "mm"
            file.create_group(f"g{number}")
    reader = Hdf5Reader(str(path), None)
    listing = reader.listing("")
    reader.close()
    assert asked == {"plain": 30, "not": 0}
    shared = [one for one in listing.members if isinstance(one, DatasetInfo) and one.name[0] == "c"]
    assert len({id(one.attributes) for one in shared}) == 1
    assert len({id(one.layout) for one in shared}) == 1


def test_equal_values_of_different_types_are_different_json() -> None:
    records = SharedRecords()
    values: list[object] = [1, True, 1.0, [1], [1.0], b"1", None, float("nan"), -0.0, 0.0]
    for _ in range(2):
        for value in values:
            told = records.json({"key": value})
            assert told is not None
            assert told == JsonText.of(to_json({"key": value}))
    assert records.json({}) is None
    assert records.json({}, {"red": 1}) == JsonText.of(to_json({"__enum__": {"red": 1}}))


def test_shared_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_records, "MAX_RECORDS", 10)
    records = SharedRecords()
    for number in range(100):
        assert records.json({"key": number}) == JsonText.of(to_json({"key": number}))
        assert records.layout(ChunkedLayout((number,))) == ChunkedLayout((number,))
    assert len(records._json) <= 10
    assert len(records._layouts) <= 10


def test_no_memory_is_lost(tmp_path: Path) -> None:
    """Texts of variable length are in memory that has to be given back."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", locking=False) as file:
        file["d"] = 1
        file["d"].attrs["text"] = "x" * 60_000
    reader = Hdf5Reader(str(path), None)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for _ in range(50):
        reader.listing("")
    before = resident()
    for _ in range(500):  # 30 MB
        reader.listing("")
    reader.close()
    assert resident() - before < 10 << 20


def test_a_text_without_room_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libhdf5 could read and we cannot hold is h5py's affair, and is given back."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", locking=False) as file:
        for holder in (file, file.create_dataset("d", data=1)):
            holder.attrs.update(text="long", number=3)
    reader = Hdf5Reader(str(path), None)
    whole = [reader.listing(""), reader.attributes("")]
    told: list[str] = []

    def refused(at: int) -> bytes:
        told.append("refused")
        raise MemoryError

    def reclaimed(*arguments: int) -> int:
        told.append("given back")
        return reclaim(*arguments)

    reclaim = fast_path._hdf5.reclaim
    monkeypatch.setattr(fast_path, "string_at", refused)
    monkeypatch.setattr(fast_path._hdf5, "reclaim", reclaimed)
    assert [reader.listing(""), reader.attributes("")] == whole
    reader.close()
    assert told == ["refused", "given back"] * 4


def test_records_cross_to_the_daemon_whole(paths: list[Path]) -> None:
    for path in paths:
        reader = Hdf5Reader(str(path), None)
        listing = reader.listing("")
        reader.close()
        assert pickle.loads(pickle.dumps(listing)) == listing
