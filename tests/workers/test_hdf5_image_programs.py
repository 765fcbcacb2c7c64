"""HDF5 views of files: what silx, h5dump and h5diff make of them."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from esrffs.formats import readers
from esrffs.formats.hdf5.image_reader import reader_image
from tests.support import hdf5_corpus
from tests.support.hdf5_images import walk
from tests.support.hdf5_views import View, shown, spec_file


def converted(path: Path) -> Path:
    """By `silx convert`."""
    target = path.with_name("silx.h5")
    program = Path(sys.executable).with_name("silx")
    subprocess.run([program, "convert", path, "-o", target], check=True, capture_output=True)
    return target


def same(value: Any, expected: Any, name: str) -> None:
    """silx rounds the numbers of Spec to float32."""
    assert value.shape == expected.shape, name
    if value.dtype != expected.dtype:
        assert (value.dtype, expected.dtype) == (np.float64, np.float32), name
        value = value[()].astype(np.float32)
    np.testing.assert_array_equal(value[()], expected[()])


def test_silx_convert_gives_the_same(tmp_path: Path) -> None:
    path = spec_file(tmp_path)
    reader = readers.open_reader("spec", str(path), None)
    image = reader_image(reader)
    assert image.broken == ()
    view_path = shown(reader, image, tmp_path)
    reader.close()
    with h5py.File(view_path) as view, h5py.File(converted(path)) as other:
        found = {path: (link, obj) for path, link, obj in walk(view)}
        expected = {path: (link, obj) for path, link, obj in walk(other)}
        assert found.keys() == expected.keys()
        for name, (link, obj) in expected.items():
            assert found[name][0] == link, name
            if obj is None:
                continue
            assert found[name][1].attrs.keys() == obj.attrs.keys(), name
            for key, value in obj.attrs.items():
                np.testing.assert_array_equal(found[name][1].attrs[key], value)
                of_file = found[name][1].attrs.get_id(key).get_type()
                assert of_file == obj.attrs.get_id(key).get_type(), name
            if isinstance(obj, h5py.Dataset):
                same(found[name][1], obj, name)
        assert view.attrs["NX_class"] == "NXroot"


def test_old_readers_read_it(tmp_path: Path) -> None:
    """h5dump and h5diff of a system are older than h5py's HDF5, often by years."""
    if shutil.which("h5dump") is None or shutil.which("h5diff") is None:
        pytest.skip("hdf5-tools is not installed")
    for name in hdf5_corpus.WRITERS:
        folder = tmp_path / name
        folder.mkdir()
        view = View(hdf5_corpus.WRITERS[name](folder))
        dumped = subprocess.run(
            ["h5dump", "-H", view.path], capture_output=True, check=False, timeout=60
        )
        assert dumped.returncode == 0, (name, dumped.stderr)
        if name in ("compounds", "references", "attributes", "netcdf", "matlab", "empty"):
            compared = subprocess.run(
                ["h5diff", view.source, view.path], capture_output=True, check=False, timeout=60
            )
            assert compared.returncode == 0, (name, compared.stdout)
