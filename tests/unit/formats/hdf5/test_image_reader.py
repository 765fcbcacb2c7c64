"""HDF5 views of Spec files, images and series, held against silx."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
import silx.io

from esrffs.formats import readers
from esrffs.formats.hdf5.image import Hdf5Image
from esrffs.formats.hdf5.image_reader import reader_image
from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support import hdf5_corpus
from tests.support.hdf5_images import assemble, check_places, walk

SPEC = """#F test.dat
#E 1700000000
#D Tue Nov 14 22:13:20 2023
#O0 Theta  Two Theta  det/x

#S 1 ascan th 0 1 2
#D Tue Nov 14 22:13:20 2023
#P0 1.5 2.5 -3
#N 3
#L Theta  det/a  Epoch
0 1 1700000000.25
0.5 2 1700000001.25
1 3 1700000002.25

#S 2 grün
#D Tue Nov 14 22:14:20 2023
#N 2
#@MCA %16C
#@CHANN 4 0 3 1
#@CALIB 1 2 3
#L a  b
1 2
@A 1 2 3 4
3 4
@A 5 6 7 8
"""


def spec_file(folder: Path) -> Path:
    path = folder / "test.dat"
    path.write_text(SPEC)
    return path


def edf_file(folder: Path) -> Path:
    path = folder / "test.edf"
    header = {"title": "grün", "motor_pos": "1.5 2", "motor_mne": "a b", "count_time": "0.25"}
    fabio.edfimage.EdfImage(np.arange(4000, dtype="u2").reshape(40, 100), header).write(path)
    return path


def converted(path: Path) -> Path:
    """By `silx convert`."""
    target = path.with_name("silx.h5")
    program = Path(sys.executable).with_name("silx")
    subprocess.run([program, "convert", path, "-o", target], check=True, capture_output=True)
    return target


def shown(reader: Any, image: Hdf5Image, folder: Path) -> Path:
    path = folder / "view.h5"
    assert assemble(reader, image, path) == []
    return path


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
    reader = readers.open_reader("raster", str(path), None)
    image = reader_image(reader)
    assert image.broken == ()
    view_path = shown(reader, image, tmp_path)
    reader.close()
    with h5py.File(view_path) as view, silx.io.open(str(path)) as opened:
        check_as_silx(view["scan_0"], opened["scan_0"])
        assert view.attrs["NX_class"] == "NXroot"


@pytest.mark.parametrize(
    ("make", "kind", "name"), [(spec_file, "spec", "2.1"), (edf_file, "raster", "scan_0")]
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
    reader = readers.open_reader("raster", str(edf_file(tmp_path)), None)
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
    reader = readers.open_series(tuple(paths))
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
