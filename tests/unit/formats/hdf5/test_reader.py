"""The HDF5 reader against h5py, on files of every sort, sound and damaged."""

import io
import itertools
import json
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5p

from esrffs.errors import (
    AccessDeniedError,
    DamagedError,
    EsrffsError,
    LinkLoopError,
    NotFoundError,
    UnsupportedError,
)
from esrffs.formats import budget
from esrffs.formats.hdf5 import virtual_layout, virtual_sources
from esrffs.formats.hdf5.links import FileSet, ResolvedObject, find_file
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import (
    Box,
    BrokenInfo,
    ChunkedLayout,
    ContiguousLayout,
    DatasetInfo,
    GroupInfo,
    JsonInfo,
    LinkInfo,
    Member,
    OpaqueLayout,
    Reader,
    VirtualLayout,
)
from tests.support import hdf5_corpus as corpus
from tests.support.reader_contract import ReaderContract, walk, whole

SHARED = Path(__file__).parents[5] / "shared" / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the corpus, and what lies outside of their folder."""
    made = tmp_path_factory.mktemp("hdf5") / "source"
    made.mkdir()
    for write in corpus.WRITERS.values():
        write(made)
    (made.parent / "secret").write_bytes(b"root")
    with h5py.File(made.parent / "outside.h5", "w") as file:
        file["d"] = 1
    return made


def paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def members(reader: Reader, address: str = "") -> dict[str, Member]:
    return {member.name: member for member in reader.listing(address).members}


@pytest.fixture
def opened(folder: Path) -> Iterator[object]:
    """Opens files of the corpus by name, and closes them."""
    readers: list[Hdf5Reader] = []

    def open_reader(name: str, confine: bool = False) -> Hdf5Reader:
        inside = os.path.realpath(folder) if confine else None
        readers.append(Hdf5Reader(str(folder / name), inside))
        return readers[-1]

    yield open_reader
    for reader in readers:
        reader.close()


def get(reader: Reader, name: str) -> np.ndarray:
    info = reader.find(name)
    assert isinstance(info, DatasetInfo)
    return reader.read(info.address, whole(info))


@pytest.mark.parametrize(
    "name",
    [
        *("numbers.h5", "strings.h5", "compounds.h5", "references.h5", "sequences.h5"),
        *("attributes.h5", "layouts.h5", "latest.h5", "links.h5", "netcdf.nc", "matlab.mat"),
    ],
)
class TestContract(ReaderContract):
    @pytest.fixture
    def reader(self, folder: Path, name: str) -> Iterator[Reader]:
        reader = Hdf5Reader(str(folder / name), None)
        yield reader
        reader.close()


# ---- against h5py


def region_text(file: h5py.File, reference: h5py.RegionReference) -> str:
    space = h5py.h5r.get_region(reference, file.id)
    blocks = space.get_select_hyper_blocklist() if space.get_select_type() == 2 else None
    if blocks is None:
        return file[reference].name + "[...]"
    texts = (",".join(f"{a}:{b + 1}" for a, b in zip(*block, strict=True)) for block in blocks)
    return f"{file[reference].name}[{';'.join(texts)}]"


def texts(file: h5py.File, values: np.ndarray) -> np.ndarray:
    """Objects as h5py gives them → `<U…`, by the contract's rules."""

    def text(value: object) -> str:
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogateescape")
        if isinstance(value, str):
            return value
        if not value:
            return ""
        if isinstance(value, h5py.RegionReference):
            return region_text(file, value)
        return file[value].name

    found = [text(value) for value in values.ravel()]
    dtype = f"U{max([1, *map(len, found)])}"
    return np.array(found, dtype).reshape(values.shape)


def h5py_reads(dataset: h5py.Dataset) -> np.ndarray:
    base = (dataset.dtype.subdtype or [dataset.dtype])[0]
    return np.array(dataset[()], dtype=base) if base.hasobject else np.asarray(dataset[()])


