"""A damaged chunk in an `.h5` view, read by an HDF5 that reads no more than it is asked for."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.mounts import MountFactory


def test_without_sieve_buffer_damage_costs_its_own_elements(
    tmp_path: Path, mount: MountFactory
) -> None:
    """As docs/views.md tells how; each frame is smaller than the buffer."""
    (tmp_path / "source").mkdir()
    path = tmp_path / "source/d.h5"
    array = np.arange(4 * 64 * 64, dtype="<u2").reshape(4, 64, 64)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=array, chunks=(1, 64, 64), compression="gzip")
        place = file["a"].id.get_chunk_info(2).byte_offset
    with open(path, "r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 32)
    mounted = mount(tmp_path / "source")
    mounted.expect("d.h5")
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_sieve_buf_size(0)
    view = bytes(mounted / "d.h5.h5")
    with h5py.File(h5py.h5f.open(view, h5py.h5f.ACC_RDONLY, fapl=access)) as file:
        for number in (0, 1, 3):
            assert np.array_equal(file["a"][number], array[number])
        with pytest.raises(OSError):
            file["a"][2]
