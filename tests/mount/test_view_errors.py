"""What goes wrong with a view is told at the view, as at the array or group that it is made of."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.mounts import Mounted, MountFactory

ERROR = "user.esrffs.error"


@pytest.fixture
def mounted(tmp_path: Path, mount: MountFactory) -> Mounted:
    """`inside/b` has a damaged chunk; `many` has more text than a view may hold."""
    (tmp_path / "source").mkdir()
    path = tmp_path / "source/a.h5"
    array = np.arange(4 * 500, dtype="<i4").reshape(4, 500)
    with h5py.File(path, "w") as file:
        for name in ("inside/b", "other/b"):
            file.create_dataset(name, data=array, chunks=(1, 500), compression="gzip")
        file["many/texts"] = np.array(["x" * 40] * 60_000, object)
        place = file["inside/b"].id.get_chunk_info(2).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 32)
    made = mount(tmp_path / "source", "-o", "view_limit=1")
    made.expect("a.h5")
    return made


def error_text(path: Path) -> str:
    return os.getxattr(path, ERROR).decode() if ERROR in os.listxattr(path) else ""


def test_an_array_that_cannot_be_read_is_told_at_the_hdf5_view(mounted: Mounted) -> None:
    views = [mounted / "a.h5/inside.h5", mounted / "a.h5/other.h5"]
    assert [error_text(view) for view in views] == ["", ""]
    for view in views:
        with h5py.File(view) as file:
            if view == views[0]:
                with pytest.raises(OSError):
                    file["b"][...]
            else:
                assert file["b"][3, 499] == 1999
    assert "/inside/b" in error_text(views[0])
    assert error_text(views[0]) == error_text(mounted / "a.h5/inside/b.npy")
    assert error_text(views[1]) == ""


def test_a_view_that_would_be_too_large_says_so_at_what_it_is_of(mounted: Mounted) -> None:
    for view in ("many.h5", "many/texts.csv"):
        with pytest.raises(OSError) as caught:
            (mounted / "a.h5" / view).stat()
        assert caught.value.errno == errno.EFBIG, view
    assert "view_limit" in error_text(mounted / "a.h5/many")
    assert "view_limit" in error_text(mounted / "a.h5/many/texts.npy")
    assert "view_limit" in error_text(mounted / "a.h5")