def oracle(file: h5py.File, values: np.ndarray) -> np.ndarray:
    """What h5py gives for `dataset[()]` → what the contract says is saved."""
    if not values.dtype.hasobject:
        return values.view(plain(values.dtype))
    if not values.dtype.names:
        return texts(file, values)
    fields = {name: oracle(file, values[name]) for name in values.dtype.names}
    inner = {name: field.shape[values.ndim :] for name, field in fields.items()}
    out = np.zeros(values.shape, [(n, fields[n].dtype, inner[n]) for n in fields])
    for name, field in fields.items():
        out[name] = field
    return out


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def plain(dtype: np.dtype) -> np.dtype:
    """Without h5py's metadata, of which `numpy.save` would warn."""
    if dtype.subdtype:
        return np.dtype((plain(dtype.subdtype[0]), dtype.subdtype[1]))
    if dtype.names and not dtype.hasobject:
        fields = dtype.fields
        return np.dtype(
            {
                "names": list(dtype.names),
                "formats": [plain(dtype[name]) for name in dtype.names],
                "offsets": [fields[name][1] for name in dtype.names],
                "itemsize": dtype.itemsize,
            }
        )
    return dtype if dtype.hasobject else np.dtype(dtype.str)


RAW = {"3 bytes": "V3", "time": "V4", "opaque": "V5", "tagged": "V6"}  # h5py cannot
# See the tests of their files.
MISSING = {"fixed", "short", "short of two", "nested", "missing", "outside"}


def test_every_dataset_is_what_h5py_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # where h5py looks for external raw files
    compared = 0
    for path in paths(folder):
        reader = Hdf5Reader(str(path), None)
        found = list(walk(reader))
        infos = [m for m in found if isinstance(m, DatasetInfo)]
        if path.stem == "references":
            assert not [m for m in found if isinstance(m, BrokenInfo)]
        got = {}
        for info in infos:
            if path.stem in ("virtual", "external") and info.name in MISSING:
                continue
            got[info.address] = reader.read(info.address, whole(info))
            assert got[info.address].dtype == info.dtype
        reader.close()
        with h5py.File(path) as file:
            for address, array in got.items():
                dataset = file[address.encode("utf-8", "surrogateescape")]
                name = address.rpartition("/")[2]
                if name in RAW and path.stem == "numbers":
                    assert array.dtype == RAW[name]
                    continue
                if dataset.shape is None:
                    base, dims = dataset.dtype.subdtype or (dataset.dtype, ())
                    wanted = oracle(file, np.zeros((0, *dims), base))
                else:
                    wanted = oracle(file, h5py_reads(dataset))
                assert saved(array) == saved(wanted), (path.name, address)
                compared += 1
    assert compared > 120


def test_bytes_of_types_without_a_dtype(opened) -> None:
    reader = opened("numbers.h5")
    assert get(reader, "3 bytes").tobytes() == bytes(range(12))
    assert get(reader, "time").tobytes() == bytes(range(8))
    assert get(reader, "opaque").tobytes() == b"abcdefgh\0\xff"
    assert get(reader, "bits in a compound").tobytes() == b"\1\2\3"
    assert get(reader, "tagged").tobytes() == b"abcdef"


def json_of(file: h5py.File, value: object) -> object:  # noqa: C901  # a case for each type
    match value:
        case h5py.Empty():
            return None
        case h5py.RegionReference():
            return region_text(file, value) if value else ""
        case h5py.Reference():
            return file[value].name if value else ""
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value.decode("latin-1")
        case np.void():
            return {name: json_of(file, value[name]) for name in value.dtype.names}
        case np.ndarray():
            return [json_of(file, inner) for inner in value]
        case complex() | np.complexfloating():
            return [value.real, value.imag]
        case np.floating():
            return float(value) if math.isfinite(value) else None
        case np.generic():
            return value.item()
    return value


def test_every_attribute_is_what_h5py_reads(folder: Path) -> None:
    compared = 0
    for path in paths(folder):
        reader = Hdf5Reader(str(path), None)
        addresses = ["", *(m.address for m in walk(reader) if hasattr(m, "address"))]
        got = {address: json.loads(reader.attributes(address)) for address in addresses}
        reader.close()
        with h5py.File(path) as file:
            for address, told in got.items():
                item = file[address.encode("utf-8", "surrogateescape") or "/"]
                told.pop("__enum__", None)
                assert set(told) == set(item.attrs), (path.name, address)
                for name, value in item.attrs.items():
                    assert told[name] == json_of(file, value), (path.name, address, name)
                    compared += 1
    assert compared > 40


def test_attributes_stand_in_the_order_of_the_file(opened) -> None:
    reader = opened("attributes.h5")
    assert list(json.loads(reader.attributes("/data")))[:3] == ["zuerst", "a", "bytes"]
    assert list(json.loads(reader.attributes("/many"))) == [f"k{i}" for i in reversed(range(20))]


