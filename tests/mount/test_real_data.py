"""The files of the training, mounted: every dataset and attribute against the libraries."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import silx.io  # has no types: what it gives is Any

from tests.support.mounts import Mounted, MountFactory
from tests.support.npy import npy_bytes
from tests.support.real_data import DATA

FILES = sorted(DATA.rglob("*.*")) if DATA.is_dir() else []
DATA_FILES = [path.relative_to(DATA) for path in FILES if path.suffix in {".dat", ".edf", ".h5"}]


def plain(item: Any) -> np.ndarray:
    """What a dataset of the oracle holds, as numpy can save it."""
    array = np.asarray(item[()])
    if not item.dtype.hasobject:
        return array
    texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]
    return np.array(texts, dtype=str).reshape(array.shape)


def members(group: Any, path: str = "") -> Iterator[tuple[str, Any, bool]]:
    """All below a group: path, object, and whether it is a link."""
    for name in group:
        link = group.get(name, getlink=True)
        soft = type(link).__name__ == "SoftLink"
        yield f"{path}{name}", group[name], soft
        if not soft and silx.io.is_group(group[name]):
            yield from members(group[name], f"{path}{name}/")


@pytest.mark.parametrize("name", DATA_FILES, ids=str)
@pytest.mark.filterwarnings("ignore:metadata on a dtype")  # h5py notes the encoding of strings
def test_every_dataset_byte_for_byte(data: Mounted, name: Path) -> None:
    spec = name.suffix == ".dat"
    count = 0
    with silx.io.open(str(DATA / name)) as file:
        for path, item, link in members(file):
            shown = data.path / name / path
            if not silx.io.is_dataset(item):
                assert shown.is_dir(), path
                assert shown.is_symlink() == link
                continue
            shown = shown.with_name(shown.name.replace("/", "%") + ".npy")
            count += 1
            assert shown.is_symlink() == link, path
            content = shown.read_bytes()
            assert len(content) == shown.stat().st_size
            ours = np.load(io.BytesIO(content))
            if spec and ours.dtype.kind == "f":
                assert ours.dtype == np.float64
                np.testing.assert_array_equal(np.float32(ours), np.float32(item[()]))
            else:
                assert content == npy_bytes(plain(item)), path
            assert content == npy_bytes(ours)
    assert count


@pytest.mark.parametrize("name", DATA_FILES, ids=str)
def test_every_attribute(data: Mounted, name: Path) -> None:
    def as_json(value: object) -> object:
        value = np.asarray(value).tolist() if not isinstance(value, str) else value
        if isinstance(value, bytes):
            return value.decode()
        return [as_json(item) for item in value] if isinstance(value, list) else value

    def check(attributes: Any, shown: Path) -> None:
        expected = {key: as_json(value) for key, value in attributes.items()}
        if not expected:
            assert not shown.exists()
            return
        found = json.loads(shown.read_text())
        for key in ("file_time", "file_name"):  # the time of opening, the name as it was given
            expected.pop(key, None)
            found.pop(key, None)
        assert found == expected, shown

    with silx.io.open(str(DATA / name)) as file:
        check(file.attrs, data.path / name / "attrs.json")
        for path, item, link in members(file):
            shown = data.path / name / path
            if link:
                continue
            if silx.io.is_dataset(item):
                check(item.attrs, shown.with_name(shown.name + ".attrs.json"))
            else:
                check(item.attrs, shown / "attrs.json")


def test_what_the_training_reads(data: Mounted) -> None:
    edf = data.path / "ID16B_diatomee.edf/scan_0"
    assert np.load(edf / "instrument/detector_0/data.npy").shape == (6, 540, 640)
    assert np.load(edf / "instrument/positioners/srot.npy").shape == (6,)
    assert np.load(edf / "measurement/mon.npy").shape == (6,)
    assert np.load(edf / "instrument/detector_0/others/time_of_day.npy").shape == (6,)
    scan = data.path / "oleg.dat/94.1/measurement"
    assert np.load(scan / "Epoch.npy").shape == np.load(scan / "bpmi.npy").shape
    assert np.load(data.path / "test.h5/diff_map_0004/data/map.npy").shape == (29, 78, 100)
    series = data.path / "ID19_D2H2T2_####.edf/scan_0/instrument/detector_0/data.npy"
    assert np.load(series).shape == (6, 270, 320)


def test_a_series_is_its_members_stacked(data: Mounted) -> None:
    frames = [
        np.load(data.path / f"ID19_D2H2T2_{i:04}.edf/scan_0/instrument/detector_0/data.npy")
        for i in range(6)
    ]
    series = data.path / "ID19_D2H2T2_####.edf/scan_0/instrument/detector_0/data.npy"
    assert series.read_bytes() == npy_bytes(np.stack(frames))


def test_files_that_are_no_data_pass_through(data: Mounted) -> None:
    assert (data.path / "README.md").read_bytes() == (DATA / "README.md").read_bytes()


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not here")
def test_a_data_file_as_the_source(mount: MountFactory) -> None:
    mounted = mount(DATA / "test.h5")
    with h5py.File(DATA / "test.h5") as file:
        assert set(file) <= {path.name for path in mounted.path.iterdir()}
        expected = npy_bytes(file["diff_map_0004/data/map"][()])
    assert (mounted.path / "diff_map_0004/data/map.npy").read_bytes() == expected
