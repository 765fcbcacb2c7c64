"""EDF views tell what the source tells: as FabIO and silx read both."""

from pathlib import Path

import fabio
import numpy as np
import pytest
import silx.io

from tests.support.mounts import MountFactory

STRUCTURE = {"HeaderID", "Image", "ByteOrder", "DataType", "Dim_1", "Dim_2", "Size"}
SPEC = """#F some.dat
#E 1
#D Sat Jan 01 00:00:00 2022
#O0 th  tth

#S 1 ascan th 0 2 2 1; {µ}
#D Sat Jan 01 00:00:01 2022
#P0 9 1.50
#@MCA %16C
#@CHANN 4 0 3 1
#N 3
#L th  det/a  mon
0 10 1e5
@A 1 2 3 4
1 11.5 2e5
@A 1 2 3 5
2 12 -3e-7
@A 1 2 3 6
"""


def told(number: int) -> dict[str, str]:
    """Texts that a conversion to numbers and back would change."""
    return {
        "motor_mne": "srot sy",
        "motor_pos": f"{number}.50 -1.000",
        "counter_mne": "mon",
        "counter_pos": f"1{number}0E+03",
        "time": f"00:0{number}:00.100",
        "run": f"00{number}",
        "exposure": "0.10",
        "title": "x " * 300 * number + "a title",
        "list": "1 2 3.0",
    }


def frame(number: int) -> np.ndarray:
    return np.arange(12, dtype="<u2").reshape(3, 4) + number


def keys(path: Path, number: int = 0) -> dict[str, str]:
    with fabio.open(path) as file:
        return {k: v for k, v in file.get_frame(number).header.items() if k not in STRUCTURE}


@pytest.fixture
def shown(tmp_path: Path, mount: MountFactory) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    file = fabio.edfimage.EdfImage(frame(0), told(0))
    for number in (1, 2):
        file.append_frame(data=frame(number), header=told(number))
        fabio.edfimage.EdfImage(frame(number), told(number)).write(
            str(folder / f"s_{number:04}.edf")
        )
    file.write(str(folder / "stack.edf"))
    (folder / "spec.dat").write_text(SPEC)
    return mount(folder).path


def test_each_frame_of_an_edf_has_its_keys_letter_by_letter(shown: Path) -> None:
    source = shown.parent / "source"
    detector = shown / "stack.edf/scan_0/instrument/detector_0"
    for number in range(3):
        expected = {k: v for k, v in keys(source / "stack.edf", number).items() if k[:4] != "EDF_"}
        assert expected["motor_pos"] == f"{number}.50 -1.000"
        assert keys(detector / "data.edf", number) == expected
        assert keys(detector / f"data.edfs/{number:04}.edf") == expected


def test_each_frame_of_a_series_has_those_of_its_file(shown: Path) -> None:
    source = shown.parent / "source"
    detector = shown / "s_####.edf/scan_0/instrument/detector_0"
    for number in range(2):
        expected = keys(source / f"s_{number + 1:04}.edf")
        expected = {k: v for k, v in expected.items() if k[:4] != "EDF_"}
        assert keys(detector / "data.edf", number) == expected
        assert keys(detector / f"data.edfs/{number:04}.edf") == expected


def test_the_scan_of_a_spec_file(shown: Path) -> None:
    scan = shown / "spec.dat/1.1"
    spectra = scan / "instrument/mca_0/data.edf"
    for path in (spectra, scan / "measurement/mon.edf"):
        assert path.stat().st_size == len(path.read_bytes())
        header = keys(path)
        assert header["motor_mne"] == "th tth"
        assert header["motor_pos"] == "2 1.5"
        assert header["counter_mne"] == "th det/a mon"
        assert header["counter_pos"] == "2 12 -3e-07"
        assert header["mon"] == "100000 200000 -3e-07"
        assert header["title"] == r"ascan th 0 2 2 1   \xb5"
    with fabio.open(spectra) as file:
        assert np.array_equal(file.data, np.load(scan / "instrument/mca_0/data.npy"))
    with silx.io.open(str(spectra)) as file:
        assert file["scan_0/instrument/positioners/tth"][()] == [1.5]
        assert file["scan_0/measurement/mon"][()] == [-3e-7]


def test_other_arrays_have_none(shown: Path) -> None:
    motor = shown / "stack.edf/scan_0/instrument/positioners/srot.edf"
    assert keys(motor) == {}
    with fabio.open(motor) as file:
        assert file.data.tolist() == [[0.5, 1.5, 2.5]]
