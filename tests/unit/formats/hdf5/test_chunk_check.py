"""Chunks that hold less, or more, than they should: what libhdf5 would read behind them is ours."""

import zlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

from esrffs.errors import DamagedError, EsrffsError
from esrffs.formats.hdf5.chunk_check import stored_itemsize
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.model import Box

COUNT = 512
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"shuffle": True},
    "shuffle gzip": {"shuffle": True, "compression": "gzip"},
    "fletcher32": {"fletcher32": True},
    "lzf": {"compression": "lzf"},
    "szip": {"compression": "szip"},
    "scale-offset": {"scaleoffset": 0},
    "scale-offset gzip": {"scaleoffset": 0, "compression": "gzip"},
    "scale-offset shuffle gzip": {"scaleoffset": 0, "compression": "gzip", "shuffle": True},
    "bzip2": dict(hdf5plugin.BZip2()),
    "zstd": dict(hdf5plugin.Zstd()),
    "lz4": dict(hdf5plugin.LZ4()),
    "blosc": dict(hdf5plugin.Blosc()),
    "blosc2": dict(hdf5plugin.Blosc2()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
    "zfp": dict(hdf5plugin.Zfp(reversible=True)),
}


def stored(array: npt.NDArray[Any], options: dict[str, Any]) -> tuple[int, bytes]:
    """The filter mask and the bytes of one chunk."""
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        made = file.create_dataset("x", data=array, chunks=array.shape, **options)
        mask, raw = made.id.read_direct_chunk((0,) * array.ndim)
        return mask, bytes(raw)


def written(
    path: Path, array: npt.NDArray[Any], options: dict[str, Any], raws: list[bytes]
) -> None:
    """A file of datasets like this array, each of whose one chunk was written as it is."""
    with h5py.File(path, "w") as file:
        for number, raw in enumerate(raws):
            made = file.create_dataset(
                str(number), array.shape, array.dtype, chunks=array.shape, **options
            )
            made.id.write_direct_chunk((0,) * array.ndim, raw)


