"""The HDF5 reader: what every reader owes, opening, and damage that costs itself."""

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5p

from esrffs.errors import (
    DamagedError,
    EsrffsError,
    NotFoundError,
    UnsupportedError,
)
from esrffs.formats.hdf5.links import FileSet, ResolvedObject
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import (
    Box,
    BrokenInfo,
    DatasetInfo,
    JsonInfo,
    Reader,
)
from tests.support import hdf5_corpus as corpus
from tests.support.hdf5_corpus_folder import thousands
from tests.support.reader_contract import ReaderContract, get, members


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


def test_ten_thousand_datasets_are_listed(tmp_path: Path) -> None:
    listing = Hdf5Reader(str(thousands(tmp_path)), None).listing("")
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


def test_errors_name_the_object(opened) -> None:
    with pytest.raises(EsrffsError, match="/no such"):
        opened("empty.h5").find("/no such")


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
