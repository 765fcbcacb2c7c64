"""Stacks with keys in odd places, several turns, darks and flats of other entries and programs."""

import h5py
import numpy as np
import pytest

from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, Rejected
from tests.support.corrected_scans import counts
from tests.support.correction_plans import all_corrected, file_plan, loading, provenance_of
from tests.support.flat_field import formula, mean, median

KEYS = np.array([2, 2, 1, 1, 1, 0, 0, 0, 1, 1, 0])
DATA = counts("odd", len(KEYS))
ANGLES = np.linspace(-30, 150, len(KEYS))
INDEX = np.flatnonzero(KEYS == 0)
MADE = formula(DATA[INDEX], mean(DATA[:2]), (median(DATA[2:5]), median(DATA[8:10])), (2, 8), INDEX)


@pytest.fixture
def file():
    with h5py.File("odd in memory", "w", driver="core", backing_store=False) as file:
        yield file


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


def corrected(file: h5py.File, path: str = "", **others: h5py.File) -> np.ndarray:
    known = {f"scan_{name}.hdf5": one for name, one in others.items()}
    plan = file_plan(file, path, others=known)
    return all_corrected(plan, loading(file, known))["data"]


# --- where the keys are


@pytest.mark.parametrize(
    "place", ["camera", "instrument/arm/camera", "end_station/hutch/camera", "measurement"]
)
def test_an_nxtomo_with_its_detector_anywhere(file: h5py.File, place: str) -> None:
    file["run7/definition"] = "NXtomo"
    file["run7/sample/rotation_angle"] = ANGLES
    file[f"run7/{place}/frames"], file[f"run7/{place}/image_key"] = DATA, KEYS
    assert same(corrected(file, "run7"), MADE)
    plan = file_plan(file, "run7")
    assert same(plan.extras[0].values, ANGLES[INDEX])
    assert file_plan(file, f"run7/{place}") is None  # its entry has it


@pytest.mark.parametrize("name", ["image_key", "image_key_control"])
@pytest.mark.parametrize("path", ["", "camera", "a/b/c/d/e/camera"])
def test_keys_beside_a_stack_in_any_group(file: h5py.File, path: str, name: str) -> None:
    group = file.require_group(path or "/")
    group["projections_and_more"], group[name] = DATA, KEYS
    group["note"] = np.arange(3)
    group["rotation_angle"] = ANGLES
    assert same(corrected(file, path), MADE)
    assert same(file_plan(file, path).extras[0].values, ANGLES[INDEX])


def test_an_entry_without_definition(file: h5py.File) -> None:
    file["e/instrument/pco/data"], file["e/instrument/pco/image_key"] = DATA, KEYS
    file["e/rotation_angle"] = ANGLES
    assert same(corrected(file, "e"), MADE)
    assert same(file_plan(file, "e").extras[0].values, ANGLES[INDEX])
    assert file_plan(file, "e/instrument/pco") is None
    assert file_plan(file, "e/instrument") is None


def test_an_nxtomo_without_keys_says_so(file: h5py.File) -> None:
    file["e/definition"] = "NXtomo"
    file["e/instrument/detector/data"] = DATA
    reason = file_plan(file, "e").reason
    assert "no image_key or image_key_control was found in e" in reason


def test_keys_without_a_stack_of_one_kind(file: h5py.File) -> None:
    file["e/instrument/detector/image_key"] = KEYS
    assert "needs a stack `data`" in file_plan(file, "e").reason
    file["alone/image_key"] = KEYS
    assert file_plan(file, "alone") is None
    file["technique/image_key"] = 0  # of a BLISS scan
    file["technique/data"] = DATA
    assert file_plan(file, "technique") is None


# --- several turns


def test_turns_in_one_stack_have_the_flats_around_them(file: h5py.File) -> None:
    """Two turns with flats between, a return projection, and flats at the end."""
    keys = np.array([1, 1, 2, 0, 0, 0, -1, 1, 1, 1, 0, 0, 3, 0, 0, 1])
    data = counts("turns", len(keys))
    file["t/instrument/detector/data"] = data
    file["t/instrument/detector/image_key_control"] = keys
    index = np.flatnonzero(keys == 0)
    flats = median(data[:2]), median(data[7:10]), np.float32(data[15])
    assert same(corrected(file, "t"), formula(data[index], data[2], flats, (0, 7, 15), index))


def turn(file: h5py.File, name: str, keys: list[int]) -> np.ndarray:
    data = counts(name, len(keys))
    file[f"{name}/instrument/detector/data"] = data
    file[f"{name}/instrument/detector/image_key"] = keys
    return data


def test_an_entry_takes_the_references_around_it(file: h5py.File) -> None:
    """Frames are counted over the entries: 5, 3 and 4 of them; turn10 comes after turn9."""
    first = turn(file, "turn8", [2, 2, 1, 1, 0])
    middle = turn(file, "turn9", [0, 0, 0])
    last = turn(file, "turn10", [0, 1, 1, 2])
    flats, at = (median(first[2:4]), median(last[1:3])), (-3, 4)
    assert same(corrected(file, "turn9"), formula(middle, mean(first[:2]), flats, at))
    plan = file_plan(file, "turn9")
    assert "no flat of its own: those of turn8, turn10 serve" in " ".join(plan.notes)
    told = provenance_of(plan)
    assert told["flats"][0]["frames"] == ["turn8/instrument/detector/data[2:4]"]
    assert "it has no flat of its own: those of turn8, turn10 serve" in told["notes"]
    own = formula(last[:1], last[3], [median(last[1:3])])
    assert same(corrected(file, "turn10"), own)
    assert not file_plan(file, "turn10").notes[:-1]


