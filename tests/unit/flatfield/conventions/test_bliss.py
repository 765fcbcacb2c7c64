"""BLISS files: darks, flats and projections are scans of their own."""

import h5py
import numpy as np
import pytest

from esrffs.flatfield.plan import Rejected
from tests.support.correction_plans import SHAPE, all_corrected, counts, file_plan, loading
from tests.support.flat_field import blend, divided, f32

SCANS = [
    ("1.1", "tomo:fulltomo", None, 0),
    ("2.1", "dark images", 2, 2),
    ("3.1", "reference images 1", 1, 3),
    ("4.1", "projections 0 - 4", 0, 4),
    ("5.1", "flat", 1, 2),
    ("5.2", "flat", 1, 0),
    ("10.1", "projections 4 - 6", 0, 2),
    ("11.1", "refend", 1, 1),
    ("12.1", "tomo:fulltomo", None, 0),
    ("13.1", "projections", 0, 2),
]


def bliss(file, rng, keyed):
    frames = []
    for name, title, key, n in SCANS:
        scan = file.create_group(name)
        scan.create_group("instrument/positioners")["data"] = np.arange(3.0)
        scan["title"] = "no words" if keyed and key is not None else title
        if keyed and key is not None:
            scan["technique/image_key"] = key
        elif keyed:
            scan["technique/scan_category"] = "tomo"
        if n:
            data = counts(rng, n) if key != 2 else counts(rng, n, 0, 100)
            scan["instrument/pco/data"] = data
            scan["measurement/pco"] = h5py.SoftLink(f"/{name}/instrument/pco/data")
            frames.append(data)
    return np.concatenate(frames)


@pytest.mark.parametrize("keyed", [True, False])
def test_bliss_is_what_the_nxtomo_of_it_would_be(file, rng, keyed):
    frames = bliss(file, rng, keyed)[:14]
    keys = np.repeat([2, 1, 0, 1, 0, 1], [2, 3, 4, 2, 2, 1])
    flats = {a: np.median(f32(frames[a:b]), axis=0) for a, b in ((2, 5), (9, 11), (13, 14))}
    dark = np.mean(f32(frames[:2]), axis=0)
    first = all_corrected(file_plan(file, "4.1"), loading(file))["data"]
    second = all_corrected(file_plan(file, "10.1"), loading(file))["data"]
    for i, made in zip(np.flatnonzero(keys == 0), [*first, *second], strict=True):
        a, b = (2, 9) if i < 9 else (9, 13)
        flat = blend(flats[a], flats[b], (i - a) / (b - a))
        assert np.array_equal(made, divided(frames[i], dark, flat)), i


@pytest.mark.parametrize("keyed", [True, False])
def test_bliss_acquisitions_share_what_one_of_them_lacks(file, rng, keyed):
    bliss(file, rng, keyed)
    plan = file_plan(file, "13.1")
    correction = plan.outputs[0].correction
    assert [str(part) for part in correction.dark.parts] == ["2.1/instrument/pco/data[0:2]"]
    assert [(flat.abscissa, str(flat.frames.parts[0])) for flat in correction.flats] == [
        (-1.0, "11.1/instrument/pco/data[0:1]")
    ]
    assert any("no flat of its own: those of 11.1 serve" in note for note in plan.notes)
    for name in ("2.1", "3.1", "5.1", "11.1"):  # a first acquisition that has none to lend
        del file[name]
    assert "no dark" in file_plan(file, "13.1").reason


@pytest.mark.parametrize("keyed", [True, False])
def test_bliss_acquisitions_with_their_own_do_not_mix(file, rng, keyed):
    bliss(file, rng, keyed)
    names = {part.path[:4] for output in file_plan(file, "10.1").outputs
             for part in output.correction.parts}  # fmt: skip
    assert names == {"2.1/", "3.1/", "5.1/", "11.1"}
    assert file_plan(file, "2.1") is None
    assert file_plan(file, "1.1") is None
    assert file_plan(file) is None


def test_bliss_scans_in_a_row_are_one_run(file, rng):
    titles = ["dark images", "dark images", "flat", "flat", "projections", "dark images"]
    for k, title in enumerate(titles, 1):
        file[f"{k}.1/title"] = title
        file[f"{k}.1/instrument/pco/data"] = counts(rng, 2)
    correction = file_plan(file, "5.1").outputs[0].correction
    assert [part.path[:3] for part in correction.dark.parts] == ["1.1", "2.1"]
    (flat,) = correction.flats
    assert flat.abscissa == 4
    assert [part.path[:3] for part in flat.frames.parts] == ["3.1", "4.1"]


def test_bliss_detectors(file, rng):
    bliss(file, rng, keyed=False)
    for name in ("2.1", "3.1", "4.1"):
        file[f"{name}/instrument/basler/data"] = np.ones((2, 5, 5), np.uint8)
    plan = file_plan(file, "4.1")
    assert {output.name: output.shape for output in plan.outputs} == {
        "basler": (2, 5, 5),
        "pco": (4, *SHAPE),
    }


def test_bliss_flats_of_another_shape(file, rng):
    bliss(file, rng, keyed=False)
    del file["3.1/instrument/pco/data"]
    file["3.1/instrument/pco/data"] = np.zeros((3, 4, 4))
    refusal = file_plan(file, "4.1")
    assert isinstance(refusal, Rejected)
    assert "3.1/instrument/pco/data" in refusal.reason
