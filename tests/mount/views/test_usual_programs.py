"""Views as the usual programs read them: each test needs one program, and is skipped without it.

What is compared is computed from the `.npy` beside the view.
"""

import csv
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import pandas
import pytest
import tifffile

from tests.support.mounts import Mounted, mount_factory

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"  # namespace of an .xlsx
IMAGEJ = Path("/usr/share/java/ij.jar")
STACKS = ("|u1", "<u2", ">u2", "<i2", "<u4", ">i4", "<f4", ">f4", "<f8", "|b1", "<f2")
IMAGEJ_STACKS = ("|u1", "<u2", ">u2", "<u4", ">i4", "<f4", ">f4", "|b1", "<f2")  # of its own types
COLUMNS = {
    "f8": np.array([0.1, np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308]),
    "f4": np.array([0.1, np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38], ">f4"),
    "f2": np.array([0.1, np.nan, np.inf, -np.inf, -0.0, 6e-8, 65504], "<f2"),
    "i8": np.array([2**63 - 1, -(2**63), 0, 1, 2, 3, 4], ">i8"),
    "u8": np.array([2**64 - 1, 0, 0, 1, 2, 3, 4], "<u8"),
    "flag": np.array([1, 0, 1, 0, 1, 0, 1], "?"),
}
TEXTS = ["plain", "a,b", " lead", 'q"q', "line\nend", "", "µ"]


def needs(*programs: str) -> pytest.MarkDecorator:
    lacking = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(lacking), reason=f"there is no {', no '.join(lacking)}")