@pytest.mark.parametrize("dtype", ["<i4", ">u2", "<f4"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_chunk_that_was_cut_short_gives_nothing_that_is_not_its_own(
    tmp_path: Path, name: str, dtype: str
) -> None:
    """All that the library reads is what was written, or an error: cut at any length."""
    options = dict(FILTERS[name])
    array = (np.arange(COUNT) * 7 % 300).astype(dtype)
    if options.get("scaleoffset") == 0 and array.dtype.kind == "f":
        options["scaleoffset"] = 2
    if name == "zfp" and dtype == ">u2":
        array = array.astype("<f8")
    _, raw = stored(array, options)
    lengths = sorted({*range(1, 30, 3), *range(30, len(raw), max(1, len(raw) // 20)), len(raw) - 1})
    lengths = [length for length in lengths if 0 < length < len(raw)]
    path = tmp_path / "x.h5"
    written(path, array, options, [raw, *(raw[:length] for length in lengths)])
    reader = Hdf5Reader(str(path), None)
    box = Box((0,), (COUNT,))
    whole = reader.read("/0", box)
    bad = 0
    for number in range(1, len(lengths) + 1):
        try:
            found = reader.read(f"/{number}", box)
        except EsrffsError:
            bad += 1
        else:
            assert (found == whole).all(), lengths[number - 1]
    reader.close()
    assert bad > len(lengths) // 2


def nbit(array: npt.NDArray[Any]) -> h5py.h5p.PropDCID:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(array.shape)
    plist.set_filter(5, h5py.h5z.FLAG_OPTIONAL, ())
    return plist


def test_n_bit(tmp_path: Path) -> None:
    array = np.arange(COUNT, dtype="<u4") % 1000
    kind = h5py.h5t.STD_U32LE.copy()
    kind.set_precision(20)
    record = h5py.h5t.create(h5py.h5t.COMPOUND, 8)
    record.insert(b"a", 0, kind)
    record.insert(b"b", 4, h5py.h5t.IEEE_F32LE)
    rows = np.zeros(COUNT, [("a", "<u4"), ("b", "<f4")])
    rows["a"] = rows["b"] = array
    space = h5py.h5s.create_simple((COUNT,))
    path = tmp_path / "x.h5"
    for number, (stored_type, values) in enumerate([(kind, array), (record, rows)]):
        with h5py.File(path, "w") as file:
            made = h5py.h5d.create(file.id, b"0", stored_type, space, nbit(array))
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
            _, raw = made.read_direct_chunk((0,))
            assert len(raw) < values.nbytes
            for length in (1, len(raw) // 2, len(raw) - 4):
                cut = h5py.h5d.create(file.id, b"%d" % length, stored_type, space, nbit(array))
                cut.write_direct_chunk((0,), bytes(raw[:length]))
        reader = Hdf5Reader(str(path), None)
        assert (reader.read("/0", Box((0,), (COUNT,))) == values).all(), number
        for length in (1, len(raw) // 2, len(raw) - 4):
            with pytest.raises(DamagedError, match="where filter 5 needs"):
                reader.read(f"/{length}", Box((0,), (COUNT,)))
        reader.close()


def test_a_result_that_is_too_short_whatever_made_it(tmp_path: Path) -> None:
    """Sound streams of too few bytes: libhdf5 takes them, and reads on behind them."""
    array = np.arange(COUNT, dtype="<u4")
    for name, options in FILTERS.items():
        if name in ("none", "szip", "zfp") or "scale" in name:
            continue
        _, raw = stored(array[:100], options)
        path = tmp_path / f"{name}.h5"
        written(path, array, options, [raw])
        reader = Hdf5Reader(str(path), None)
        with pytest.raises(EsrffsError):
            reader.read("/0", Box((0,), (COUNT,)))
        reader.close()


TEXTS, SEQUENCES = h5py.string_dtype(), h5py.vlen_dtype("<i4")
INNER = np.dtype([("t", TEXTS), ("n", "<i2"), ("v", SEQUENCES, (3,))])
OBJECTS = {
    "texts": TEXTS,
    "sequences": SEQUENCES,
    "sequences of texts": h5py.vlen_dtype(TEXTS),
    "references": h5py.ref_dtype,
    "regions": h5py.regionref_dtype,
    "compound": INNER,
    "nested": np.dtype([("a", INNER, (2,)), ("b", "<i1"), ("q", h5py.regionref_dtype)]),
    "numbers": np.dtype("<i4"),
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("name", OBJECTS)
def test_how_long_elements_are_in_the_file(tmp_path: Path, name: str, libver: str) -> None:
    """HDF5 tells how long texts are in memory: half as long."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple((COUNT,))
    kind = h5py.h5t.py_create(OBJECTS[name], logical=True)
    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as file:
        made = h5py.h5d.create(file.id, b"x", kind, space, plist)
        assert stored_itemsize(made.get_type()) * COUNT == made.get_storage_size()


def test_half_a_chunk_of_texts_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    texts = np.array(["x" * (i % 5) for i in range(COUNT)], object)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", data=texts, dtype=TEXTS, chunks=(COUNT,), compression=1)
        _, raw = made.id.read_direct_chunk((0,))
        made.id.write_direct_chunk((0,), zlib.compress(zlib.decompress(raw)[: 8 * COUNT]))
    reader = Hdf5Reader(str(path), None)
    reader.learn("/x", np.dtype("<U4"))
    with pytest.raises(DamagedError, match="where"):
        reader.read("/x", Box((0,), (COUNT // 4,)))
    reader.close()


def test_gzip_twice_is_looked_at_too(tmp_path: Path) -> None:
    array = np.arange(COUNT, dtype="<u4")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name, values in ((b"good", array), (b"short", array[:9])):
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk(array.shape)
            plist.set_deflate(1)
            plist.set_deflate(2)
            space = h5py.h5s.create_simple(array.shape)
            made = h5py.h5d.create(file.id, name, h5py.h5t.STD_U32LE, space, plist)
            made.write_direct_chunk((0,), zlib.compress(zlib.compress(values.tobytes())))
    reader = Hdf5Reader(str(path), None)
    assert (reader.read("/good", Box((0,), (COUNT,))) == array).all()
    with pytest.raises(DamagedError, match=r"/short: chunk at 0"):
        reader.read("/short", Box((0,), (COUNT,)))
    reader.close()
