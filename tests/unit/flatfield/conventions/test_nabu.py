"""The same scans through tomoscan and nabu."""

import h5py
import numpy as np
import pytest

from esrffs.flatfield.plan import CorrectionOptions
from tests.support.correction_plans import all_corrected, file_plan, folder_plan, loading
from tests.support.nabu_scans import KEYS, SHAPE, nabus, nxtomo_scan

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["<u2", "<f4"])
def scan(request, tmp_path):
    """An NXtomo file: its path and its raw frames."""
    return nxtomo_scan(tmp_path, request.param)


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_nabu(scan, method):
    path, data = scan
    with h5py.File(path) as file:
        made = all_corrected(file_plan(file, "entry", CorrectionOptions(method)), loading(file))[
            "data"
        ]
    np.testing.assert_array_max_ulp(made, nabus(path, data, interpolation=method), 2)


def test_nabu_with_machine_current(scan):
    path, data = scan
    keys = np.array(KEYS)
    currents = np.linspace(0.2, 0.19, len(keys))
    flats = [np.median(currents[a:b]) for a, b in ((3, 7), (11, 14), (17, 19))]
    expected = nabus(path, data, radios_srcurrent=currents[keys == 0], flats_srcurrent=flats)
    with h5py.File(path) as file:
        plan = file_plan(file, "entry", CorrectionOptions(norm_current=True))
        made = all_corrected(plan, loading(file))["data"]
    np.testing.assert_array_max_ulp(made, expected, 3)


def test_tomoscan_reductions_of_an_id19_folder(tmp_path):
    """tomoscan would cut a dark to whole counts unless told to keep float32."""
    import fabio
    from tomoscan.esrf.scan.edfscan import EDFTomoScan

    folder = tmp_path / "bone"
    folder.mkdir()
    rng = np.random.default_rng(1)
    images = {"darkend0000.edf": rng.integers(1000, 3000, SHAPE).astype(np.uint32)}
    for at in (0, 4):
        for k in range(3):
            images[f"ref{k:04d}_{at:04d}.edf"] = rng.integers(2e4, 6e4, SHAPE).astype(np.uint16)
    for k in range(5):
        images[f"bone_{k:04d}.edf"] = rng.integers(2e4, 6e4, SHAPE).astype(np.uint16)
    for name, image in images.items():
        fabio.edfimage.EdfImage(data=image).write(str(folder / name))
    info = "TOMO_N= 5\nREF_N= 3\nREF_ON= 4\nDARK_N= 20\nDim_1= 30\nDim_2= 20\n"
    (folder / "bone_.info").write_text(info)
    (folder / "bone.info").write_text(info)
    made = all_corrected(folder_plan(images, {"bone.info": info}), images.__getitem__)
    tomo = EDFTomoScan(str(folder))
    darks = tomo.compute_reduced_darks(reduced_method="mean", output_dtype=np.float32)
    flats = tomo.compute_reduced_flats(reduced_method="median", output_dtype=np.float32)
    (dark,) = darks.values()
    assert sorted(flats) == [0, 4]
    for k in range(5):
        w = k / 4
        flat = (flats[0] * (1 - w) + flats[4] * w).astype(np.float32)
        raw = images[f"bone_{k:04d}.edf"].astype(np.float32)
        expected = (raw - dark.astype(np.float32)) / (flat - dark.astype(np.float32))
        np.testing.assert_array_max_ulp(made[f"bone_{k:04d}"], expected, 2)