def test_the_nearer_dark_serves(file: h5py.File) -> None:
    turn(file, "a", [2, 1, 0, 0, 0, 0])
    middle = turn(file, "b", [0, 0, 1])
    last = turn(file, "c", [1, 2, 0])
    assert same(corrected(file, "b"), formula(middle[:2], last[1], [median(middle[2:])]))


def test_references_of_another_frame_shape_are_no_use(file: h5py.File) -> None:
    file["x/instrument/detector/data"] = np.zeros((3, 2, 2))
    file["x/instrument/detector/image_key"] = [2, 1, 0]
    turn(file, "y", [0, 0])
    found = file_plan(file, "y")
    assert isinstance(found, Rejected)
    assert "nor in another entry" in found.reason


def test_currents_of_borrowed_flats(file: h5py.File) -> None:
    first, second = turn(file, "a", [2, 1, 1, 0]), turn(file, "b", [0, 0])
    file["a/control/data"], file["b/control/data"] = [9.0, 4.0, 6.0, 9.0], [2.0, 10.0]
    plan = file_plan(file, "b", CorrectionOptions(norm_current=True))
    made = formula(second, first[0], [median(first[1:3])])
    made *= np.float32([[[2.5]], [[0.5]]])
    assert same(all_corrected(plan, loading(file))["data"], made)


# --- reduced by another program


@pytest.fixture
def reduced():
    """`<entry>/darks/<index>`, `<entry>/flats/<index>` with other numbers than the scan's."""
    with (
        h5py.File("darks in memory", "w", driver="core", backing_store=False) as darks,
        h5py.File("flats in memory", "w", driver="core", backing_store=False) as flats,
    ):
        darks["e/darks/0"], darks["e/darks/lr_flip"] = np.float64(counts("rd")) / 3, False
        flats["e/flats/9"], flats["e/flats/10"] = np.float32(counts("r9")), counts("r10")
        flats["e/flats/machine_current"] = [0.1, 0.2]
        yield {"darks": darks, "flats": flats}


def test_what_was_reduced_is_not_reduced_again(file: h5py.File, reduced) -> None:
    file["e/instrument/detector/data"], file["e/instrument/detector/image_key"] = DATA, KEYS
    dark = (np.float64(counts("rd")) / 3).astype(np.float32)
    flats = counts("r9"), counts("r10")
    assert same(corrected(file, "e", **reduced), formula(DATA[INDEX], dark, flats, (9, 10), INDEX))
    known = {f"scan_{name}.hdf5": one for name, one in reduced.items()}
    told = provenance_of(file_plan(file, "e", others=known))
    assert told["dark"]["frames"] == ["../scan_darks.hdf5::e/darks/0"]
    assert "reduced before" in told["dark"]["note"]
    assert [flat["abscissa"] for flat in told["flats"]] == [9, 10]


def test_a_scan_without_darks_and_flats_has_the_reduced_ones(file: h5py.File, reduced) -> None:
    turn(file, "e", [0, 0, 0])
    assert isinstance(file_plan(file, "e"), Rejected)
    dark = (np.float64(counts("rd")) / 3).astype(np.float32)
    assert same(corrected(file, "e", **reduced), formula(counts("e", 3), dark, [counts("r9")]))
    only = {"flats": reduced["flats"]}
    known = {f"scan_{name}.hdf5": one for name, one in only.items()}
    assert "no dark" in file_plan(file, "e", others=known).reason


def test_reduced_frames_of_another_shape_are_left_out(file: h5py.File, reduced) -> None:
    file["e/instrument/detector/data"], file["e/instrument/detector/image_key"] = DATA, KEYS
    del reduced["flats"]["e/flats/9"]
    reduced["flats"]["e/flats/9"] = np.zeros((2, 2))
    del reduced["darks"]["e/darks/0"]
    assert same(corrected(file, "e", **reduced), MADE)
    known = {"scan_flats.hdf5": reduced["flats"]}
    plan = file_plan(file, "e", others=known)
    assert isinstance(plan, CorrectionPlan)
    assert "reduced flats are left out" in " ".join(plan.notes)


def test_currents_of_reduced_flats_are_those_of_their_runs(file: h5py.File, reduced) -> None:
    file["e/instrument/detector/data"], file["e/instrument/detector/image_key"] = DATA, KEYS
    file["e/control/data"] = np.arange(1.0, len(KEYS) + 1)
    options = CorrectionOptions(norm_current=True)
    known = {f"scan_{name}.hdf5": one for name, one in reduced.items()}
    assert "reduced flat 9" in file_plan(file, "e", options, known).reason
    del reduced["flats"]["e/flats/9"], reduced["flats"]["e/flats/10"]
    reduced["flats"]["e/flats/8"] = counts("r9")
    plan = file_plan(file, "e", options, known)
    assert [flat.current for flat in plan.outputs[0].correction.flats] == [9.5]
