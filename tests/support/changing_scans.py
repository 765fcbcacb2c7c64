"""Scans that are changed while they are mounted."""

import errno
import os
import time
from pathlib import Path

import h5py
import numpy as np

from tests.support.corrected_scans import counts, identical

BRISK = ("-o", "attr_timeout=0.1,entry_timeout=0.1")  # the kernel asks again soon
RAW, FLATS, DARK = counts("r", 8), counts("f", 2), counts("d")
FLATS[:, 0, :4] = DARK[0, :4]  # to divide by zero
RAW[3, 0, :2] = DARK[0, :2]


def scan(path: Path, raw: np.ndarray = RAW, flats: int = 1, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=raw, **options)
        file["dark"] = DARK
        for k in range(flats):
            file[f"flat/{8 * k}"] = FLATS[k]


def settle() -> None:
    """Longer than the kernel believes what it was told."""
    time.sleep(0.15)


def old(handle: int, array: np.ndarray) -> bool:
    """The handle gives what it gave when it was opened, or says that this is gone."""
    try:
        content = b"".join(os.pread(handle, 1 << 20, at << 20) for at in range(16))
    except OSError as error:
        return error.errno == errno.ESTALE
    return identical(content, array)
