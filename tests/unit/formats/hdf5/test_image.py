"""HDF5 views of HDF5 files: everything that h5py sees in the source, it sees in the view."""

import math
import pickle
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from esrffs.formats.hdf5.image import ALIGNMENT
from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support import hdf5_corpus, hdf5_images
from tests.support.hdf5_images import object_of, walk
from tests.support.hdf5_views import View, made


@pytest.mark.parametrize("name", hdf5_corpus.WRITERS)
def test_h5py_sees_the_same_in_the_view(name: str, tmp_path: Path) -> None:
    view = View(hdf5_corpus.WRITERS[name](tmp_path))
    lost = {"/regions"} if name == "sequences" else set()
    assert view.broken.keys() == lost
    with h5py.File(view.source) as source, h5py.File(view.path) as shown:
        assert hdf5_images.attributes_of(shown, shown) == hdf5_images.attributes_of(source, source)
        links = {path: (link, obj) for path, link, obj in walk(shown)}
        assert [path for path, *_ in walk(source) if path not in lost] == list(links)
        for path, link, obj in walk(source):
            if path in lost:
                continue
            if not isinstance(link, tuple):  # of external ones: test_hdf5_image_links
                assert links[path][0] == link
            if obj is None or path in view.unreadable:
                continue
            if not isinstance(obj, h5py.Dataset) or _readable(obj):
                assert object_of(links[path][1], shown) == object_of(obj, source), path
            if isinstance(obj, h5py.Dataset):
                hdf5_images.check_plain(links[path][1])


def _readable(dataset: h5py.Dataset) -> bool:
    try:
        dataset[()]
    except (TypeError, OSError):
        return False
    plist = dataset.id.get_create_plist()
    return not (plist.get_layout() == h5d.VIRTUAL or plist.get_external_count())


@pytest.mark.parametrize("name", ["virtual", "external"])
def test_what_lies_in_other_files_is_read_as_the_mount_reads_it(name: str, tmp_path: Path) -> None:
    view = View(hdf5_corpus.WRITERS[name](tmp_path))
    assert view.unreadable
    reader = Hdf5Reader(str(view.source), None)
    with h5py.File(view.path) as shown:
        for run in view.image.runs:
            if run.address not in view.unreadable:
                expected = hdf5_images.data_of(reader, run.address, run.shape)
                assert shown[run.address][()].tobytes() == expected
    reader.close()


RED = h5py.enum_dtype({"red": 1, "blue": 2}, "i2")
scalars = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    npst.byte_string_dtypes(min_len=1),
    st.just(np.dtype("V5")),
)
dtypes = st.one_of(
    scalars,
    npst.nested_dtypes(scalars, max_itemsize=64).filter(lambda dtype: dtype.itemsize > 0),
    st.sampled_from(
        [
            RED,
            h5py.enum_dtype({"a": 0}, ">u8"),
            h5py.string_dtype("utf-8", 7),
            np.dtype({"names": ["a", "b"], "formats": ["u1", ">f8"], "offsets": [3, 8]}),
            np.dtype(
                [("t", h5py.string_dtype("utf-8", 3)), ("e", h5py.enum_dtype({"x": 3}, "u1"))]
            ),
        ]
    ),
)
shapes = st.one_of(st.just(()), npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(dtypes, shapes, st.integers(0, 255)), min_size=1, max_size=6))
def test_any_dtype_and_shape(tmp_path: Path, arrays: list[tuple[Any, Any, int]]) -> None:
    def fill(file: h5py.File) -> None:
        for number, (dtype, shape, byte) in enumerate(arrays):
            space = h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
            stored = h5t.py_create(dtype, logical=True)
            dataset = h5d.create(file.id, b"%d" % number, stored, space)
            values = np.full(math.prod(shape) * stored.get_size(), byte % 2, np.uint8)
            if values.size:
                raw = values.view(("V", stored.get_size())).reshape(shape)
                dataset.write(h5s.ALL, h5s.ALL, raw, mtype=stored)
                attribute = h5py.h5a.create(dataset, b"same", stored, space)
                attribute.write(raw, mtype=stored)

    try:
        source_path = made(tmp_path, fill)
    except TypeError:
        return  # HDF5 has no such type
    view = View(source_path)
    assert not view.broken
    assert not view.unreadable
    with h5py.File(source_path) as source, h5py.File(view.path) as shown:
        for name in source:
            assert object_of(shown[name], shown) == object_of(source[name], source)
            offset = shown[name].id.get_offset()
            assert offset is None or offset % ALIGNMENT == 0


