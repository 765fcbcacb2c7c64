"""Limits of HDF5 views of HDF5 files, and what damaged objects cost."""

import resource
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from esrffs.errors import NotFoundError
from esrffs.formats.hdf5.image import ImageLimits, ImageTooLargeError
from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support import hdf5_corpus, hdf5_images
from tests.support.hdf5_images import assemble
from tests.support.hdf5_views import View, made


def test_a_broken_object_costs_itself(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["a"] = np.arange(5)
        file["text"] = ["x" * 5000] * 2
        file["z"] = np.arange(3)
        file["z"].attrs["vlen"] = "text that lies elsewhere"

    path = made(tmp_path, fill)
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL")
    while start >= 0:
        content[start : start + 4] = b"LOST"
        start = content.find(b"GCOL")
    path.write_bytes(content)
    view = View(path)
    assert view.broken.keys() == {"/text", "/z@vlen"}
    assert all("h5dump" in reason for reason in view.broken.values())
    with h5py.File(view.path) as shown:
        assert list(shown) == ["a", "z"]
        assert shown["z"][()].tolist() == [0, 1, 2]


def test_an_array_that_cannot_be_read_is_a_run(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["before"] = np.arange(5)
        file["lost"] = np.arange(50_000)

    path = made(tmp_path, fill)
    reader = Hdf5Reader(str(path), None)
    with path.open("r+b") as file:
        file.truncate(100_000)
    image = reader.image("")
    assert not image.broken
    assert assemble(reader, image, tmp_path / "view.h5") == ["/lost"]
    with h5py.File(tmp_path / "view.h5") as shown:
        assert shown["before"][()].tolist() == list(range(5))
    reader.close()


def test_sequences_of_region_references_are_told(tmp_path: Path) -> None:
    view = View(hdf5_corpus.sequences(tmp_path))
    assert "region references" in view.broken["/regions"]


def test_limits(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        for number in range(50):
            file[f"few/{number}"] = number
            file[f"many/{number % 7}/{number}"] = number
        file["text/long"] = "x" * 200_000
        file["attribute/x"] = 1
        file["attribute/x"].attrs["long"] = ["x" * 1000] * 200

    path = made(tmp_path, fill)
    view = View(path, "/few", limits=ImageLimits(objects=50))
    assert len(view.image.runs) == 50
    for address in ("", "/many"):
        with pytest.raises(ImageTooLargeError, match="take a smaller group"):
            View(path, address, limits=ImageLimits(objects=50))
    for address, met in {"/text": "/text/long", "/attribute": "/attribute/x"}.items():
        assert View(path, address).image.nbytes > 200_000
        with pytest.raises(ImageTooLargeError, match=f"take a smaller group.*at {met}"):
            View(path, address, limits=ImageLimits(nbytes=100_000))
    with pytest.raises(ImageTooLargeError, match="take a smaller group"):
        View(path, "", limits=ImageLimits(nbytes=1 << 15))


@pytest.mark.parametrize("address", ["/few/1", "/none"])
def test_what_is_no_group_has_no_view(address: str, tmp_path: Path) -> None:
    path = made(tmp_path, lambda file: file.create_dataset("few/1", data=1))
    with pytest.raises(NotFoundError, match=address):
        View(path, address)


def test_33_gigabytes_and_thousands_of_arrays(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("huge", (1 << 20, 128, 130), "<u2", chunks=(1, 128, 130))
        file["huge"][-1] = 7
        for number in range(4000):
            file.create_dataset(f"{number % 40}/{number}", data=number).attrs["units"] = "mm"

    path = made(tmp_path, fill)
    reader = Hdf5Reader(str(path), None)
    before = resource.getrusage(resource.RUSAGE_SELF)
    image = reader.image("")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
    assert after.ru_maxrss - before.ru_maxrss < 64 << 10  # KiB
    hdf5_images.check_places(image)
    assert image.nbytes > 33 * 10**9
    assert sum(len(content) for _, content in image.literals) < 4 << 20
    (huge,) = (run for run in image.runs if run.address == "/huge")
    shown = tmp_path / "view.h5"
    with shown.open("wb") as file:
        file.write(image.literals[0][1])
        file.seek(huge.offset + huge.nbytes - 128 * 130 * 2)
        file.write(np.full((128, 130), 7, "<u2").tobytes())
        file.truncate(image.nbytes)
    with h5py.File(shown) as file:
        assert file["huge"][-1].max() == file["huge"][-1].min() == 7
        assert file["huge"][-2].max() == 0
        assert file["17/57"].attrs["units"] == "mm"
    reader.close()


@pytest.mark.parametrize("base", ["f8", h5py.ref_dtype])
def test_what_libhdf5_has_read_before_it_failed_is_not_freed_twice(
    base: Any, tmp_path: Path
) -> None:
    def fill(file: h5py.File) -> None:
        dataset = file.create_dataset("lost", (4,), h5py.vlen_dtype(base))
        for number in range(4):
            dataset[number] = np.array([1 if base == "f8" else file.ref] * 3, base)
        file["x"] = 1

    path = made(tmp_path, fill)
    with h5py.File(path) as file:
        offset = file["lost"].id.get_offset()
    with path.open("r+b") as raw:
        raw.seek(offset + 2 * 16 + 12)  # the number of the third in its heap
        raw.write(b"\xff\x7f\0\0")
    for _ in range(20):
        view = View(path)
        assert view.broken.keys() == {"/lost"}
        with h5py.File(view.path) as shown:
            assert list(shown) == ["x"]
