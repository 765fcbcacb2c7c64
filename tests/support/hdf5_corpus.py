"""Small HDF5 files, one for each thing that a reader must get right.

Each writer takes a folder and returns the path of the file it wrote there; `WRITERS` has them all.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from h5py import h5d, h5g, h5p, h5s, h5t

Writer = Callable[[Path], Path]
WRITERS: dict[str, Writer] = {}


def writer(function: Writer) -> Writer:
    WRITERS[function.__name__] = function
    return function


def low_level(file: h5py.File, name: str, stored: h5t.TypeID, values: np.ndarray) -> None:
    """Write bytes as they are, in a type that h5py has no dtype for."""
    space = h5s.create_simple(values.shape)
    dataset = h5d.create(file.id, name.encode(), stored, space)
    dataset.write(h5s.ALL, h5s.ALL, values, mtype=stored)


def predefined(name: str) -> int:
    """The id of a type that h5py does not name."""
    return ctypes.c_int64.in_dll(ctypes.CDLL(h5p.__file__), name).value


@writer
def numbers(folder: Path) -> Path:
    path = folder / "numbers.h5"
    with h5py.File(path, "w") as file:
        for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"):
            for order in "<>":
                file[f"{code}{'le' if order == '<' else 'be'}"] = np.arange(6).astype(order + code)
        file["long double"] = np.arange(3).astype(np.longdouble) / 3
        file["long double complex"] = np.arange(3).astype(np.clongdouble) * 1j
        file["bool"] = np.array([True, False])
        file["scalar"] = np.float32(2.5)
        file["empty"] = np.zeros((0, 3))
        file["null"] = h5py.Empty("f4")
        file["big"] = np.arange(24.0).reshape(2, 3, 4)
        colours = h5py.enum_dtype({"red": 1, "blue": 5}, "i2")
        file.create_dataset("enum", (3,), colours)[:] = [1, 5, 7]
        file.create_dataset("array", (2,), "(2,3)i4")[:] = np.arange(12).reshape(2, 2, 3)
        file.create_dataset("array scalar", (), "(3,)i4")[()] = [1, 2, 3]
        file.create_dataset("array null", dtype="(3,)i4", shape=None)
        twelve = h5t.STD_I16LE.copy()
        twelve.set_precision(12)
        low_level(file, "12 bits", twelve, np.arange(4, dtype="<i2"))
        three = h5t.STD_U32LE.copy()
        three.set_size(3)
        low_level(file, "3 bytes", three, np.frombuffer(bytes(range(12)), "V3"))
        low_level(file, "bits", h5t.STD_B16BE, np.array([1, 2], ">u2"))
        time = h5t.TypeTimeID(predefined("H5T_UNIX_D32LE_g")).copy()
        low_level(file, "time", time, np.frombuffer(bytes(range(8)), "V4"))
        low_level(file, "complex", h5t.COMPLEX_IEEE_F32BE, np.array([1j, 2], ">c8"))
        opaque = h5t.create(h5t.OPAQUE, 5)
        opaque.set_tag(b"five")
        low_level(file, "opaque", opaque, np.frombuffer(b"abcdefgh\0\xff", "V5"))
        bits = h5t.create(h5t.COMPOUND, 3)
        bits.insert(b"bits", 0, h5t.STD_B8LE)
        bits.insert(b"number", 1, h5t.STD_U16LE)
        low_level(file, "bits in a compound", bits, np.frombuffer(b"\1\2\3", "V3"))
        tagged = h5t.create(h5t.COMPOUND, 6)
        tagged.insert(b"five", 1, opaque)
        tagged.insert(b"number", 0, h5t.STD_U8LE)
        low_level(file, "tagged", tagged, np.frombuffer(b"abcdef", "V6"))
        dates = np.array(["2020-01-01", "NaT"], "M8[s]")
        file.create_dataset("dates", data=dates.astype(h5py.opaque_dtype(dates.dtype)))
    return path


@writer
def strings(folder: Path) -> Path:
    path = folder / "strings.h5"
    texts = ["", "grün", "日本", b"not UTF-8: \xff\xfe"]
    with h5py.File(path, "w") as file:
        file["fixed"] = np.array([b"ab", b"cde"])
        for name, pad in (("term", h5t.STR_NULLTERM), ("space", h5t.STR_SPACEPAD)):
            stored = h5t.C_S1.copy()
            stored.set_size(4)
            stored.set_strpad(pad)
            low_level(file, name, stored, np.array([b"a\0xy", b"b   "], "S4"))
        file.create_dataset("utf8", (1,), h5py.string_dtype("utf-8", 4))[0] = "é".encode()
        file.create_dataset("vlen", (4,), h5py.string_dtype())[:] = texts
        file.create_dataset("many", (40, 5000), h5py.string_dtype(), chunks=(1, 5000))
        file["many"][39, 4999] = "the last is the longest"
        file["text"] = "one"
        file.create_dataset("unwritten", (3,), h5py.string_dtype())
        file.create_dataset("null", dtype=h5py.string_dtype(), shape=None)
        file.create_dataset("array", (1,), np.dtype((h5py.string_dtype(), (2,))))[:] = [["a", "bc"]]
    return path


@writer
def compounds(folder: Path) -> Path:
    path = folder / "compounds.h5"
    inner = np.dtype([("x", ">f4"), ("flag", "?")])
    with h5py.File(path, "w") as file:
        file["plain"] = np.ones(3, [("a", "<i4"), ("in", inner), ("v", "<u2", (2, 2)), ("s", "S3")])
        padded = np.dtype({"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [0, 8]})
        file["padded"] = np.ones(2, padded)
        mixed = np.dtype([("t", h5py.string_dtype()), ("n", "i4"), ("r", h5py.ref_dtype)])
        rows = np.array([("hé", 1, file.ref), ("", 2, file["plain"].ref)], mixed)
        file.create_dataset("mixed", data=rows)
        deep = np.dtype([("m", mixed), ("k", "i8"), ("two", h5py.string_dtype(), (2,))])
        file.create_dataset("deep", data=np.array([(rows[0], 3, ["a", "bc"])], deep))
        colour = h5py.enum_dtype({"red": 1}, "u1")
        file.create_dataset("enum", data=np.ones(2, np.dtype([("c", colour), ("n", "i4")])))
    return path


@writer
def references(folder: Path) -> Path:
    path = folder / "references.h5"
    with h5py.File(path, "w") as file:
        file["group/data"] = np.arange(24).reshape(4, 6)
        data = file["group/data"]
        file.create_dataset("objects", (4,), h5py.ref_dtype)
        for index, target in enumerate((file, file["group"], data)):
            file["objects"][index] = target.ref
        file.create_dataset("regions", (4,), h5py.regionref_dtype)
        for index, region in enumerate((np.s_[1:3, 2:4], np.s_[1:3:2, ::3], np.s_[...])):
            file["regions"][index] = data.regionref[region]
        for kind, dtype, target, null in (
            ("object", h5py.ref_dtype, data.ref, h5py.Reference()),
            ("region", h5py.regionref_dtype, data.regionref[1:2, :3], h5py.RegionReference()),
        ):
            every_shape(file, kind, dtype, target, null)
    return path


def every_shape(file: h5py.File, kind: str, dtype: np.dtype, target: object, null: object) -> None:
    """References as scalars and arrays, by themselves and in compounds, and the same as attributes.

    In each array the first one leads somewhere, and the others are null.
    """
    record = np.dtype([("n", "i4"), ("r", dtype), ("two", dtype, (2,))])
    for shape in ((), (1,), (3,), (2, 2), (0,)):
        values = np.full(shape, null, dtype)
        records = np.zeros(shape, record)
        records["r"] = records["two"] = null
        if values.size:
            values[(0,) * len(shape)] = target
            records["r"][(0,) * len(shape)] = target
        for name, array in ((f"{kind} {shape}", values), (f"{kind} in compound {shape}", records)):
            made = file.create_dataset(name, shape, array.dtype)
            if array.size:
                made[...] = array
            if len(shape) < 2:
                file["group/data"].attrs.create(name, array, shape, array.dtype)
        file.create_dataset(f"{kind} null {shape}", shape, dtype)


@writer
def sequences(folder: Path) -> Path:
    path = folder / "sequences.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("numbers", (2,), h5py.vlen_dtype("f8"))[0] = [1.0, np.nan]
        file.create_dataset("texts", (1,), h5py.vlen_dtype(h5py.string_dtype()))
        file["texts"][0] = np.array(["a", "bb"], object)
        file.create_dataset("refs", (1,), h5py.vlen_dtype(h5py.ref_dtype))
        file["refs"][0] = np.array([file.ref], h5py.ref_dtype)
        file.create_dataset("regions", (1,), h5py.vlen_dtype(h5py.regionref_dtype))
        inside = np.dtype([("v", h5py.vlen_dtype("i4")), ("n", "i4")])
        file.create_dataset("inside", (2,), inside)
        file.create_dataset("null", dtype=h5py.vlen_dtype("i4"), shape=None)
        file["type"] = h5py.enum_dtype({"on": 1, "off": 0})
        file["after"] = 1
    return path


@writer
def attributes(folder: Path) -> Path:
    path = folder / "attributes.h5"
    with h5py.File(path, "w") as file:
        file["data"] = 1
        given = file["data"].attrs
        given["zuerst"] = "the first is not the first by name"
        given["a"] = np.array([1.5, np.nan, np.inf])
        given["bytes"] = np.bytes_(b"caf\xe9")
        given["empty"] = h5py.Empty("f4")
        given["no values"] = np.zeros((0, 2))
        given["complex"] = 1 + 2j
        given["long"] = np.longdouble(1) / 3
        given["texts"] = ["x", "yé"]
        given["compound"] = np.array((1, 2.5), [("i", "i4"), ("f", "f8")])
        given["ref"] = file["data"].ref
        sequence = np.empty(1, object)
        sequence[0] = np.array([1, 2], "i4")
        given.create("vlen", sequence, (1,), h5py.vlen_dtype("i4"))
        given.create("enum", 5, dtype=h5py.enum_dtype({"red": 1, "blue": 5}, "i2"))
        file.attrs["NX_class"] = "NXroot"
        file.create_group("many", track_order=True)
        for index in reversed(range(20)):
            file["many"].attrs[f"k{index}"] = index
        file["scale"] = np.arange(3.0)
        file["scaled"] = np.arange(3.0)
        file["scale"].make_scale("x")
        file["scaled"].dims[0].attach_scale(file["scale"])
    return path


FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle gzip": {"compression": "gzip", "shuffle": True},
    "lzf": {"compression": "lzf"},
    "fletcher": {"fletcher32": True},
    "scaleoffset": {"scaleoffset": 0},
    "lz4": hdf5plugin.LZ4(),
    "bitshuffle": hdf5plugin.Bitshuffle(),
    "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "zstd": hdf5plugin.Zstd(),
    "blosc": hdf5plugin.Blosc(),
    "blosc2": hdf5plugin.Blosc2(),
    "bzip2": hdf5plugin.BZip2(),
}


def fill_layouts(file: h5py.File) -> None:
    values = np.arange(70, dtype="<u2").reshape(7, 10)
    file["contiguous"] = values
    file.create_dataset("unwritten", (5,), "f8", fillvalue=7.0)
    for name, options in FILTERS.items():
        file.create_dataset(f"chunked {name}", data=values, chunks=(3, 4), **options)
    holes = file.create_dataset("holes", (9, 9), ">i4", chunks=(2, 2), fillvalue=-3)
    holes[4:6, 4:6] = 1
    file.create_dataset("never", (9,), "f4", chunks=(2,))
    file.create_dataset("array", (5,), "(2,)i2", chunks=(2,))[:] = np.arange(10).reshape(5, 2)
    compact = h5p.create(h5p.DATASET_CREATE)
    compact.set_layout(h5d.COMPACT)
    made = h5d.create(file.id, b"compact", h5t.STD_I32LE, h5s.create_simple((4,)), compact)
    made.write(h5s.ALL, h5s.ALL, np.arange(4, dtype="<i4"))
    raw_edges = h5p.create(h5p.DATASET_CREATE)
    raw_edges.set_chunk((4,))
    raw_edges.set_deflate(1)
    ctypes.CDLL(h5p.__file__).H5Pset_chunk_opts(ctypes.c_int64(raw_edges.id), 2)
    made = h5d.create(file.id, b"raw edges", h5t.STD_I32LE, h5s.create_simple((6,)), raw_edges)
    made.write(h5s.ALL, h5s.ALL, np.arange(6, dtype="<i4"))


@writer
def layouts(folder: Path) -> Path:
    path = folder / "layouts.h5"
    with h5py.File(path, "w") as file:
        fill_layouts(file)
    return path


@writer
def latest(folder: Path) -> Path:
    """The newest structures of the file format, behind a user block."""
    path = folder / "latest.h5"
    with h5py.File(path, "w", libver="latest", userblock_size=1024) as file:
        fill_layouts(file)
        file.create_dataset("growing", data=np.arange(9), chunks=(2,), maxshape=(None,))
        file.create_dataset(
            "growing both", data=np.ones((5, 5)), chunks=(2, 2), maxshape=(None, None)
        )
        file.create_dataset("one chunk", data=np.arange(9), chunks=(9,))
    return path


@writer
def links(folder: Path) -> Path:
    path = folder / "links.h5"
    with h5py.File(folder / "linked.h5", "w") as file:
        file["group/data"] = [1, 2, 3]
        file["back"] = h5py.ExternalLink("links.h5", "/a/data")
    with h5py.File(path, "w") as file:
        file["a/data"] = 1.0
        file["a/hard"] = file["a/data"]
        file["a/up"] = file["/"]
        file["a/soft"] = h5py.SoftLink("data")
        file["a/..odd"] = 1
        file["a/.."] = 1
        file["absolute"] = h5py.SoftLink("/a/./soft")
        file["to group"] = h5py.SoftLink("a")
        file["to sequence"] = h5py.SoftLink("sequence")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["loop"] = h5py.SoftLink("/loop")
        file["external"] = h5py.ExternalLink("linked.h5", "/group/data")
        file["moved"] = h5py.ExternalLink("/no/such/folder/linked.h5", "group")
        file["missing"] = h5py.ExternalLink("missing.h5", "/")
        file["round"] = h5py.ExternalLink("linked.h5", "/back")
        file["outside"] = h5py.ExternalLink("../outside.h5", "/")
        file.create_dataset("sequence", (1,), h5py.vlen_dtype("i4"))
        h5g.create(file.id, b"\xff\xfe")
        ordered = file.create_group("ordered", track_order=True)
        for name in "zay":
            ordered[name] = 1
    return path


@writer
def virtual(folder: Path) -> Path:
    path = folder / "virtual.h5"
    for index in range(3):
        with h5py.File(folder / f"source{index}.h5", "w") as file:
            file.create_dataset("d", data=np.arange(10) + 10 * index, maxshape=(None,))
    fixed = h5py.VirtualLayout((5, 10), "i8")
    for index in range(4):  # the source of row 3 is missing, row 4 has none
        fixed[index] = h5py.VirtualSource(f"source{index}.h5", "d", (10,))
    short = h5py.VirtualLayout((20,), "i8")
    short[:] = h5py.VirtualSource("source0.h5", "d", (20,))[:]
    endless = h5s.UNLIMITED
    with h5py.File(path, "w", libver="latest") as file:
        file["own"] = np.arange(4)
        file.create_virtual_dataset("fixed", fixed, fillvalue=-1)
        file.create_virtual_dataset("short", short)
        itself = h5py.VirtualLayout((2, 4), "i8")
        itself[0] = h5py.VirtualSource(".", "own", (4,))
        file.create_virtual_dataset("itself", itself)
        nested = h5py.VirtualLayout((2, 10), "i8")
        nested[:] = h5py.VirtualSource(".", "fixed", (5, 10))[2:4]
        file.create_virtual_dataset("nested", nested)

        target = h5s.create_simple((0, 4), (endless, 4))
        target.select_hyperslab((0, 1), (endless, 1), (1, 1), (1, 1))
        source = h5s.create_simple((10,), (endless,))
        source.select_hyperslab((0,), (endless,), (1,), (1,))
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_virtual(target, b"source0.h5", b"d", source)
        h5d.create(file.id, b"growing", h5t.NATIVE_INT64, target, plist)

        target = h5s.create_simple((0,), (endless,))
        target.select_hyperslab((0,), (endless,), (10,), (10,))
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_virtual(target, b"source%b.h5", b"d", h5s.create_simple((10,)))
        h5d.create(file.id, b"numbered", h5t.NATIVE_INT64, target, plist)
    return path


@writer
def external(folder: Path) -> Path:
    path = folder / "external.h5"
    values = np.arange(24, dtype="<i4")
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "one").write_bytes(b"skip" + values[:10].tobytes())
    (folder / "raw" / "two").write_bytes(values[10:].tobytes())
    with h5py.File(path, "w") as file:
        parts = [("raw/one", 4, 40), ("raw/two", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("two parts", (4, 6), "<i4", external=parts)
        file.create_dataset("short", (30,), "<i4", external=parts)
        file.create_dataset("short of two", (40,), "<i4", external=[("raw/one", 4, 60), parts[1]])
        file.create_dataset("missing", (4,), "<i4", external=[("raw/none", 0, 16)])
        file.create_dataset("outside", (4,), "u1", external=[("../secret", 0, 4)])
    return path


@writer
def netcdf(folder: Path) -> Path:
    """As netCDF-4 writes: creation order, dimension scales, a dimension without a variable."""
    path = folder / "netcdf.nc"
    with h5py.File(path, "w", track_order=True) as file:
        for name in ("time", "x"):
            file.create_dataset(name, data=np.arange(3.0)).make_scale(name)
        file.create_dataset("no variable", (2,), ">f4", fillvalue=0).make_scale(
            "This is a netCDF dimension but not a netCDF variable.         2"
        )
        field = file.create_dataset("field", data=np.ones((3, 3), "f4"), chunks=(1, 3))
        for axis, name in enumerate(("time", "x")):
            field.dims[axis].attach_scale(file[name])
    return path


@writer
def matlab(folder: Path) -> Path:
    """As MATLAB 7.3 writes: a user block, cells as references into `#refs#`."""
    path = folder / "matlab.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name in "ab":
            file[f"#refs#/{name}"] = np.array([[ord(name)]], "u2")
        cell = file.create_dataset("cell", (2, 1), h5py.ref_dtype)
        cell[0, 0], cell[1, 0] = file["#refs#/a"].ref, file["#refs#/b"].ref
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    return path


@writer
def empty(folder: Path) -> Path:
    path = folder / "empty.h5"
    h5py.File(path, "w").close()
    return path
