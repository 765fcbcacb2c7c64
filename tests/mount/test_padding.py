"""Nothing of the memory of a process is ever served: all that it allocates is poisoned."""

import itertools
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

from esrffs.workers.server import raw_bytes
from tests.support.mounts import MountFactory

DTYPES: dict[str, Any] = {
    "longdouble": np.longdouble,
    "clongdouble": np.clongdouble,
    "float": ">f4",
    "bytes": "u1",
    "gaps": np.dtype([("a", "u1"), ("b", "<f8"), ("c", "<u2")], align=True),
    "record": np.dtype([("a", "u1"), ("b", np.longdouble), ("c", "S3")]),
    "inner": np.dtype([("a", "u1"), ("b", [("c", "<i2"), ("d", "<f8")])], align=True),
    "array": np.dtype((np.longdouble, (3,))),
    "text": "S5",
    "opaque": "V7",
}
FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"shuffle": True, "compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
    "blosc2": dict(hdf5plugin.Blosc2()),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (5, 4)},
    "beyond": {"chunks": (16, 32), "maxshape": (None, None)},
}


def some(dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Values in memory that was zero before, so that the padding in the file is zero."""
    array = np.zeros(shape, dtype)
    if array.dtype.names:
        for name in array.dtype.names:
            if array.dtype[name].names is None:
                array[name] = np.ones(array[name].shape).astype(array.dtype[name])
    elif array.dtype.kind != "V":
        array[...] = np.arange(array.size).reshape(array.shape).astype(array.dtype)
    return array


def corpus(path: Path) -> int:
    count = 0
    with h5py.File(path, "w") as file:
        file.create_dataset("poison", data=np.full((16 << 20,), 0xA5, "u1"), chunks=(4 << 20,))
        for (kind, dtype), (layout, where), (name, filters) in itertools.product(
            DTYPES.items(), LAYOUTS.items(), FILTERS.items()
        ):
            if layout == "contiguous" and filters:
                continue
            dtype = np.dtype(dtype)
            for state in ("never", "filled", "partly", "written"):
                plain = dtype.names is None and not dtype.subdtype and dtype.kind != "V"
                if state == "filled" and not plain:
                    continue
                options = {"fillvalue": np.ones((), dtype)[()]} if state == "filled" else {}
                made = file.create_dataset(
                    f"{kind} {layout} {name} {state}", (13, 9), dtype, **where, **filters, **options
                )
                if state == "written":
                    made[...] = some(dtype, (13, 9))
                elif state == "partly" and layout != "contiguous":
                    made[:3, :2] = some(dtype, (3, 2))
                count += 1
        large = np.dtype(np.longdouble)
        file.create_dataset("large never", (700_000,), large, chunks=(100_000,))
        file.create_dataset("large gaps", (300_000,), DTYPES["gaps"], chunks=(40_000,))
        file["large gaps"][:50_000] = some(DTYPES["gaps"], (50_000,))
    return count


def test_every_byte_is_what_h5py_gives(
    tmp_path: Path, mount: MountFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    assert corpus(source / "a.h5") > 350
    monkeypatch.setenv("MALLOC_PERTURB_", str(0xA5 ^ 0xFF))  # glibc fills with the complement
    mounted = mount(source)
    wrong = []
    with h5py.File(source / "a.h5") as file:
        for name in ("poison", *(name for name in file if name != "poison")):
            content = (mounted / f"a.h5/{name}.npy").read_bytes()
            expected = raw_bytes(file[name][()]).tobytes()
            if content[len(content) - len(expected) :] != expected:
                wrong.append(name)
    assert wrong == []
