"""Names, attributes and an environment that somebody hostile has chosen."""

import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.errnos import errno_of_reading
from tests.support.foreign_filter import file_with_foreign_filter
from tests.support.mounts import MountFactory


def test_control_characters_do_no_harm(source: Path, mount: MountFactory) -> None:
    evil = "a\nERROR forged\x1b[2J\x07\u202e"
    with h5py.File(source / "evil.h5", "w") as file:
        file[evil] = 1
        file[evil].attrs[evil] = evil
        file.attrs["bytes"] = np.bytes_(b"\x00\x1b\xff" * 3)
    (source / f"{evil}.h5").write_bytes((source / "evil.h5").read_bytes()[:600])
    mounted = mount(source)
    texts = [path.read_text() for path in (mounted / "evil.h5").glob("*.json")]
    assert len(texts) == 2
    for text in texts:
        assert isinstance(json.loads(text), dict)
        assert not any(c < " " and c != "\n" for c in text), "escaped in JSON"
    assert evil in [key for text in texts for key in json.loads(text)]
    with pytest.raises(OSError):
        os.listdir(mounted / f"{evil}.h5")
    mounted.expect("forged")
    log = mounted.log.read_text()
    assert not any(c != "\n" and not c.isprintable() for c in log)
    assert not any(line.startswith("ERROR") for line in log.splitlines())


@pytest.fixture
def filtered(source: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = file_with_foreign_filter(source, place)
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(place / "plugins"))
    return path


def test_plugins_of_the_environment_are_not_used(
    filtered: Path, place: Path, source: Path, mount: MountFactory
) -> None:
    mounted = mount(source)
    mounted.expect("filtered")
    assert errno_of_reading(mounted / "filtered.h5/x.npy") == errno.EIO
    assert not (place / "was-loaded").exists(), "code from HDF5_PLUGIN_PATH ran"


def test_what_the_environment_tells_libhdf5_is_not_heard(
    source: Path, place: Path, mount: MountFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the sources of a file are nor how it is read."""
    for folder, value in ((source, 1), (place / "decoy", 2)):
        folder.mkdir(exist_ok=True)
        with h5py.File(folder / "other.h5", "w") as file:
            file["x"] = np.full(3, value)
            file["words"] = np.array([str(value)], dtype=h5py.string_dtype())
        (folder / "raw").write_bytes(np.full(3, value, "u1").tobytes())
    with h5py.File(source / "all.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("other.h5", "/x")
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
        file.create_virtual_dataset("virtual", layout)
        layout = h5py.VirtualLayout((1,), h5py.string_dtype())
        layout[:] = h5py.VirtualSource("other.h5", "words", (1,), h5py.string_dtype())
        file.create_virtual_dataset("words", layout)  # that libhdf5 reads
        file.create_dataset("raw", (3,), "u1", external=[("raw", 0, 3)])
    for name in ("HDF5_EXT_PREFIX", "HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX"):
        monkeypatch.setenv(name, str(place / "decoy"))
    monkeypatch.setenv("HDF5_DRIVER", "family")
    monkeypatch.setenv("HDF5_VOL_CONNECTOR", "nobodys")
    mounted = mount(source)
    for name in ("linked", "virtual", "raw"):
        assert np.load(mounted / f"all.h5/{name}.npy").tolist() == [1, 1, 1], name
    assert np.load(mounted / "all.h5/words.npy").tolist() == ["1"]
