"""A file that was rewritten while a program has it open: what was not read yet is stale."""

import errno
import mmap
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.marks import needs_fuse
from tests.support.mounts import MountFactory
from tests.support.npy import npy_bytes

pytestmark = needs_fuse
WAYS = {
    "contiguous": {},
    "gzip": {"chunks": (10, 1000), "compression": "gzip"},
    "lzf": {"chunks": (10, 1000), "compression": "lzf"},
    "checksum": {"chunks": (10, 1000), "fletcher32": True},
}
SHAPE = (4000, 1000)  # 16 MB: of several blocks


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, SHAPE, "i4")


def content(path: Path, seed: int, options: dict[str, object]) -> bytes:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values(seed), **options)
    return path.read_bytes()


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("how", ["rewritten", "cut", "overwritten"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_not_read_yet_is_stale(
    mount: MountFactory, tmp_path: Path, way: str, how: str, mapped: bool
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = source / "a.h5"
    old = content(path, 1, WAYS[way])
    new = content(tmp_path / "new.h5", 2, WAYS[way])
    changed = {"rewritten": new, "cut": old[:100_000], "overwritten": os.urandom(len(old))}[how]
    whole = npy_bytes(values(1))
    mounted = mount(source)
    mounted.expect("a.h5")
    with open(mounted / "a.h5/x.npy", "rb") as file:
        number = file.fileno()
        os.pread(number, 4096, 0)
        view = mmap.mmap(number, 0, access=mmap.ACCESS_READ) if mapped else None
        with open(path, "r+b") as written:
            written.write(changed)
            written.truncate()
        failed = []
        for offset in (15_900_000, 15_000_000, 9_000_000, 12_345_678):
            try:
                got = os.pread(number, 8192, offset)
            except OSError as error:
                failed.append(error.errno)
            else:
                assert got == whole[offset : offset + 8192], "made before the file was rewritten"
        assert failed
        assert set(failed) == {errno.ESTALE}
        if view is not None:
            view.close()
