"""A chunk of which far more would have to be unpacked than fits in memory."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.chunk_streams import zeros
from tests.support.mounts import MountFactory


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("chunk_limit=256", "would have to be unpacked"),
        ("chunk_limit=2048,time_limit=6", "takes more time than there is"),
    ],
)
def test_a_monstrous_chunk_costs_itself(
    mount: MountFactory, tmp_path: Path, options: str, told: str
) -> None:
    """30 GiB in 31 MB: an error, at once or in time, and other large chunks are read meanwhile."""
    source = tmp_path / "source"
    source.mkdir()
    rows, width = 30_000, 1 << 20
    array = np.arange(80 << 20, dtype="u1")
    with h5py.File(source / "x.h5", "w", libver="latest") as file:
        growing: dict[str, Any] = {"maxshape": (None, None), "compression": "gzip"}
        monster = file.create_dataset("monster", (rows, 1), "u1", chunks=(rows, width), **growing)
        monster.id.write_direct_chunk((0, 0), zeros(rows, width))
        file.create_dataset("large", data=array, chunks=array.shape, compression=1)
    mounted = mount(source, "-o", options)
    mounted.expect(f"/monster: chunk 0: .* {told}")
    folder = mounted / "x.h5"
    with ThreadPoolExecutor() as pool:
        failed = pool.submit((folder / "monster.npy").read_bytes)
        assert np.array_equal(np.load(folder / "large.npy"), array)
        with pytest.raises(OSError) as caught:
            failed.result()
    assert caught.value.errno == errno.EFBIG
    assert told in os.getxattr(folder / "monster.npy", "user.esrffs.error").decode()