def test_arrays_are_runs_and_their_datatypes_those_of_the_source(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("chunked", data=np.arange(12.0), chunks=(5,), compression="gzip")
        stored = h5t.C_S1.copy()
        stored.set_size(4)
        stored.set_strpad(h5t.STR_SPACEPAD)
        hdf5_corpus.low_level(file, "blanks", stored, np.array([b"ab  "] * 3, "S4"))
        hdf5_corpus.low_level(file, "many", stored, np.array([b"ab  "] * (1 << 19), "S4"))

    view = View(made(tmp_path, fill))
    runs = {run.address: run for run in view.image.runs}
    assert runs.keys() == {"/chunked", "/many"}, "what is small keeps its padding, by being copied"
    assert (runs["/chunked"].shape, runs["/chunked"].dtype) == ((12,), np.dtype("<f8"))
    with h5py.File(view.path) as shown:
        assert shown["blanks"].id.get_type().get_strpad() == h5t.STR_SPACEPAD
        assert shown["many"].id.get_type().get_strpad() == h5t.STR_NULLPAD
        assert set(shown["many"][()]) == set(shown["blanks"][()]) == {b"ab"}


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("attributes", "strings", "references", "links", "latest"):
        folder = tmp_path / name
        folder.mkdir()
        path = hdf5_corpus.WRITERS[name](folder)
        first = View(path).image
        time.sleep(1.1)  # seconds are what HDF5's time stamps count
        assert View(path).image == first


def test_the_image_is_small_when_it_is_sent(tmp_path: Path) -> None:
    view = View(hdf5_corpus.numbers(tmp_path))
    sent = pickle.dumps(view.image)
    assert pickle.loads(sent) == view.image
    assert len(sent) < 30_000


def test_large_attributes_take_newer_headers(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.attrs["long"] = np.arange(20_000.0)
        file["x"] = np.arange(5)
        file["x"].attrs["long"] = np.arange(40_000.0)
        file["g/y"] = np.arange(7.0)
        for number in range(30):
            file["g/y"].attrs[f"a{number}"] = "text " * number

    view = View(made(tmp_path, fill, libver="latest"))
    assert not view.broken
    with h5py.File(view.source) as source, h5py.File(view.path) as shown:
        for name in ("/", "x", "g", "g/y"):
            assert object_of(shown[name], shown) == object_of(source[name], source)


def test_attributes_keep_their_order_where_it_is_tracked(tmp_path: Path) -> None:
    names = [f"{number * 7 % 20}" for number in range(20)]

    def fill(file: h5py.File) -> None:
        group = file.create_group("g", track_order=True)
        dataset = group.create_dataset("d", data=1.0, track_order=True)
        for name in names:
            group.attrs[name] = dataset.attrs[name] = 1

    view = View(made(tmp_path, fill))
    with h5py.File(view.path) as shown:
        assert list(shown["g"].attrs) == list(shown["g/d"].attrs) == names


def test_members_are_in_the_order_of_the_listing(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        for name in "zay":
            file[f"by name/{name}"] = 1
        ordered = file.create_group("ordered", track_order=True)
        for name in [*"zay", *(f"{n * 7 % 20}" for n in range(20))]:
            ordered[name] = 1

    view = View(made(tmp_path, fill))
    with h5py.File(view.source) as source, h5py.File(view.path) as shown:
        assert list(shown["by name"]) == ["a", "y", "z"]
        assert list(shown["ordered"]) == list(source["ordered"])


def test_names_are_any_bytes(tmp_path: Path) -> None:
    names = [b"\xff\xfe", "grün".encode(), b" ", b"..", b"a\nb", b"%", b"x" * 300]

    def fill(file: h5py.File) -> None:
        for name in names:
            h5d.create(file.id, name, h5t.IEEE_F64LE, h5s.create(h5s.SCALAR))
            h5py.h5a.create(file.id, name, h5t.STD_I8LE, h5s.create(h5s.SCALAR))

    view = View(made(tmp_path, fill))
    assert not view.broken
    with h5py.File(view.path) as shown:
        found: list[bytes] = []
        shown.id.links.iterate(found.append)
        assert sorted(found) == sorted(names)
        found.clear()
        h5py.h5a.iterate(shown.id, found.append)
        assert sorted(found) == sorted(names)


def test_xarray_would_find_the_dimensions(tmp_path: Path) -> None:
    view = View(hdf5_corpus.netcdf(tmp_path))
    with h5py.File(view.path) as shown:
        dimensions = [axis[0].name for axis in shown["field"].dims]
        assert dimensions == ["/time", "/x"]
        assert [shown[ref].name for ref, _ in shown["time"].attrs["REFERENCE_LIST"]] == ["/field"]
        assert shown["no variable"].is_scale


def test_null_dataspaces_and_no_elements(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        for number, dtype in enumerate(
            ["f4", h5py.string_dtype(), h5py.vlen_dtype("i2"), "(2,)i4"]
        ):
            file.create_dataset(f"null {number}", dtype=dtype, shape=None)
            file.create_dataset(f"none {number}", (0, 3), dtype)
            unlimited = {"maxshape": (None,), "chunks": (4,)}
            file.create_dataset(f"unlimited {number}", (0,), dtype, **unlimited)

    view = View(made(tmp_path, fill))
    assert (view.image.runs, view.broken) == ((), {})
    with h5py.File(view.source) as source, h5py.File(view.path) as shown:
        for name in source:
            assert object_of(shown[name], shown) == object_of(source[name], source)


def test_what_h5py_has_no_dtype_for_is_copied(tmp_path: Path) -> None:
    """A bitfield beside a text of variable length: h5py reads neither, libhdf5 both."""

    def fill(file: h5py.File) -> None:
        text = h5t.C_S1.copy()
        text.set_size(h5t.VARIABLE)
        stored = h5t.create(h5t.COMPOUND, 16)
        stored.insert(b"bits", 0, h5t.STD_B8LE)
        stored.insert(b"text", 8, text)
        made = h5d.create(file.id, b"odd", stored, h5s.create_simple((2,)))
        held = np.dtype([("text", h5py.string_dtype())])
        made.write(h5s.ALL, h5s.ALL, np.array([("one",), ("two",)], held))

    view = View(made(tmp_path, fill))
    assert not view.broken
    with h5py.File(view.path) as shown:
        dataset = shown["odd"].id
        assert dataset.get_type().get_member_type(0) == h5t.STD_B8LE
        values = np.zeros(2, np.dtype([("text", h5py.string_dtype())]))
        dataset.read(h5s.ALL, h5s.ALL, values)
        assert values["text"].tolist() == [b"one", b"two"]


def test_compact_datasets_are_runs(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        compact = h5p.create(h5p.DATASET_CREATE)
        compact.set_layout(h5d.COMPACT)
        made = h5d.create(file.id, b"x", h5t.STD_I32BE, h5s.create_simple((4,)), compact)
        made.write(h5s.ALL, h5s.ALL, np.arange(4, dtype=">i4"), mtype=h5t.STD_I32BE)

    view = View(made(tmp_path, fill))
    with h5py.File(view.path) as shown:
        hdf5_images.check_plain(shown["x"])
        assert shown["x"][()].tolist() == [0, 1, 2, 3]
