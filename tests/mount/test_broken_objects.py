"""What is broken in a file is told with its path: in the log, at the object and at the file."""

import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of
from tests.support.marks import needs_fuse
from tests.support.mounts import MountFactory

pytestmark = needs_fuse


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def text_at(path: Path) -> str:
    return os.getxattr(path, "user.esrffs.error").decode()


def test_objects_that_cannot_be_described(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "a.h5", "w") as file:
        file["entry/x"] = 1
        for name in ("regions", "more"):
            file.create_dataset(f"entry/{name}", (1,), h5py.vlen_dtype(h5py.regionref_dtype))
    mounted = mount(source)
    for name in ("regions", "more"):
        path = mounted / f"a.h5/entry/{name}"
        text = f"a.h5: /entry/{name}: reading sequences of region references crashes h5py"
        mounted.expect(text)
        assert errno_of(path.read_bytes) == errno.EIO
        assert text_at(path) == text
        assert text in text_at(mounted / "a.h5").splitlines()
        assert sum(text in line for line in mounted.warnings) == 1
    assert np.load(mounted / "a.h5/entry/x.npy") == 1


def test_raw_storage_that_is_not_there(mount: MountFactory, source: Path) -> None:
    with h5py.File(source / "a.h5", "w") as file:
        file.create_dataset("x", (8,), "<i4", external=[("not_there.raw", 0, 32)])
    mounted = mount(source)
    mounted.expect(r"a\.h5: /x: its values lie in a raw file that cannot be had: .*\(EIO\)")
    assert errno_of((mounted / "a.h5/x.npy").read_bytes) == errno.EIO
    assert "not_there.raw" in text_at(mounted / "a.h5/x.npy")
    assert "not_there.raw" in text_at(mounted / "a.h5")
    assert len(mounted.warnings) == 1


def test_json_that_is_too_large(mount: MountFactory, source: Path) -> None:
    """EFBIG by its own name; what else there is can be read."""
    with h5py.File(source / "a.h5", "w") as file:
        made = file.create_dataset("events", (1000,), h5py.vlen_dtype("f8"))
        rows = np.empty(1000, object)
        for number in range(1000):
            rows[number] = np.arange(1000 - number % 2) / 3
        made[:] = rows
        file["x"] = 1
    mounted = mount(source, "-o", "json_limit=1")
    mounted.expect(r"a\.h5: /events: .*json_limit=1\) \(EFBIG\)")
    assert sorted(os.listdir(mounted / "a.h5")) == ["events.json", "x.npy"]
    assert errno_of((mounted / "a.h5/events.json").read_bytes) == errno.EFBIG
    assert "json_limit" in text_at(mounted / "a.h5/events.json")


def test_texts_and_what_they_are_measured_for(mount: MountFactory, source: Path) -> None:
    """Every reader gives the width that one of them has found out."""
    words = [f"sample {number}" for number in range(200_000)]
    long = ["ok"] * 20_000
    long[7] = "z" * 1_000_000
    with h5py.File(source / "a.h5", "w") as file:
        chunks = {"chunks": (200_000,), "compression": "gzip"}
        file.create_dataset("words", data=np.array(words, object), **chunks)
        file["notes"] = np.array(long, object)
    mounted = mount(source, "-o", "workers=4")
    assert np.load(mounted / "a.h5/words.npy").tolist() == words
    assert json.loads((mounted / "a.h5/notes.json").read_text()) == long
    assert (mounted / "a.h5/notes.json").stat().st_size < 2_000_000
