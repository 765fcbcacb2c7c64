"""The same arrays in other formats, as the usual readers of these formats see them."""

import csv
import os
import subprocess
from pathlib import Path

import fabio
import numpy as np
import pandas
import pytest
import silx.io
import tifffile
from PIL import Image

from tests.support.image_files import image
from tests.support.mounts import Mounted, MountFactory
from tests.support.view_files import ARRAYS, cells, same_values


@pytest.mark.parametrize("name", [*ARRAYS, "packed"])
def test_tiff_and_edf_give_the_array_back(views: Path, name: str) -> None:
    array = np.load(views / f"{name}.npy")
    if array.ndim > 1:
        same_values(tifffile.imread(views / f"{name}.tif"), array)
        same_values(np.asarray(tifffile.memmap(views / f"{name}.tif", mode="r")), array)
    else:
        assert not (views / f"{name}.tif").exists()
    if array.ndim > 3:
        assert not (views / f"{name}.edf").exists()
        return
    with fabio.open(views / f"{name}.edf") as file:
        frames = [file.get_frame(number).data for number in range(file.nframes)]
    same_values(np.array(frames), array)


@pytest.mark.parametrize("name", ["stack_1", "stack_3", "deep", "packed"])
def test_a_file_for_each_frame(views: Path, name: str) -> None:
    array = np.load(views / f"{name}.npy")
    frames = array.reshape(-1, *array.shape[-2:])
    for format_, suffix in (("tifs", "tif"), ("edfs", "edf"), ("pngs", "png")):
        names = [f"{number:04}.{suffix}" for number in range(len(frames))]
        folder = views / f"{name}.{format_}"
        assert os.listdir(folder) == names
        for number, frame in enumerate(frames):
            path = folder / names[number]
            assert path.stat().st_size == len(path.read_bytes())
            if suffix == "tif":
                same_values(tifffile.imread(path), frame)
            elif suffix == "edf":
                same_values(fabio.open(path).data, frame)
            else:
                with Image.open(path) as picture:
                    assert picture.size == frame.shape[::-1]
        assert not (folder / f"{len(frames):04}.{suffix}").exists()
        assert not (folder / f"0.{suffix}").exists()


def test_one_image_as_png(views: Path) -> None:
    array = np.load(views / "image_0.npy")
    low, high = np.percentile(array, (0.5, 99.5))
    with Image.open(views / "image_0.png") as picture:
        expected = np.rint(np.clip((array - low) * 255 / (high - low), 0, 255))
        assert np.array_equal(np.asarray(picture), expected)
        assert repr(float(low)) in picture.text["Comment"]
    with Image.open(views / "single.png") as picture:
        assert picture.size == (7, 6)
    assert not (views / "stack_1.png").exists()
    assert not (views / "image_0.pngs").exists()
    assert not (views / "single.tifs").exists()


def test_colour(views: Path) -> None:
    array = np.load(views / "colour.npy")
    assert np.array_equal(tifffile.imread(views / "colour.tif"), array)
    with Image.open(views / "colour.png") as picture:
        assert np.array_equal(np.asarray(picture), array)
    assert not (views / "colour.tifs").exists()


def test_numbers_as_csv(views: Path) -> None:
    for name in ("row_0", "row_1", "row_2", "row_3"):
        array = np.load(views / f"{name}.npy")
        frame = pandas.read_csv(views / f"{name}.csv", skipinitialspace=True)
        assert list(frame.columns) == [name]
        assert np.array_equal(frame[name].to_numpy().astype(array.dtype), array)
    for name in ("image_0", "image_1", "image_4"):
        array = np.load(views / f"{name}.npy")
        assert np.array_equal(np.genfromtxt(views / f"{name}.csv", delimiter=","), array)
    assert cells(views / "table.csv")[:3] == [
        ["x", "n"],
        ["0.0", "0"],
        ["0.3333333333333333", "1"],
    ]
    assert (views / "empty.csv").read_bytes() == b""
    assert not (views / "stack_1.csv").exists()


