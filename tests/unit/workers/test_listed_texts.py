"""Texts that come with a listing: exactly those that the array says, and none that is large."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from esrffs.encoders import text
from esrffs.model import Box, DatasetInfo, Generation
from esrffs.workers import listed_texts, server
from esrffs.workers.protocol import ReaderSpec


@pytest.fixture
def spec(tmp_path: Path) -> ReaderSpec:
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file["scalar"] = "µm"
        file["empty"] = ""
        file["latin"] = np.bytes_(b"\xb5m")
        file.create_dataset("bytes", data=b"\xb5m", dtype=h5py.string_dtype())
        file["cut"] = np.bytes_(b"a\0b")
        file["fixed"] = np.array([[b"a", b"bc"], [b"", b"d"]])
        file["many"] = np.array(["a", "", "b\nc"], object)
        file.create_dataset("packed", data=np.array([b"x"] * 9), chunks=(2,), compression="gzip")
        file["long"] = "x" * (listed_texts.MAX_NBYTES - 1)
        file["longer"] = "x" * listed_texts.MAX_NBYTES
        file["large"] = np.full(10_000, b"x" * 10)
        file["none"] = h5py.Empty("S3")
        file["number"] = 1.5
        compound = np.zeros(2, [("t", "S2")])
        file["compound"] = compound
    generation = Generation.of(os.stat(path))
    return ReaderSpec((str(path),), (generation,), "hdf5", series=False, boundary=None)


def test_they_are_what_the_arrays_say(spec: ReaderSpec) -> None:
    told = {}
    for member in server.call_reader(spec, "listing", "").members:
        assert isinstance(member, DatasetInfo)
        box = Box((0,) * len(member.shape), member.shape)
        if member.text is not None:
            values = server.call_reader(spec, "read", member.address, box)
            lines = text.lines(values)
            told[member.name] = member.text.size
            assert member.text.size == len(lines)
            assert member.text.content == (lines if len(lines) <= 1024 else None)
    assert set(told) == {*("scalar", "empty", "latin", "bytes", "cut", "fixed", "many", "long")}
    assert told["long"] == listed_texts.MAX_NBYTES
