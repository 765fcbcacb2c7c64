"""Damaged HDF5 data cost the elements that they are about, and no others."""

import os
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.support.damaged_pages import check
from tests.support.mounts import MountFactory

FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip"},
    "shuffle gzip": {"compression": "gzip", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "lzf": {"compression": "lzf"},
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
    "bzip2": dict(hdf5plugin.BZip2()),
    "blosc2": dict(hdf5plugin.Blosc2()),
    "scale-offset": {"scaleoffset": 0},
}


SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "small chunks": ((40, 1000), (1, 100)),
    "rows": ((30, 2500), (1, 2500)),
    "tiles": ((100, 700), (30, 300)),
    "three axes": ((5, 60, 90), (2, 20, 90)),
}


def test_bad_chunks_cost_their_own_elements(tmp_path: Path, mount: MountFactory) -> None:
    source = tmp_path / "source"
    source.mkdir()
    rng = np.random.default_rng(1)
    expected = {}
    with h5py.File(source / "a.h5", "w") as file:
        for name, options in FILTERS.items():
            for kind, (shape, chunk) in SHAPES.items():
                array = rng.integers(0, 1000, shape).astype("<i4")
                made = file.create_dataset(f"{name} {kind}", data=array, chunks=chunk, **options)
                bad = np.zeros(shape, bool)
                count = made.id.get_num_chunks()
                for number in {1, count // 2, count - 1}:
                    corner = made.id.get_chunk_info(number).chunk_offset
                    made.id.write_direct_chunk(corner, b"no chunk at all")
                    bad[tuple(slice(a, a + k) for a, k in zip(corner, chunk, strict=True))] = True
                expected[f"{name} {kind}"] = array, bad
    mounted = mount(source)
    mounted.expect(r"a\.h5: .*\(EIO\)$")
    for name, (array, bad) in expected.items():
        check(mounted / f"a.h5/{name}.npy", array, bad)
    error = os.getxattr(mounted / "a.h5/gzip rows.npy", "user.esrffs.error").decode()
    assert "/gzip rows: chunk" in error


def test_filters_that_nobody_has(tmp_path: Path, mount: MountFactory) -> None:
    """Some chunks were stored as they are, and can be read."""
    source = tmp_path / "source"
    source.mkdir()
    array = np.arange(64 * 1000, dtype="<u4").reshape(64, 1000)
    bad = np.zeros(array.shape, bool)
    with h5py.File(source / "a.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 1000))
        plist.set_filter(32019, h5py.h5z.FLAG_OPTIONAL, (90, 1))
        space = h5py.h5s.create_simple(array.shape)
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U32LE, space, plist)
        for row in range(64):
            skipped = row % 3 == 1
            made.write_direct_chunk(
                (row, 0), array[row].tobytes() if skipped else b"\xff\xd8" * 50, int(skipped)
            )
            bad[row] = not skipped
    mounted = mount(source)
    mounted.expect(r"a\.h5: /x: .*HDF5 filter 32019 is not installed \(EIO\)$")
    check(mounted / "a.h5/x.npy", array, bad)


def test_sources_that_are_missing_or_behind(tmp_path: Path, mount: MountFactory) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shape = (16, 3000)
    values = np.arange(16 * 3000, dtype="<u4").reshape(shape)
    layouts = {name: h5py.VirtualLayout(shape, "<u4") for name in ("whole", "halves", "mixed")}
    bad = {name: np.zeros(shape, bool) for name in layouts}
    expected = {name: np.zeros(shape, "<u4") for name in layouts}
    for row in range(16):
        if row != 5:
            with h5py.File(source / f"s{row}.h5", "w") as file:
                file["d"] = values[row : row + 1]
        one = h5py.VirtualSource(f"s{row}.h5", "d", (1, 3000))
        layouts["whole"][row : row + 1] = one
        layouts["halves"][row : row + 1, :1400] = one[:, :1400]
        expected["whole"][row] = values[row]
        expected["halves"][row, :1400] = values[row, :1400]
    bad["whole"][5] = bad["halves"][5, :1400] = True
    for k, count in ((0, 8), (1, 3)):  # interleaved, and one writer is behind
        with h5py.File(source / f"i{k}.h5", "w") as file:
            file["d"] = values[k::2][:count]
        layouts["mixed"][k:16:2] = h5py.VirtualSource(f"i{k}.h5", "d", (8, 3000))
    expected["mixed"][:] = values
    bad["mixed"][7::2] = True
    growing = h5py.VirtualLayout((9, 3000), "<u4", maxshape=(None, 3000))
    for k in (0, 1):
        with h5py.File(source / f"g{k}.h5", "w") as file:
            file.create_dataset("d", data=values[k::2][: (5, 3)[k]], maxshape=(None, 3000))
        one = h5py.VirtualSource(f"g{k}.h5", "d", (9, 3000), maxshape=(None, 3000))
        growing[k : h5py.h5s.UNLIMITED : 2] = one[0 : h5py.h5s.UNLIMITED]
    with h5py.File(source / "v.h5", "w", libver="latest") as file:
        for name, layout in layouts.items():
            file.create_virtual_dataset(name, layout)
        file.create_virtual_dataset("growing", growing)
    expected["growing"], bad["growing"] = values[:9], np.zeros((9, 3000), bool)
    bad["growing"][7] = True
    mounted = mount(source)
    mounted.expect(r"v\.h5: /\w+: source .*\(EIO\)$")
    for name, array in expected.items():
        check(mounted / f"v.h5/{name}.npy", array, bad[name])


def test_raw_files_one_of_which_is_missing(tmp_path: Path, mount: MountFactory) -> None:
    source = tmp_path / "source"
    source.mkdir()
    array = np.arange(30_000, dtype="<i4").reshape(30, 1000)
    bad = np.zeros(array.shape, bool)
    bad[10:20] = True
    parts = [(f"{k}.raw", 0, 40_000) for k in range(3)]
    for k in (0, 2):
        (source / f"{k}.raw").write_bytes(array[10 * k : 10 * k + 10].tobytes())
    with h5py.File(source / "a.h5", "w") as file:
        file.create_dataset("x", array.shape, "<i4", external=parts)
    mounted = mount(source)
    mounted.expect(r"a\.h5: /x: .*no file '1\.raw'.*\(EIO\)$")
    check(mounted / "a.h5/x.npy", array, bad)


def test_chunks_far_beyond_the_shape(tmp_path: Path, mount: MountFactory) -> None:
    """They are declared for more than a chunk may have here: only what is needed is unpacked."""
    source = tmp_path / "source"
    source.mkdir()
    expected = {}
    with h5py.File(source / "a.h5", "w") as file:
        for name, shape, chunk, options in (
            ("line", (1000,), (39_321_600,), {"compression": "gzip", "compression_opts": 1}),
            ("shuffled", (1000,), (9_000_000,), {"compression": "gzip", "shuffle": True}),
            ("plane", (70, 30), (6000, 6000), {"compression": "gzip", "compression_opts": 1}),
            ("bare", (100, 20), (10_000, 4000), {}),
        ):
            array = np.arange(np.prod(shape)).reshape(shape)
            file.create_dataset(
                name, data=array, chunks=chunk, maxshape=(None,) * len(shape), **options
            )
            expected[name] = array
    mounted = mount(source, "-o", "chunk_limit=16")
    for name, array in expected.items():
        assert (np.load(mounted / f"a.h5/{name}.npy") == array).all(), name


def test_damage_in_the_page_of_the_header(tmp_path: Path, mount: MountFactory) -> None:
    """Header and all sound rows can be read, though the page cache holds whole pages."""
    source = tmp_path / "source"
    source.mkdir()
    with h5py.File(source / "a.h5", "w") as file:
        for name, shape in (("small", (9, 64)), ("large", (5, 70_000))):
            rows = np.arange(shape[0])[:, None] + np.ones(shape)
            made = file.create_dataset(
                name, data=rows, dtype="u2", chunks=(1, shape[1]), compression="gzip"
            )
            made.id.write_direct_chunk((0, 0), b"no chunk at all", 0)
            made.id.write_direct_chunk((3, 0), b"no chunk at all", 0)
    mounted = mount(source)
    mounted.expect("a.h5")
    for name, columns in (("small", 64), ("large", 70_000)):
        with open(mounted / f"a.h5/{name}.npy", "rb", buffering=0) as file:
            shape = np.lib.format.read_array_header_1_0(skip_magic(file))[0]
            assert shape[1] == columns
            start, nbytes = file.tell(), 2 * columns
            for row in range(shape[0]):
                part = (file.fileno(), nbytes, start + row * nbytes)
                if row in (0, 3):
                    with pytest.raises(OSError, match="Input/output error"):
                        os.pread(*part)
                else:
                    assert set(np.frombuffer(os.pread(*part), "u2")) == {row + 1}


def skip_magic(file: Any) -> Any:
    np.lib.format.read_magic(file)
    return file
