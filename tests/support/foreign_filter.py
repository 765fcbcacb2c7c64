"""A file whose filter libhdf5 does not have, and a library that it must not load."""

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest


def file_with_foreign_filter(source: Path, place: Path) -> Path:
    """A file with a filter that nobody has, and a library in `place/plugins`.

    Where the library is loaded, there is `was-loaded` beside the folder.
    """
    plugins = place / "plugins"
    plugins.mkdir()
    code = """
        int creat(const char *, int);
        __attribute__((constructor)) void loaded(void) { creat("%s", 0644); }
    """
    (place / "p.c").write_text(code % (place / "was-loaded"))
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    library = plugins / "libevil.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, place / "p.c"], check=True)
    path = source / "filtered.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(100), chunks=(10,), compression="gzip")
    content = bytearray(path.read_bytes())
    where = content.index(b"deflate\0")
    content[where - 8 : where - 6] = (30_001).to_bytes(2, "little")
    path.write_bytes(content)
    return path