def test_texts(views: Path) -> None:
    assert (views / "title.txt").read_text() == "a title, µm\n"
    assert (views / "names.txt").read_text() == 'a\nb,c\n "d"\n\n'
    assert (views / "fixed.txt").read_text() == "ab\nc\n\nµ\n"
    assert (views / "number.txt").read_text() == "1.1\n"
    with open(views / "names.csv", newline="") as file:
        assert list(csv.reader(file)) == [["names"], ["a"], ["b,c"], [' "d"'], [""]]
    assert cells(views / "fixed.csv") == [["ab", "c"], ["", "µ"]]
    assert not (views / "image_0.txt").exists()
    for name in ("title.txt", "names.txt", "fixed.txt", "number.txt", "names.csv"):
        assert (views / name).stat().st_size == len((views / name).read_bytes())


def test_no_view_where_a_format_has_no_such_type(views: Path) -> None:
    for suffix in ("tif", "edf", "png", "txt"):
        assert not (views / f"complex.{suffix}").exists()
    assert cells(views / "complex.csv")[0][0].endswith("+1.0j")
    for name in ("dangling.tif", "nothing.tif", "stack_1.tif.tif", ".tif", "tif", "stack_1.h4"):
        assert not (views / name).exists()


def test_the_table_of_a_group(views: Path, mounted: Mounted) -> None:
    assert cells(views / "measurement.csv") == [
        ["th", "det", "soft"],
        ["0.0", "0", "0.0"],
        ["1.0", "1", "1.0"],
        ["2.0", "2", "2.0"],
    ]
    assert cells(views / "measurement/tie.csv") == [["a"], ["0"], ["1"]]
    assert cells(mounted / "spec.dat/1.1/measurement.csv") == [
        ["th", "det/a", "mon"],
        ["0.0", "10.0", "100000.0"],
        ["1.0", "11.5", "200000.0"],
        ["2.0", "12.0", "-3e-07"],
    ]
    assert cells(mounted / "all.h5.csv")[0] == ["row_0", "row_1", "row_2", "row_3"]
    assert not (mounted / "other.h5.csv").exists()
    assert os.readlink(views / "same.csv") == "measurement.csv"
    assert cells(views / "same.csv") == cells(views / "measurement.csv")


def test_headers_go_back(tmp_path: Path, mount: MountFactory) -> None:
    (tmp_path / "source").mkdir()
    told = [
        {
            "motor_mne": "srot sy",
            "motor_pos": f"{0.5 * k} -1",
            "counter_mne": "mon",
            "counter_pos": str(100 + k),
            "title": "x" * 400 * k + "a title",
            "Dim_1": "99",
        }
        for k in range(3)
    ]
    file = fabio.edfimage.EdfImage(image(0), told[0])
    for number in (1, 2):
        file.append_frame(data=image(number), header=told[number])
    file.write(str(tmp_path / "source/stack.edf"))
    fabio.edfimage.EdfImage(image(0), told[1]).write(str(tmp_path / "source/one.edf"))
    mounted = mount(tmp_path / "source")
    detector = mounted / "stack.edf/scan_0/instrument/detector_0"
    paths = [(detector / "data.edf", k, k) for k in range(3)]
    paths += [(detector / f"data.edfs/{k:04}.edf", 0, k) for k in range(3)]
    paths.append((mounted / "one.edf/scan_0/instrument/detector_0/data.edf", 0, 1))
    assert len(os.listdir(detector / "data.edfs")) == 3
    for path, frame, number in paths:
        assert path.stat().st_size == len(path.read_bytes())
        with fabio.open(path) as view:
            header = view.get_frame(frame).header
            for key in ("motor_mne", "motor_pos", "counter_mne", "counter_pos", "title"):
                assert header[key].split() == told[number][key].split()
            assert header["Dim_1"] == str(image(0).shape[1])
    with silx.io.open(str(detector / "data.edf")) as view:
        assert view["scan_0/instrument/positioners/srot"][()].tolist() == [0, 0.5, 1]
        assert view["scan_0/measurement/mon"][()].tolist() == [100, 101, 102]


def test_copies(views: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", views / "stack_1.tifs", tmp_path / "frames"], check=True)
    same_values(tifffile.imread(tmp_path / "frames/0004.tif"), ARRAYS["stack_1"][4])
