"""Make a small experiment in a folder: a Spec file, an EDF series, a NeXus tomography scan.

    python demo/make_experiment.py FOLDER

The same bytes of data every time.  The sample is a phantom of a few ellipsoids, seen by a
parallel beam: a projection of an ellipsoid is known in closed form.
"""

import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
from fabio.edfimage import EdfImage

Image = npt.NDArray[np.float64]

ROWS, COLUMNS = 96, 128  # pixels of the detector
PROJECTIONS = 60
ENERGY = 29.6  # keV
TIME = "2026-05-11T09:41:07+02:00"

# density, half axes a b c, centre x y z (the detector is 2 wide), turned by (degrees)
ELLIPSOIDS = (
    (0.70, (0.80, 0.62, 0.66), (0.00, 0.00, 0.00), 10),
    (-0.45, (0.72, 0.54, 0.60), (0.00, 0.00, 0.00), 10),
    (0.90, (0.14, 0.34, 0.24), (0.28, 0.02, 0.10), -18),
    (0.90, (0.12, 0.30, 0.30), (-0.30, 0.05, 0.00), 20),
    (1.60, (0.10, 0.10, 0.10), (0.00, 0.34, -0.28), 0),
    (3.00, (0.05, 0.05, 0.05), (-0.10, -0.36, 0.33), 0),
    (3.00, (0.04, 0.04, 0.04), (0.12, -0.30, 0.38), 0),
)


def thickness(angle: float) -> Image:
    """Density × path length through the phantom for each pixel; angle in degrees."""
    z, u = np.mgrid[-0.75 : 0.75 : ROWS * 1j, -1.0 : 1.0 : COLUMNS * 1j]
    total = np.zeros((ROWS, COLUMNS))
    for density, (a, b, c), (x, y, height), turned in ELLIPSOIDS:
        theta = np.radians(angle)
        phi = theta - np.radians(turned)
        width = (a * np.cos(phi)) ** 2 + (b * np.sin(phi)) ** 2
        offset = u - (x * np.cos(theta) + y * np.sin(theta))
        inside = width * np.clip(1 - ((z - height) / c) ** 2, 0, None) - offset**2
        total += density * 2 * a * b / width * np.sqrt(np.clip(inside, 0, None))
    return total