def run(*words: object, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usual") / "source"
    folder.mkdir()
    random = np.random.default_rng(3)
    with h5py.File(folder / "all.h5", "w", track_order=True) as file:
        for dtype in STACKS:
            values = np.abs(random.normal(100, 50, (5, 30, 40)))
            file[f"stack{dtype[1:]}{dtype[0]}"] = (
                values > 90 if dtype == "|b1" else values.astype(dtype)
            )
        file["deep"] = random.integers(0, 60_000, (2, 3, 30, 40), "u2")
        file["image"] = random.normal(0, 1, (30, 40))
        numbers = file.create_group("numbers", track_order=True)
        for name, values in COLUMNS.items():
            numbers[name] = values
        texts = file.create_group("texts", track_order=True)
        texts["text"] = np.array(TEXTS, object)
        texts["n"] = np.arange(len(TEXTS))
        names = file.create_group("names", track_order=True)
        for name in ("a b", "µ (mm)", "minus-sign", "it's", "1st"):
            names[name] = np.arange(4) / 3
    (folder / "scan.dat").write_text(
        "#F scan.dat\n#E 1\n#D Sat Jan 01 00:00:00 2022\n\n#S 1 ascan th 0 2 2 1\n"
        "#N 2\n#L th  det/a\n0 10\n1 11.5\n2 12\n"
    )
    return folder


@pytest.fixture(scope="module")
def mounted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    for mount in mount_factory(tmp_path_factory.mktemp("usual_mount")):
        yield mount(source)


@pytest.fixture
def shown(mounted: Mounted) -> Path:
    return mounted / "all.h5"


def stack(shown: Path, dtype: str) -> Path:
    return shown / f"stack{dtype[1:]}{dtype[0]}.npy"


@needs("tiffinfo", "tiffcp")
@pytest.mark.parametrize("dtype", STACKS)
def test_libtiff(shown: Path, tmp_path: Path, dtype: str) -> None:
    path = stack(shown, dtype)
    told = run("tiffinfo", path.with_suffix(".tif"))
    assert len(re.findall("Image Width: 40 Image Length: 30", told)) == 5
    run("tiffcp", "-c", "lzw", path.with_suffix(".tif"), tmp_path / "copy.tif")
    array = np.load(path)
    expected = array.astype({"?": "u1", "e": "f4"}.get(array.dtype.char, array.dtype))
    assert np.array_equal(tifffile.imread(tmp_path / "copy.tif"), expected)


IMAGEJ_MACRO = """
names = split(getArgument(), ",");
for (i = 0; i < names.length; i++) {
  if (i == 0) run("TIFF Virtual Stack...", "open=" + names[i]); else open(names[i]);
  setSlice(nSlices);
  getStatistics(area, mean);
  getDimensions(width, height, channels, slices, frames);
  print(width, height, slices, frames, d2s(mean, 9), d2s(getPixel(3, 2), 9));
  close();
}
"""


@needs("xvfb-run", "java")
@pytest.mark.skipif(not IMAGEJ.exists(), reason="there is no ImageJ")
def test_imagej(shown: Path, tmp_path: Path) -> None:
    (tmp_path / "macro.ijm").write_text(IMAGEJ_MACRO)
    paths = [stack(shown, dtype) for dtype in IMAGEJ_STACKS] + [shown / "deep.npy"]
    views = ",".join(str(path.with_suffix(".tif")) for path in paths)
    java = ("java", "-jar", IMAGEJ, "-batch", tmp_path / "macro.ijm", views)
    lines = run("xvfb-run", "-a", *java, HOME=str(tmp_path)).splitlines()[-len(paths) :]
    for path, line in zip(paths, lines, strict=True):
        array = np.load(path)
        words = line.split()
        frames = [5, 1] if array.ndim == 3 else [3, 2]  # slices, frames
        assert [int(word) for word in words[:4]] == [40, 30, *frames], path
        last = array.reshape(-1, 30, 40)[-1].astype(float)
        assert float(words[4]) == pytest.approx(last.mean(), abs=1e-6), path
        assert float(words[5]) == pytest.approx(last[2, 3], abs=1e-6), path


def test_pandas(shown: Path, mounted: Mounted) -> None:
    frame = pandas.read_csv(shown / "numbers.csv", skipinitialspace=True)
    for name, expected in COLUMNS.items():
        assert np.array_equal(
            frame[name].to_numpy().astype(expected.dtype),
            expected,
            equal_nan=expected.dtype.kind == "f",
        ), name
    texts = pandas.read_csv(shown / "texts.csv", skipinitialspace=True, keep_default_na=False)
    assert texts["text"].tolist() == TEXTS
    assert texts["n"].tolist() == list(range(len(TEXTS)))
    scan = pandas.read_csv(mounted / "scan.dat/1.1/measurement.csv", skipinitialspace=True)
    assert scan.to_dict("list") == {"th": [0, 1, 2], "det/a": [10, 11.5, 12]}


def test_numpy(shown: Path) -> None:
    table = np.genfromtxt(shown / "numbers.csv", delimiter=",", names=True)
    for name, expected in COLUMNS.items():
        assert np.array_equal(
            table[name].astype("f4" if expected.dtype == ">f4" else expected.dtype)
            if expected.dtype.kind in "f?"
            else table[name],
            expected if expected.dtype.kind in "f?" else expected.astype(float),
            equal_nan=True,
        ), name
    assert np.array_equal(
        np.genfromtxt(shown / "image.csv", delimiter=","), np.load(shown / "image.npy")
    )


@needs("gnuplot")
def test_gnuplot(shown: Path, mounted: Mounted) -> None:
    commands = f"""set datafile separator comma
        set print "-"
        stats "{shown / "numbers.csv"}" using "i8":"flag" nooutput
        print STATS_records, STATS_sum_y
        stats "{mounted / "scan.dat/1.1/measurement.csv"}" using "th":"det/a" nooutput
        print STATS_records, STATS_sum_y
        stats "{shown / "names.csv"}" using "a b":"µ (mm)" nooutput
        print STATS_records, STATS_sum_y
        stats "{shown / "texts.csv"}" using "n" nooutput
        print STATS_records"""
    rows = [line.split() for line in run("gnuplot", "-e", commands.replace("\n", ";")).splitlines()]
    assert [[float(word) for word in row] for row in rows[:3]] == [[7, 4], [3, 33.5], [4, 2]]


@needs("octave")
def test_octave(shown: Path) -> None:
    program = f"""a = imread('{shown / "stacku2<.tif"}', 5);
        printf('%s %d\\n', class(a), a(3, 4));
        m = csvread('{shown / "image.csv"}');
        printf('%d %d %.17g\\n', size(m), m(2, 3));
        d = dlmread('{shown / "numbers.csv"}', ',', 1, 0);
        printf('%g ', d(:, 1), d(:, 6));
        h = load('-hdf5', '{shown / "names.h5"}');"""
    first, second, third = run("octave", "--no-gui", "--quiet", "--eval", program).split("\n")[:3]
    assert first == f"uint16 {np.load(stack(shown, '<u2'))[4, 2, 3]}"
    image = np.load(shown / "image.npy")
    assert [float(word) for word in second.split()] == [30, 40, image[1, 2]]
    numbers = [float(word) for word in third.split()]
    expected = [*COLUMNS["f8"], *COLUMNS["flag"]]
    assert np.allclose(numbers, expected, rtol=1e-5, equal_nan=True)


@needs("h5dump", "h5diff")
def test_hdf5_tools(source: Path, shown: Path, mounted: Mounted) -> None:
    run("h5diff", source / "all.h5", mounted / "all.h5.h5")
    told = run("h5dump", "-d", "/1.1/measurement/det%a", mounted / "scan.dat.h5")
    assert "(0): 10, 11.5, 12" in told
    for name in COLUMNS:
        run("h5diff", shown / "numbers.h5", source / "all.h5", f"/{name}", f"/numbers/{name}")


@needs("soffice")
def test_libreoffice(shown: Path, tmp_path: Path) -> None:
    """Its filter says: comma, quote, UTF-8, first line, detect special numbers."""
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    names = ("numbers", "texts", "names")
    for name in names:
        shutil.copyfile(shown / f"{name}.csv", tmp_path / f"{name}.csv")
    run(
        *("soffice", profile, "--headless", "--infilter=CSV:44,34,76,1,,0,false,true"),
        *("--convert-to", "xlsx", "--outdir", tmp_path, *(tmp_path / f"{n}.csv" for n in names)),
        HOME=str(tmp_path),
    )
    numbers = cells(tmp_path / "numbers.xlsx")
    assert numbers["A1"] == "f8"
    assert [float(numbers[f"F{row}"]) for row in range(2, 9)] == [1, 0, 1, 0, 1, 0, 1]
    assert float(numbers["A2"]) == 0.1
    assert float(numbers["B8"]) == pytest.approx(3.4028235e38)
    texts = cells(tmp_path / "texts.xlsx")
    found = [texts.get(f"A{row}", "") for row in range(2, 9)]
    assert found == TEXTS
    headers = cells(tmp_path / "names.xlsx")
    with open(shown / "names.csv", newline="", encoding="utf-8") as file:
        assert [headers[f"{letter}1"] for letter in "ABCDE"] == next(csv.reader(file))


def cells(path: Path) -> dict[str, str]:
    """The cells of the first sheet of an .xlsx, as text, by their name (`A1`)."""
    with zipfile.ZipFile(path) as archive:
        shared = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    texts = ["".join(item.itertext()) for item in shared]
    found = {}
    for cell in sheet.iter(f"{SHEET}c"):
        value = cell.findtext(f"{SHEET}v")
        if value is not None:
            found[cell.attrib["r"]] = texts[int(value)] if cell.get("t") == "s" else value
    return found
