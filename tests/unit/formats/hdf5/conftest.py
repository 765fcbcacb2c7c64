"""The HDF5 corpus, and readers of its files."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support.hdf5_corpus_folder import corpus_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all files of the corpus."""
    return corpus_folder(tmp_path_factory.mktemp("hdf5"))


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[..., Hdf5Reader]]:
    """`opened(name, confine=False)`: a reader of a file of the corpus, closed after the test."""
    readers: list[Hdf5Reader] = []

    def open_reader(name: str, confine: bool = False) -> Hdf5Reader:
        inside = os.path.realpath(folder) if confine else None
        readers.append(Hdf5Reader(str(folder / name), inside))
        return readers[-1]

    yield open_reader
    for reader in readers:
        reader.close()
