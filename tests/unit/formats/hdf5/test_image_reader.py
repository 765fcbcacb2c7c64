"""HDF5 views of Spec files, images and series, held against silx."""

from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
import silx.io

from esrffs.formats import readers
from esrffs.formats.hdf5.image_reader import reader_image
from esrffs.formats.hdf5.reader import Hdf5Reader
from esrffs.formats.images.series import ImageSeriesReader
from tests.support import hdf5_corpus
from tests.support.hdf5_images import check_places, walk
from tests.support.hdf5_views import edf_file, shown, spec_file


def check_as_silx(view: h5py.Group, group: Any) -> None:
    assert list(view) == list(group)
    assert view.attrs.keys() == group.attrs.keys()
    for name in group:
        if isinstance(group.get(name, getlink=True), silx.io.commonh5.SoftLink):
            assert view.get(name, getlink=True).path == group.get(name, getlink=True).path
        elif hasattr(group[name], "keys"):
            check_as_silx(view[name], group[name])
        else:
            value, expected = view[name], np.asarray(group[name][()])
            text = expected.dtype.kind in "UO"
            shown = np.asarray(value.asstr()[()] if text else value[()])
            assert text or shown.dtype == expected.dtype
            np.testing.assert_array_equal(shown, expected)
            assert dict(value.attrs) == dict(group[name].attrs)


def test_images_are_as_silx_shows_them(tmp_path: Path) -> None:
    """`silx convert` itself fails on the text of image headers (3.1)."""
    path = edf_file(tmp_path)
    reader = readers.open_reader("image", str(path), None)
    image = reader_image(reader)
    assert image.broken == ()
    view_path = shown(reader, image, tmp_path)
    reader.close()
    with h5py.File(view_path) as view, silx.io.open(str(path)) as opened:
        check_as_silx(view["scan_0"], opened["scan_0"])
        assert view.attrs["NX_class"] == "NXroot"


@pytest.mark.parametrize(
    ("make", "kind", "name"), [(spec_file, "spec", "2.1"), (edf_file, "image", "scan_0")]
)
def test_links_of_a_group_lead_to_its_data(make: Any, kind: Any, name: str, tmp_path: Path) -> None:
    reader = readers.open_reader(kind, str(make(tmp_path)), None)
    (address,) = (one.address for one in reader.listing("").members if one.name == name)
    above = f"/{name}"
    with h5py.File(shown(reader, reader_image(reader), tmp_path)) as whole:
        links = {path: link for path, link, _ in walk(whole) if link and path.startswith(above)}
    assert links
    with h5py.File(shown(reader, reader_image(reader, address), tmp_path)) as view:
        assert view.attrs["NX_class"] == "NXentry"
        for path, link in links.items():
            found = view.get(path.removeprefix(above), getlink=True).path
            assert found.encode() == link.removeprefix(above.encode())
            assert view[path.removeprefix(above)].name
    (inner,) = (one.address for one in reader.listing(address).members if one.name == "instrument")
    with h5py.File(shown(reader, reader_image(reader, inner), tmp_path)) as view:
        assert view.attrs["NX_class"] == "NXinstrument"
    reader.close()


def test_frames_are_runs_and_small_values_are_read_at_once(tmp_path: Path) -> None:
    reader = readers.open_reader("image", str(edf_file(tmp_path)), None)
    image = reader_image(reader)
    check_places(image)
    (frames,) = image.runs
    assert (frames.address, frames.nbytes) == ("/scan_0/instrument/detector_0/data", 8000)
    assert len(image.literals) > 3
    reader.close()


def test_a_series_is_one_stack(tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        paths.append(str(tmp_path / f"x_{number}.edf"))
        fabio.edfimage.EdfImage(np.full((20, 30), number, "u2")).write(paths[-1])
    reader = ImageSeriesReader(paths)
    image = reader_image(reader)
    assert image.broken == ()
    path = shown(reader, image, tmp_path)
    reader.close()
    with h5py.File(path) as view:
        stack = view["scan_0/instrument/detector_0/data"]
        assert stack.shape == (3, 20, 30)
        assert stack[:, 0, 0].tolist() == [0, 1, 2]
        assert view["scan_0/image/data"] == stack


def test_any_reader_can_be_described(tmp_path: Path) -> None:
    """As a view of a series or of `corrected/` is, from what its listings tell."""
    reader = Hdf5Reader(str(hdf5_corpus.numbers(tmp_path)), None)
    image = reader_image(reader)
    assert not image.broken
    path = shown(reader, image, tmp_path)
    reader.close()
    with h5py.File(path) as view, h5py.File(tmp_path / "numbers.h5") as source:
        for name in ("u2be", "f2le", "c16be", "bool", "scalar", "big", "dates"):
            assert view[name].dtype == source[name].dtype
            np.testing.assert_array_equal(view[name][()], source[name][()])