class Beamline:
    """A beam that is brighter in the middle, a scintillator with dust, a camera with an offset."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
        self._beam = 9000 * np.exp(-(x**2) / 1.6 - y**2 / 0.9)
        self._beam *= 1 + 0.08 * np.sin(y * 40 + np.sin(3 * x))
        for _ in range(12):
            row, column = self._random.uniform(-0.9, 0.9, 2)
            self._beam *= 1 - 0.5 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 0.0009)
        self._offset = 100 + self._random.normal(0, 2, (ROWS, COLUMNS))

    def frame(self, sample: Image | None = None, current: float = 1.0) -> npt.NDArray[np.uint16]:
        """A picture of the beam, or of the beam behind a sample."""
        light = self._beam * current
        if sample is not None:
            light = light * np.exp(-sample)
        return self._shown(self._random.poisson(light))

    def dark(self) -> npt.NDArray[np.uint16]:
        return self._shown(np.zeros((ROWS, COLUMNS)))

    def _shown(self, light: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
        noise = self._random.normal(0, 1.5, (ROWS, COLUMNS))
        return (light + self._offset + noise).clip(0, 65535).astype(np.uint16)


def write_spec(path: Path, random: np.random.Generator) -> None:
    """An alignment: a scan of the slit, a rocking curve, a time scan that was aborted."""
    lines = [
        f"#F {path.name}",
        "#E 1778485267",
        "#D Mon May 11 09:41:07 2026",
        "#C demo  User = opid19",
        "#O0 srot  sy  sz  energy",
    ]
    scans = (
        ("ascan  sy -1 1 20 0.1", "sy", np.linspace(-1, 1, 21), 0.0, 0.35),
        ("ascan  srot 9 11 40 0.1", "srot", np.linspace(9, 11, 41), 10.12, 0.21),
        ("timescan 0.1", "Time", np.arange(0, 1.1, 0.1), 2.0, 4.0),
    )
    for number, (command, motor, positions, centre, width) in enumerate(scans, 1):
        lines += [
            "",
            f"#S {number} {command}",
            f"#D Mon May 11 09:{41 + number}:00 2026",
            "#T 0.1  (Seconds)",
            f"#P0 10.12 0.02 -3.4 {ENERGY}",
            "#N 4",
            f"#L {motor}  Epoch  mon  diode",
        ]
        for i, position in enumerate(positions):
            monitor = int(random.poisson(120000))
            diode = 40 + 9000 * np.exp(-(((position - centre) / width) ** 2))
            counts = int(random.poisson(diode))
            lines.append(
                f"{position:.4f} {1778485267 + 60 * number + 0.4 * i:.6f} {monitor} {counts}"
            )
        if motor == "Time":
            lines.append("#C Mon May 11 09:44:02 2026.  Scan aborted after 11 points.")
    path.write_text("\n".join(lines) + "\n")


def write_series(folder: Path, beamline: Beamline) -> None:
    """Six radiographs, 30° apart, one EDF file each; motors and counters in their headers."""
    folder.mkdir()
    for number in range(6):
        angle = 30.0 * number
        header = {
            "title": "radiograph",
            "time_of_day": f"{1778485267 + 2 * number:.3f}",
            "motor_mne": "srot sy sz",
            "motor_pos": f"{angle:.3f} 0.020 -3.400",
            "counter_mne": "mon diode",
            "counter_pos": f"{120000 - 37 * number} {8800 + 11 * number}",
        }
        frame = beamline.frame(thickness(angle))
        EdfImage(data=frame, header=header).write(folder / f"sample_{number:04d}.edf")


def write_scan(path: Path, beamline: Beamline) -> None:
    """A tomography scan: projections, flat fields before and after, a dark, links, attributes."""
    angles = np.arange(PROJECTIONS) * 180.0 / PROJECTIONS
    current = np.linspace(1.0, 0.94, PROJECTIONS)  # the beam fades
    frames = [
        beamline.frame(thickness(angle), light)
        for angle, light in zip(angles, current, strict=True)
    ]
    packed = {"chunks": (1, ROWS, COLUMNS), **hdf5plugin.Bitshuffle()}
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs.update(NX_class="NXroot", default="entry", creator="esrffs demo")
        entry = file.create_group("entry", track_order=True)
        entry.attrs.update(NX_class="NXentry", default="data")
        entry["title"] = "phantom, 60 projections over 180 degrees"
        entry["start_time"] = TIME
        sample = entry.create_group("sample")
        sample.attrs["NX_class"] = "NXsample"
        sample["name"] = "seven ellipsoids"
        angle = sample.create_dataset("rotation_angle", data=angles)
        angle.attrs.update(units="deg", axis=np.array([0.0, 0.0, 1.0]))
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["count_time"] = 0.1
        detector["x_pixel_size"] = 3.1e-6
        detector["x_pixel_size"].attrs["units"] = "m"
        stack = detector.create_dataset("data", data=np.array(frames), **packed)
        stack.attrs.update(units="counts", interpretation="image", energy_keV=ENERGY)
        entry["instrument/beam_current"] = 200.0 * current
        data = entry.create_group("data", track_order=True)
        data.attrs.update(NX_class="NXdata", signal="data", axes=["rotation_angle", ".", "."])
        data["data"] = h5py.SoftLink("/entry/instrument/detector/data")
        data["rotation_angle"] = h5py.SoftLink("/entry/sample/rotation_angle")
        for name, light in (("0000", 1.0), (f"{PROJECTIONS:04d}", 0.94)):
            flat = entry.create_dataset(
                f"flatfield/{name}", data=beamline.frame(current=light), compression="gzip"
            )
            flat.attrs["machine_current_mA"] = 200.0 * light
        entry.create_dataset("dark/0000", data=beamline.dark(), compression="gzip", shuffle=True)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    beamline = Beamline(seed=19)
    write_spec(folder / "alignment.dat", np.random.default_rng(11))
    write_series(folder / "radiographs", beamline)
    write_scan(folder / "tomo.h5", beamline)
    (folder / "notes.txt").write_text("Beam came back at 09:30.  Sample glued on its side.\n")


if __name__ == "__main__":
    main()
