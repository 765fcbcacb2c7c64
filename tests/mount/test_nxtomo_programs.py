"""`corrected.h5` and `absorption.h5` in the programs that read NXtomo: tomoscan and nabu."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.mounts import Mounted, MountFactory

pytestmark = pytest.mark.filterwarnings("ignore")

WIDTH, HEIGHT, ANGLES = 64, 6, 70
KEYS = np.array([2] * 4 + [1] * 5 + [0] * ANGLES + [1] * 5 + [-1])


def sinogram() -> np.ndarray:
    """Of a disk with two smaller ones in it, parallel beam, half a turn."""
    angles = np.linspace(0, np.pi, ANGLES, endpoint=False)
    x = np.arange(WIDTH) - (WIDTH - 1) / 2
    made = np.zeros((ANGLES, WIDTH))
    for cx, cy, radius, density in ((0, 0, 24, 0.01), (8, 3, 6, 0.03), (-10, -6, 4, 0.05)):
        centre = cx * np.cos(angles) + cy * np.sin(angles)
        made += 2 * density * np.sqrt(np.clip(radius**2 - (x - centre[:, None]) ** 2, 0, None))
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An NXtomo file as nxtomo writes it."""
    nxtomo = pytest.importorskip("nxtomo.application.nxtomo", reason="nxtomo is not installed")
    units = pytest.importorskip("pint").get_application_registry()
    rng = np.random.default_rng(7)
    beam = (30000 + 5000 * np.sin(np.arange(WIDTH) / 5)) * np.ones((HEIGHT, 1))
    through = np.exp(-sinogram())[:, None, :] * beam * np.linspace(1, 0.9, ANGLES)[:, None, None]
    counted = [rng.poisson(one) + 100 for one in (
        np.broadcast_to(beam, (5, HEIGHT, WIDTH)), through,
        np.broadcast_to(0.9 * beam, (5, HEIGHT, WIDTH)), beam[None])]  # fmt: skip
    dark = 100 + rng.integers(0, 9, (4, HEIGHT, WIDTH))
    scan = nxtomo.NXtomo()
    detector = scan.instrument.detector
    detector.data = np.concatenate([dark, *counted]).astype("u2")
    detector.image_key_control = KEYS
    detector.x_pixel_size = detector.y_pixel_size = 3.1e-6 * units.meter
    detector.distance = 0.17 * units.meter
    scan.instrument.beam.incident_energy = 23 * units.keV
    angles = np.zeros(len(KEYS))
    angles[KEYS == 0] = np.linspace(0, 180, ANGLES, endpoint=False)
    scan.sample.rotation_angle = angles * units.degree
    scan.sample.name = "a root"
    folder = tmp_path / "source"
    folder.mkdir()
    scan.save(str(folder / "root.nx"), "entry0000")
    return folder


def test_tomoscan_reads_it(mount: MountFactory, source: Path) -> None:
    tomoscan = pytest.importorskip("tomoscan.esrf.scan.nxtomoscan", reason="no tomoscan")
    entry = mount(source) / "root.nx/entry0000"
    scan = tomoscan.NXtomoScan(str(entry / "corrected.h5"), "entry0000")
    raw = tomoscan.NXtomoScan(str(source / "root.nx"), "entry0000")
    assert len(scan.projections) == ANGLES
    assert not scan.flats
    assert not scan.darks
    assert np.array_equal(scan.rotation_angle, np.array(raw.rotation_angle)[KEYS == 0])
    assert scan.x_pixel_size == raw.x_pixel_size
    assert scan.energy == raw.energy
    assert scan.sample_name == "a root"
    shown = np.load(entry / "corrected/data.npy")
    with h5py.File(entry / "corrected.h5", locking=False) as file:
        group = file["entry0000"]
        assert np.array_equal(group["instrument/detector/data"][:], shown)
        assert not group["instrument/detector/image_key"][:].any()
        assert group["process/formula"][()].decode() == "(raw - dark) / (flat - dark)"
        assert group["process/flat_abscissae"][:].tolist() == [4, 9 + ANGLES]
        told = json.loads(group["process/provenance"][()])
        assert told == json.loads((entry / "corrected/attrs.json").read_text())


def reconstructed(folder: Path, name: str, location: Path, **preproc: int) -> np.ndarray:
    """The slice that the program nabu makes of this file with its CPU back end."""
    output = folder / name
    output.mkdir()
    settings = {
        "dataset": {"location": location},
        "preproc": {"normalize_srcurrent": 0, **preproc},
        "reconstruction": {"method": "FBP", "rotation_axis_position": (WIDTH - 1) / 2,
                           "start_z": 2, "end_z": 2},
        "output": {"location": output, "file_prefix": name, "file_format": "hdf5"},
        "resources": {"method": "local"},
    }  # fmt: skip
    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for section, values in settings.items()
    )
    (folder / f"{name}.conf").write_text(text)
    program = Path(sys.executable).with_name("nabu")
    done = subprocess.run(
        [program, f"{name}.conf"], cwd=folder, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(output / f"{name}.hdf5") as file:
        volume: np.ndarray = file["entry0000/reconstruction/results/data"][:]
    return volume


def can_reconstruct() -> str | None:
    """Why nabu cannot reconstruct without a graphics card here, if it cannot."""
    made = (
        "import numpy; from nabu.reconstruction.fbp_opencl import OpenCLBackprojector as B; "
        "B((9, 16)).fbp(numpy.ones((9, 16), 'f4'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", made], capture_output=True, text=True, check=False, timeout=120
    )
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


def test_nabu_reconstructs_the_same_slice(
    mount: MountFactory, source: Path, tmp_path: Path
) -> None:
    """From the raw file with its own flat-field, and from both views with `flatfield = 0`."""
    pytest.importorskip("nabu", reason="nabu is not installed")
    why = can_reconstruct()
    if why is not None:
        pytest.skip(f"nabu has no back end for the CPU here (pyopencl and pyvkfft): {why}")
    mounted: Mounted = mount(source)
    entry, raw = mounted / "root.nx/entry0000", tmp_path / "raw"
    raw.mkdir()
    (raw / "root.nx").write_bytes((source / "root.nx").read_bytes())  # nabu writes beside it
    own = reconstructed(tmp_path, "own", raw / "root.nx", flatfield=1, take_logarithm=1)
    assert own[0, WIDTH // 2, WIDTH // 2] > own[0, 2, WIDTH // 2]
    tolerance = 1e-5 * np.abs(own).max()
    for name, logarithm in (("corrected", 1), ("absorption", 0)):
        made = reconstructed(tmp_path, name, entry / f"{name}.h5", flatfield=0,
                             take_logarithm=logarithm)  # fmt: skip
        assert made.shape == own.shape
        np.testing.assert_allclose(made, own, rtol=0, atol=tolerance)
