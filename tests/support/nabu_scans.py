"""NXtomo scans as nxtomo writes them, and what tomoscan and nabu make of them."""

import numpy as np

KEYS = [2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, -1, -1]


SHAPE = (20, 30)


def nxtomo_scan(folder, dtype):
    """Write an NXtomo file into `folder/source`: its path and its raw frames."""
    from nxtomo.application.nxtomo import NXtomo
    from nxtomo.nxobject.nxdetector import ImageKey

    rng = np.random.default_rng(5)
    keys = np.array(KEYS)
    data = rng.integers(20000, 60000, (len(keys), *SHAPE)).astype(dtype)
    data[keys == 2] = rng.integers(50, 150, (3, *SHAPE))
    nx = NXtomo()
    detector = nx.instrument.detector
    detector.data = data
    detector.image_key_control = [ImageKey(int(key)) for key in keys]
    nx.sample.rotation_angle = _degrees(np.linspace(0, 180, len(keys)))
    nx.control.data = _ampere(np.linspace(0.2, 0.19, len(keys)))
    (folder / "source").mkdir()
    path = str(folder / "source" / "scan.nx")
    nx.save(path, data_path="entry")
    return path, data


def _degrees(values):
    import pint

    return values * pint.get_application_registry().degree


def _ampere(values):
    import pint

    return values * pint.get_application_registry().ampere


def nabus(path, data, **options):
    from nabu.preproc.flatfield import FlatFieldArrays
    from tomoscan.esrf.scan.nxtomoscan import NXtomoScan

    tomo = NXtomoScan(path, "entry")
    darks = tomo.compute_reduced_darks(reduced_method="mean")
    flats = tomo.compute_reduced_flats(reduced_method="median")
    indices = np.flatnonzero(np.array(KEYS) == 0)
    radios = data[indices].astype(np.float32)
    correction = FlatFieldArrays(
        radios.shape, flats, darks, radios_indices=indices, nan_value=None, **options
    )
    return correction.normalize_radios(radios)
