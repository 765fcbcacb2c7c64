"""What readers have done before they are asked for anything."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from esrffs.formats import recognise, rehearsal
from esrffs.formats.rehearsal import sample

FORMATS = {"hdf5": "hdf5", "raster": "raster", "spec": "spec", "tiff": "raster"}

_NOTHING_NEW = """
import sys
from esrffs.formats import preloaded, rehearsal
before = set(sys.modules)
for kind in ("hdf5", "raster", "spec", "tiff"):
    rehearsal._read(kind)
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("kind", FORMATS)
def test_samples_are_sound_files_of_their_formats(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = sample(kind)
    names = {"hdf5": "a.h5", "raster": "a.edf", "spec": "a.dat", "tiff": "a"}

    def pread(offset: int, count: int) -> bytes:
        return content[offset : offset + count]

    assert recognise(pread, len(content), names[kind]) == FORMATS[kind]
    listed: list[str] = []
    walk = rehearsal._walk

    def walked(reader) -> None:
        listed.extend(member.name for member in reader.listing("").members)
        walk(reader)

    monkeypatch.setattr(rehearsal, "_walk", walked)
    rehearsal._read(kind)  # raises what `rehearse` does not
    assert listed


def test_nothing_is_loaded_once_a_reader_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOTHING_NEW], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_daemon_loads_no_format_library() -> None:
    asked = (
        "import sys, esrffs.daemon; print({'h5py', 'silx', 'fabio', 'tifffile'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_no_memory_for_samples_hinders_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(rehearsal.os, "memfd_create", refused)
    rehearsal.rehearse()


def test_samples_lie_in_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was killed while it read them left them there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    seen: list[str] = []
    walk = rehearsal._walk

    def walked(reader) -> None:
        seen.extend(os.listdir(tmp_path))
        walk(reader)

    monkeypatch.setattr(rehearsal, "_walk", walked)
    for format_ in FORMATS:
        rehearsal._read(format_)
    assert seen == []
