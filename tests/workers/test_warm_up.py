"""What readers have done before they are asked for anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esrffs.formats import warm_up
from esrffs.formats.detect import detect_format
from esrffs.formats.warm_up import sample

FORMATS = {"hdf5": "hdf5", "image": "image", "spec": "spec", "tiff": "image"}

_NOTHING_NEW = """
import sys
from esrffs.formats import preload, warm_up
before = set(sys.modules)
for kind in ("hdf5", "image", "spec", "tiff"):
    warm_up._read(kind)
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("kind", FORMATS)
def test_samples_are_sound_files_of_their_formats(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = sample(kind)
    names = {"hdf5": "a.h5", "image": "a.edf", "spec": "a.dat", "tiff": "a"}

    def pread(offset: int, count: int) -> bytes:
        return content[offset : offset + count]

    assert detect_format(pread, len(content), names[kind]) == FORMATS[kind]
    listed: list[str] = []
    walk = warm_up._walk

    def walked(reader) -> None:
        listed.extend(member.name for member in reader.listing("").members)
        walk(reader)

    monkeypatch.setattr(warm_up, "_walk", walked)
    warm_up._read(kind)  # raises what `warm_up` does not
    assert listed


def test_nothing_is_loaded_once_a_reader_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOTHING_NEW], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_daemon_loads_no_format_library() -> None:
    libraries = {"h5py", "silx", "fabio", "tifffile"}
    asked = f"import sys, esrffs.cli.daemon; print({libraries} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_disk_without_room_for_samples_hinders_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise OSError(28, "No space left on device")

    warm_up._folder.cache_clear()
    monkeypatch.setattr(warm_up.tempfile, "mkdtemp", refused)
    warm_up.warm_up()


_KILLED_CHILD = """
import os, signal
from esrffs.formats import warm_up
warm_up.warm_up()
child = os.fork()
if child == 0:
    warm_up._walk = lambda reader: os.kill(os.getpid(), signal.SIGKILL)
    warm_up.warm_up()
os.waitpid(child, 0)
print(len(os.listdir(os.environ["TMPDIR"])))
"""


def test_processes_that_are_killed_leave_no_samples(tmp_path: Path) -> None:
    """Neither a reader that is killed while it reads them, nor one that lives on, or was killed."""
    for left in ("esrffs-samples-999999999-x", "esrffs-samples-1-x", "another"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "hdf5").write_text("left")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_CHILD],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.stdout == "3\n", "its own, and two of others"
    assert sorted(os.listdir(tmp_path)) == ["another", "esrffs-samples-1-x"]
