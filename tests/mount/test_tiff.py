"""TIFF through a real mount: what `np.load` gives, and what a damaged frame costs."""

import errno
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.mounts import MountFactory
from tests.support.tiff_files import LAYOUTS, X, Y, numbers, write

IMAGE = "scan_0/image/data.npy"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_arrays(compression: str | None, order: str, mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    expected: dict[str, np.ndarray] = {}
    for layout, dtype in (("strips", "u2"), ("tiles", "u1"), ("colour", "u2"), ("planes", "u1")):
        shape = {"colour": (Y, X, 3), "planes": (3, Y, X)}.get(layout, (Y, X))
        pages = numbers(dtype, (5, *shape))
        name = f"{layout}.tif"
        write(source / name, pages, order=order, compression=compression, **LAYOUTS[layout])
        expected[name] = np.moveaxis(pages, -3, -1) if layout == "planes" else pages
    packed = gzip.compress((source / "strips.tif").read_bytes())
    (source / "packed.tif.gz").write_bytes(packed)
    expected["packed.tif.gz"] = expected["strips.tif"]
    mounted = mount(source)
    for name, array in expected.items():
        found = np.load(mounted / name / IMAGE)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        mapped = np.load(mounted / name / IMAGE, mmap_mode="r")
        np.testing.assert_array_equal(mapped[2:4], array[2:4])
    attributes = mounted / "colour.tif/scan_0/instrument/detector_0/data.attrs.json"
    assert json.loads(attributes.read_text())["interpretation"] == "rgba-image"


def test_a_damaged_frame_costs_what_lies_in_it(mount: MountFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    large = np.random.default_rng(4).integers(0, 99, (3, 1500, 1500), "u2")  # more than a block
    path = write(source / "a.tif", large, compression="zstd", photometric="minisblack")
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(raw)
    mounted = mount(source)
    mounted.expect("a.tif")
    first = (mounted / "a.tif" / IMAGE).stat().st_size - large.nbytes
    with open(mounted / "a.tif" / IMAGE, "rb") as file:
        for number in (0, 2):
            start = first + number * large[0].nbytes
            found = os.pread(file.fileno(), large[0].nbytes - 300_000, start + 150_000)
            assert found == large[number].tobytes()[150_000:-150_000]
        codes = []
        for start in range(first + large[0].nbytes, first + 2 * large[0].nbytes, 4096):
            try:
                os.pread(file.fileno(), 4096, start)
            except OSError as error:
                codes.append(error.errno)
    assert set(codes) == {errno.EIO}
    assert len(codes) < large[0].nbytes // 4096 // 2
    error = os.getxattr(mounted / "a.tif", "user.esrffs.error").decode()
    assert "frame 1" in error
    assert "is damaged: it cannot be unpacked" in error
