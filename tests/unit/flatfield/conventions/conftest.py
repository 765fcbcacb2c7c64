"""An HDF5 file in memory, and random numbers that are the same in every run."""

import h5py
import numpy as np
import pytest


@pytest.fixture
def file():
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        yield file


@pytest.fixture
def rng():
    return np.random.default_rng(7)
