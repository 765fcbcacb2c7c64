"""All files of the HDF5 corpus in one folder, and a file of very many datasets."""

from pathlib import Path

import h5py

from tests.support.hdf5_corpus import WRITERS


def thousands(folder: Path, count: int = 10_000) -> Path:
    path = folder / "thousands.h5"
    with h5py.File(path, "w") as file:
        for index in range(count):
            file.create_dataset(f"{index:05}", data=index).attrs["units"] = "mm"
    return path


def corpus_folder(parent: Path) -> Path:
    """Write all files of the corpus to `parent/source`, and beside it what must not be read."""
    folder = parent / "source"
    folder.mkdir()
    for write in WRITERS.values():
        write(folder)
    (parent / "secret").write_bytes(b"root")
    with h5py.File(parent / "outside.h5", "w") as file:
        file["d"] = 1
    return folder


def paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())