def test_names_of_an_enumeration_stand_among_the_attributes(opened) -> None:
    reader = opened("numbers.h5")
    assert json.loads(reader.attributes("/enum")) == {"__enum__": {"red": 1, "blue": 5}}
    assert reader.find("bool").attributes is None
    assert json.loads(opened("compounds.h5").attributes("/enum")) == {"__enum__": {"c": {"red": 1}}}


def test_an_attribute_that_cannot_be_read_is_null_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["good"] = 1
        stored = h5py.h5t.vlen_create(h5py.h5t.STD_REF_DSETREG)
        h5py.h5a.create(file.id, b"bad", stored, h5py.h5s.create_simple((1,)))
    reader = Hdf5Reader(str(path), None)
    told = json.loads(reader.attributes(""))
    assert (told["good"], told["bad"]) == (1, None)
    assert "crashes" in told["__error__"]["bad"]


def test_a_monstrous_attribute_is_null(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["huge"] = np.zeros((17 << 20,), "u1")
    told = json.loads(Hdf5Reader(str(path), None).attributes(""))
    assert told["huge"] is None
    assert "json_limit" in told["__error__"]["huge"]


# ---- where the bytes lie


def test_extents_and_chunks_lie_where_it_is_told(folder: Path) -> None:
    """What others read without the library: `pread`, and zlib where the filter is gzip alone."""
    extents = chunks = 0
    for path in paths(folder):
        reader, content = Hdf5Reader(str(path), None), path.read_bytes()
        for info in walk(reader):
            if not isinstance(info, DatasetInfo):
                continue
            if isinstance(info.layout, ContiguousLayout):
                size = math.prod(info.shape) * info.dtype.itemsize
                start = info.layout.offset
                assert content[start : start + size] == get(reader, info.address).tobytes()
                extents += 1
            elif isinstance(info.layout, ChunkedLayout) and info.layout.indexed:
                codes = [code for code, _ in info.layout.filters]
                if codes in ([], [1]):
                    check_chunks(reader, info, info.layout, content)
                    chunks += 1
        reader.close()
    assert extents > 60
    assert chunks > 8


def check_chunks(reader: Reader, info: DatasetInfo, layout: ChunkedLayout, content: bytes) -> None:
    index, array = reader.chunk_index(info.address), get(reader, info.address)
    grid = [-(-n // k) for n, k in zip(info.shape, layout.shape, strict=True)]
    assert len(index.offsets) == math.prod(grid)
    for number, corner in enumerate(np.ndindex(*grid)):
        start, size = int(index.offsets[number]), int(index.sizes[number])
        part = array[
            tuple(slice(i * k, i * k + k) for i, k in zip(corner, layout.shape, strict=True))
        ]
        if start < 0:
            assert layout.fill is not None
            wanted = np.frombuffer(layout.fill, info.dtype)
            assert (part == wanted).all()
            continue
        stored = content[start : start + size]
        packed = layout.filters and not index.masks[number]
        decoded = zlib.decompress(stored) if packed else stored
        chunk = np.frombuffer(decoded, info.dtype).reshape(layout.shape)
        assert (chunk[tuple(slice(n) for n in part.shape)] == part).all()


def test_layouts(opened) -> None:
    found = members(opened("layouts.h5"))
    assert isinstance(found["contiguous"].layout, ContiguousLayout)
    assert found["unwritten"].layout == VirtualLayout((), np.float64(7).tobytes())
    assert found["compact"].layout == OpaqueLayout()
    assert found["holes"].layout == ChunkedLayout((2, 2), (), np.array(-3, ">i4").tobytes(), True)
    assert found["array"].layout.shape == (2, 2)
    assert found["chunked shuffle gzip"].layout.filters == ((2, (2,)), (1, (4,)))
    assert found["raw edges"].layout.indexed
    for name in corpus.FILTERS:
        assert found[f"chunked {name}"].layout.indexed, name


def test_values_that_are_converted_on_reading_are_not_verbatim(opened) -> None:
    found = members(opened("numbers.h5"))
    assert isinstance(found["i4be"].layout, ContiguousLayout)
    assert found["12 bits"].layout == OpaqueLayout()
    assert members(opened("strings.h5"))["term"].layout == OpaqueLayout()


# ---- links


def test_links(opened, folder: Path) -> None:
    reader = opened("links.h5")
    found = members(reader)
    assert found["absolute"] == LinkInfo("absolute", "/a/./soft", None, "dataset")
    assert found["to group"] == LinkInfo("to group", "a", None, "group")
    assert found["to sequence"] == LinkInfo("to sequence", "sequence", None, "text")
    assert found["dangling"] == LinkInfo("dangling", "/nowhere")
    assert found["loop"] == LinkInfo("loop", "/loop")
    other = str(folder / "linked.h5")
    assert found["external"] == LinkInfo("external", "/group/data", other, "dataset")
    assert found["moved"] == LinkInfo("moved", "group", other, "group")
    assert found["missing"] == LinkInfo("missing", "/", str(folder / "missing.h5"))
    assert found["round"].kind == "dataset"
    assert found["outside"] == LinkInfo("outside", "/", str(folder.parent / "outside.h5"), "group")
    assert isinstance(found["\udcff\udcfe"], GroupInfo)
    assert reader.listing(found["\udcff\udcfe"].address).members == ()
    assert list(members(reader, "/ordered")) == ["z", "a", "y"]


def test_hard_links_share_an_identity(opened) -> None:
    reader = opened("links.h5")
    root = reader.find("")
    assert members(reader, "/a")["up"].identity == root.identity
    assert isinstance(members(reader, "/a")[".."], DatasetInfo)


def test_paths_are_followed_through_links(opened) -> None:
    reader = opened("links.h5")
    assert reader.find("to group/soft").address == "/a/data"
    assert reader.find("/a/up/a/./data").name == "data"
    assert get(reader, "external").tolist() == [1, 2, 3]
    assert get(reader, "moved/data").tolist() == [1, 2, 3]
    assert get(reader, "round") == 1.0
    with pytest.raises(LinkLoopError):
        reader.find("loop")
    for path in ("dangling", "missing", "a/data/below", "a/nothing"):
        with pytest.raises(NotFoundError):
            reader.find(path)


def test_nothing_outside_is_opened_when_confined(opened, folder: Path) -> None:
    reader = opened("links.h5", confine=True)
    found = members(reader)
    assert found["outside"].forbidden
    assert found["outside"].kind is None
    assert found["external"].kind == "dataset"
    with pytest.raises(AccessDeniedError):
        reader.find("outside/d")
    with pytest.raises(AccessDeniedError):
        get(opened("external.h5", confine=True), "outside")
    assert get(opened("external.h5"), "outside").tobytes() == b"root"


def test_a_symlink_does_not_lead_out(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    with h5py.File(tmp_path / "out.h5", "w") as file:
        file.create_dataset("d", data=np.arange(4), maxshape=(None,))
    (inside / "looks inside.h5").symlink_to(tmp_path / "out.h5")
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource("looks inside.h5", "d", (4,))
    endless = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple((0,), (endless,))
    space.select_hyperslab((0,), (endless,), (1,), (1,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_virtual(space, b"looks inside.h5", b"d", space)
    with h5py.File(inside / "a.h5", "w", libver="latest") as file:
        file["link"] = h5py.ExternalLink("looks inside.h5", "d")
        file.create_virtual_dataset("virtual", layout)
        h5py.h5d.create(file.id, b"growing", h5py.h5t.NATIVE_INT64, space, plist)
    reader = Hdf5Reader(str(inside / "a.h5"), os.path.realpath(inside))
    found = members(reader)
    assert found["link"].forbidden
    with pytest.raises(AccessDeniedError):
        get(reader, "virtual")
    assert isinstance(found["growing"], BrokenInfo)  # not even its shape can be told
    free = Hdf5Reader(str(inside / "a.h5"), None)
    assert get(free, "virtual").tolist() == get(free, "growing").tolist() == [0, 1, 2, 3]


def numbered_datasets(folder: Path, file_name: bytes) -> None:
    """A virtual dataset whose blocks are datasets of one file: `%b` stands in their name only."""
    endless = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple((0,), (endless,))
    space.select_hyperslab((0,), (endless,), (4,), (4,))
    whole = h5py.h5s.create_simple((4,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_virtual(space, file_name, b"/d%b", whole)
    with h5py.File(folder / "a.h5", "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"growing", h5py.h5t.NATIVE_INT64, space, plist)
    with h5py.File(folder / ("a.h5" if file_name == b"." else file_name.decode()), "a") as file:
        for block in range(3):
            file[f"d{block}"] = np.arange(4 * block, 4 * block + 4)


@pytest.mark.parametrize("file_name", [b".", b"other.h5"])
def test_blocks_that_are_numbered_in_one_file(
    tmp_path: Path, file_name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To tell the shape, or what it depends on, each *file* is looked for once."""
    numbered_datasets(tmp_path, file_name)
    looked: list[bytes] = []

    def find(name: bytes, *words: Any, **options: Any) -> str:
        looked.append(name)
        assert len(looked) < 100
        return find_file(name, *words, **options)

    monkeypatch.setattr(virtual_sources, "find_file", find)
    monkeypatch.setattr(virtual_layout, "find_file", find)
    for boundary in (os.path.realpath(tmp_path), None):
        reader = Hdf5Reader(str(tmp_path / "a.h5"), boundary)
        assert get(reader, "growing").tolist() == list(range(12))


def test_files_without_end_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered_datasets(tmp_path, b"%b.h5")
    monkeypatch.setattr(virtual_sources, "find_file", lambda *_, **__: str(tmp_path / "a.h5"))
    now = iter(range(1000))
    monkeypatch.setattr(budget.time, "monotonic", lambda: float(next(now)))
    reader = Hdf5Reader(str(tmp_path / "a.h5"), os.path.realpath(tmp_path))
    budget.begin(100)
    try:
        found = members(reader)["growing"]
    finally:
        budget.begin(math.inf)
    assert isinstance(found, BrokenInfo)
    assert "time_limit" in found.reason


# ---- what must not be made up


def test_virtual_datasets(opened) -> None:
    reader = opened("virtual.h5")
    rows = reader.read("/fixed", Box((0, 2), (3, 5)))
    assert rows.tolist() == [[2, 3, 4], [12, 13, 14], [22, 23, 24]]
    assert (reader.read("/fixed", Box((4, 0), (5, 10))) == -1).all()  # nothing is mapped there
    for address, box in (("/fixed", Box((2, 0), (4, 1))), ("/nested", Box((0, 0), (2, 1)))):
        with pytest.raises(DamagedError, match=r"source3\.h5"):
            reader.read(address, box)
    assert reader.read("/short", Box((3,), (10,))).tolist() == list(range(3, 10))
    with pytest.raises(DamagedError):
        reader.read("/short", Box((9,), (11,)))
    assert get(reader, "numbered").tolist() == list(range(30))
    assert get(reader, "growing")[:, 1].tolist() == list(range(10))


def test_more_sources_than_files_can_be_open(tmp_path: Path) -> None:
    code = """
import resource, sys
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import Box
resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))
print(Hdf5Reader(sys.argv[1], None).read("/all", Box((0,), (200,))).tolist() == [*range(1, 201)])
"""
    layout = h5py.VirtualLayout((200,), "i8")
    for index in range(200):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            file["d"] = [index + 1]
        layout[index] = h5py.VirtualSource(f"{index}.h5", "d", (1,))[0]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("all", layout, fillvalue=-1)
    command = [sys.executable, "-c", code, str(tmp_path / "all.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_external_raw_files(opened) -> None:
    reader = opened("external.h5")
    assert reader.read("/two parts", Box((1, 2), (3, 5))).tolist() == [[8, 9, 10], [14, 15, 16]]
    for name, told in (
        ("short", "truncated: .*/raw/two has 56 bytes where 80 belong"),
        ("short of two", "truncated: .*/raw/one has 44 bytes where 64 belong"),
        ("missing", r"/missing: .* raw file that cannot be had: no file 'raw"),
    ):
        with pytest.raises(DamagedError, match=told):
            get(reader, name)


def test_raw_files_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("folder", "fifo"):
            file.create_dataset(name, (4,), "<i4", external=[(name, 0, 16)])
            file[f"link to {name}"] = h5py.ExternalLink(name, "/x")
    reader = Hdf5Reader(str(tmp_path / "x.h5"), None)
    for name, told in (("folder", "a folder"), ("fifo", "a FIFO")):
        sentence = rf"/.*/{name} is {told}, where a file is looked for"
        with pytest.raises(DamagedError, match=rf"/{name}: .* cannot be had: {sentence}"):
            get(reader, name)
        with pytest.raises(NotFoundError, match=sentence):
            reader.find(f"link to {name}")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_truncated_file_gives_no_zeros(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "cut.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("chunks", data=np.ones(5000), chunks=(1000,))
        file.create_dataset("contiguous", data=np.ones(5000))
        offset = file["contiguous"].id.get_offset()
        chunk = file["chunks"].id.get_chunk_info(3).byte_offset
    reader = Hdf5Reader(str(path), None)
    for end, first, name in ((offset + 80, 10, "contiguous"), (chunk + 8, 3000, "chunks")):
        reader.listing("")
        os.truncate(path, end)
        assert (reader.read(f"/{name}", Box((0,), (first,))) == 1).all()
        with pytest.raises(DamagedError, match="truncated"):
            reader.read(f"/{name}", Box((first - 1,), (first + 1,)))
    index = reader.chunk_index("/chunks")  # who reads those that are lost will see
    assert (index.offsets + index.sizes > path.stat().st_size).tolist() == [
        *[False] * 3,
        True,
        True,
    ]
    reader.close()
    with pytest.raises(DamagedError, match="truncated"):
        Hdf5Reader(str(path), None)


def test_a_filter_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((4,))
        made = h5py.h5d.create(file.id, b"d", h5py.h5t.STD_I32LE, space, plist)
        made.write_direct_chunk((0,), bytes(16), 0)
    with pytest.raises(UnsupportedError, match="31999"):
        get(Hdf5Reader(str(path), None), "d")


def test_a_chunk_that_cannot_be_decoded_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("d", (8,), "i4", chunks=(4,), compression="gzip")
        made.id.write_direct_chunk((0,), b"not zlib", 0)
        made[4:] = 5
    reader = Hdf5Reader(str(path), None)
    assert reader.read("/d", Box((4,), (8,))).tolist() == [5] * 4
    with pytest.raises(DamagedError, match="/d"):
        get(reader, "d")


def test_what_crashes_h5py_is_broken_and_its_neighbours_are_not(opened) -> None:
    found = members(opened("sequences.h5"))
    assert "crashes" in found["regions"].reason
    assert isinstance(found["after"], DatasetInfo)
    assert all(isinstance(found[n], JsonInfo) for n in ("numbers", "texts", "refs", "null", "type"))


def test_sequences_as_json(opened) -> None:
    reader = opened("sequences.h5")
    assert json.loads(reader.text("/numbers")) == [[1.0, None], []]
    assert json.loads(reader.text("/texts")) == [["a", "bb"]]
    assert json.loads(reader.text("/refs")) == [["/"]]
    assert json.loads(reader.text("/null")) == []
    assert json.loads(reader.text("/type")) == {"dtype": "uint8", "enum": {"on": 1, "off": 0}}


# ---- opening


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.h5")
    corpus.empty(tmp_path).rename(path)
    assert Hdf5Reader(path, None).listing("").members == ()


def test_no_hdf5_file(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(DamagedError):
        Hdf5Reader(str(tmp_path / "a.h5"), None)
    with pytest.raises(NotFoundError):
        Hdf5Reader(str(tmp_path / "none.h5"), None)


WRITING = """
import h5py, sys, numpy as np
file = h5py.File(sys.argv[1], "w", libver="latest")
data = file.create_dataset("d", (4,), "i4", maxshape=(None,), chunks=(4,))
if sys.argv[2] == "swmr":
    file.swmr_mode = True
data[:] = 1
file.flush()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("mode", ["swmr", "plain"])
def test_a_file_that_is_being_written(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / "a.h5")
    command = [sys.executable, "-c", WRITING, path, mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        if mode == "swmr":
            assert get(Hdf5Reader(path, None), "d").tolist() == [1] * 4
        else:
            with pytest.raises(UnsupportedError, match="writ"):
                Hdf5Reader(path, None)
        process.communicate()


# ---- damage


def test_damage_is_an_error_or_harmless(folder: Path) -> None:
    """Cut short or with bytes flipped: equal, or one of our errors.  HDF5 may crash, we may not."""
    command = [sys.executable, "-m", "tests.support.hdf5_damage", str(folder)]
    root = Path(__file__).parents[4]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not SHARED.exists(), reason="the real files are not here")
@pytest.mark.parametrize("name", ["test.h5", "ID16B_diatomee.h5"])
def test_real_files(name: str) -> None:
    reader = Hdf5Reader(str(SHARED / name), None)
    got = {
        info.address: reader.read(info.address, whole(info))
        for info in walk(reader)
        if isinstance(info, DatasetInfo)
    }
    reader.close()
    assert got
    with h5py.File(SHARED / name) as file:
        for address, array in got.items():
            assert saved(array) == saved(oracle(file, h5py_reads(file[address]))), address


def test_ten_thousand_datasets_are_listed(tmp_path: Path) -> None:
    listing = Hdf5Reader(str(corpus.thousands(tmp_path)), None).listing("")
    assert len(listing.members) == 10_000
    assert {member.attributes.size for member in listing.members} == {20}


def test_names_that_hdf5_cannot_open_are_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a/here"], file["a/up~and~away"], file["a/x"] = 1, 2, 3
    content = path.read_bytes()  # in the local heap of the group, without a checksum
    path.write_bytes(content.replace(b"here\0", b".\0\0\0\0").replace(b"p~and~a", b"p/and/a"))
    found = members(Hdf5Reader(str(path), None), "/a")
    assert isinstance(found["."], BrokenInfo)
    assert isinstance(found["up/and/away"], BrokenInfo)
    assert isinstance(found["x"], DatasetInfo)


def test_a_damaged_group_is_an_error_and_its_neighbours_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_group("bad")["x"] = 1
        file["good"] = 1
        address = h5py.h5o.get_info(file["bad"].id).addr
        worse = h5py.h5o.get_info(file["bad/x"].id).addr
    content = bytearray(path.read_bytes())
    content[worse + 8] ^= 1  # its checksum no longer agrees
    path.write_bytes(content)
    reader = Hdf5Reader(str(path), None)
    assert isinstance(members(reader, "/bad")["x"], BrokenInfo)
    content[address + 8] ^= 1
    path.with_name("b.h5").write_bytes(content)
    found = members(Hdf5Reader(str(path.with_name("b.h5")), None))
    assert isinstance(found["bad"], BrokenInfo)
    assert isinstance(found["good"], DatasetInfo)


def test_a_chunk_index_with_one_place_for_two_chunks_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("d", data=np.arange(12.0), chunks=(4,))
    content = bytearray(path.read_bytes())
    node = content.index(b"TREE\1")
    second_key = node + 24 + 32  # header; one key (size, mask, two coordinates) and its child
    assert content[second_key + 8] == 4
    content[second_key + 8] = 0
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="agree"):
        Hdf5Reader(str(path), None).chunk_index("/d")


def test_a_virtual_dataset_mapped_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["source"] = np.arange(6).reshape(2, 3)
        space = h5py.h5s.create_simple((2, 3))
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_virtual(space, b".", b"source", space)
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_INT64, space, plist)
        point = h5py.h5s.create(h5py.h5s.SCALAR)
        file["one"] = 7
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_virtual(point, b".", b"one", point)
        h5py.h5d.create(file.id, b"p", h5py.h5t.NATIVE_INT64, point, plist)
    reader = Hdf5Reader(str(path), os.path.realpath(tmp_path))
    assert reader.read("/v", Box((1, 1), (2, 3))).tolist() == [[4, 5]]
    assert get(reader, "p") == 7


def test_errors_name_the_object(opened) -> None:
    with pytest.raises(EsrffsError, match="/no such"):
        opened("empty.h5").find("/no such")


# ---- datatypes that numpy writes no header for as they are


def test_fields_out_of_order_are_packed(tmp_path: Path) -> None:
    where = {"names": ["a", "b"], "formats": ["<i4", ("<f8", (2,))], "offsets": [20, 0]}
    stored = np.dtype({**where, "itemsize": 32})
    values = np.zeros(3, stored)
    values["a"], values["b"] = [1, 2, 3], np.arange(6.0).reshape(3, 2)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["table"] = values
        file["tables"] = np.zeros(2, np.dtype((stored, (3,))))
        file["tables"][1] = values
    reader = Hdf5Reader(str(tmp_path / "x.h5"), None)
    table, tables = get(reader, "table"), get(reader, "tables")
    assert table.dtype == np.dtype([("a", "<i4"), ("b", "<f8", (2,))])
    assert tables.dtype == table.dtype
    assert tables.shape == (2, 3)
    assert table["a"].tolist() == tables[1]["a"].tolist() == [1, 2, 3]
    assert table["b"].tolist() == tables[1]["b"].tolist() == [[0, 1], [2, 3], [4, 5]]
    np.save(io.BytesIO(), table, allow_pickle=False)


def test_arrays_of_arrays(tmp_path: Path) -> None:
    inner = h5py.h5t.array_create(h5py.h5t.STD_I16BE, (2, 3))
    values = np.arange(48, dtype=">i2").reshape(2, 4, 2, 3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        space = h5py.h5s.create_simple((2,))
        nested = h5py.h5t.array_create(inner, (4,))
        dataset = h5py.h5d.create(file.id, b"x", nested, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=nested)
    reader = Hdf5Reader(str(tmp_path / "x.h5"), None)
    found = get(reader, "x")
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    part = reader.read("/x", Box((1, 1, 0, 1), (2, 3, 2, 3)))
    np.testing.assert_array_equal(part, values[1:2, 1:3, :, 1:3])


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("shape", [(4, 6), (3, 5, 4)])
def test_chunks_lie_where_it_is_told_whatever_may_grow(
    tmp_path: Path, version: str, shape: tuple[int, ...]
) -> None:
    """libhdf5 tells wrong places of chunks where an axis that is not the first is unlimited."""
    values = np.arange(math.prod(shape), dtype="<i4").reshape(shape)
    chunk = (2,) * len(shape)
    path = tmp_path / "x.h5"
    limits = list(itertools.product(*((n, n + 9, None) for n in shape)))
    with h5py.File(path, "w", libver=(version, "latest")) as file:
        for limit in limits:
            file.create_dataset(str(limit), data=values, chunks=chunk, maxshape=limit)
    content, reader, indexed = path.read_bytes(), Hdf5Reader(str(path), None), 0
    for limit in limits:
        info = reader.find(str(limit))
        assert isinstance(info, DatasetInfo)
        assert isinstance(info.layout, ChunkedLayout)
        np.testing.assert_array_equal(get(reader, str(limit)), values)
        if not info.layout.indexed:
            continue
        indexed += 1
        grid = np.ndindex(*(-(-n // 2) for n in shape))
        for corner, offset in zip(grid, reader.chunk_index(info.address).offsets, strict=True):
            part = values[tuple(slice(2 * i, 2 * i + 2) for i in corner)]
            found = np.frombuffer(content, "<i4", 2 ** len(shape), offset).reshape(chunk)
            np.testing.assert_array_equal(found[tuple(map(slice, part.shape))], part)
    assert indexed > len(limits) // 2


@pytest.mark.parametrize("chunks", [None, (2,)])
def test_bytes_between_fields_are_not_taken_from_the_file(
    tmp_path: Path, chunks: tuple[int, ...] | None
) -> None:
    inner = np.dtype({"names": ["x"], "formats": ["<i2"], "offsets": [1], "itemsize": 4})
    gaps = np.dtype({"names": ["a", "b"], "formats": ["i1", inner], "offsets": [0, 3]})
    content = np.frombuffer(bytes(range(1, 22)), gaps)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = h5py.h5t.py_create(gaps)
        plist = h5p.create(h5p.DATASET_CREATE)
        if chunks:
            plist.set_chunk(chunks)
        dataset = h5py.h5d.create(file.id, b"x", stored, h5py.h5s.create_simple((3,)), plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, content, mtype=stored)
    with h5py.File(tmp_path / "x.h5") as file:
        expected = file["x"][()]
    reader = Hdf5Reader(str(tmp_path / "x.h5"), None)
    info = reader.find("x")
    assert isinstance(info, DatasetInfo)
    assert isinstance(info.layout, OpaqueLayout) or not getattr(info.layout, "indexed", True)
    assert get(reader, "x").tobytes() == expected.tobytes()


_OBJECTS = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_GROUP | h5py.h5f.OBJ_DATASET


def test_files_are_closed_whoever_holds_their_objects(tmp_path: Path) -> None:
    """Opened weakly, a file would stay open, with what HDF5 remembers of it, and be seen old."""
    with h5py.File(tmp_path / "target.h5", "w") as file:
        file["d"] = 1
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["good"], file["bad"] = (h5py.ExternalLink("target.h5", f"/{n}") for n in ("d", "none"))
    before = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, _OBJECTS)
    reader = Hdf5Reader(str(tmp_path / "source.h5"), None)
    root, member = reader._files.main.root, reader._files.other(str(tmp_path / "target.h5")).root
    assert get(reader, "good") == 1
    reader.close()
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, _OBJECTS) == before
    assert not root.valid
    assert not member.valid


def test_the_way_to_a_group_is_walked_once_and_closing_lets_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep.h5"
    with h5py.File(path, "w") as file:
        for name in "xyz":
            file[f"a/b/{name}/value"] = 1
        file["a/link"] = h5py.SoftLink("/a/b/x")
    steps: list[bytes] = []
    step = FileSet._step

    def counted(self: FileSet, here: ResolvedObject, name: bytes, hops: int) -> ResolvedObject:
        steps.append(name)
        return step(self, here, name, hops)

    monkeypatch.setattr(FileSet, "_step", counted)
    descriptors = len(os.listdir("/proc/self/fd"))
    reader = Hdf5Reader(str(path), None)
    for name in "xyz":
        assert [member.name for member in reader.listing(f"/a/b/{name}").members] == ["value"]
    assert steps == [b"a", b"b", b"x", b"y", b"z"]
    assert [member.name for member in reader.listing("/a/link").members] == ["value"]
    assert steps[5:] == [b"link"]  # and what it leads to is known
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
