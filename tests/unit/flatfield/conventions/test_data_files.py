"""Conventions in data files: groups by name, APS Data Exchange, NXtomo."""

import h5py
import numpy as np
import pytest

from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan
from tests.support.correction_plans import (
    SHAPE,
    all_corrected,
    counts,
    file_plan,
    loading,
    provenance_of,
)
from tests.support.flat_field import blend, divided, f32
from tests.support.real_data import DATA

# --- groups by name


def training(file, rng, raw="data", flat="flatfield", dark="dark"):
    for name in ("0000", "0100", "0500", "0700"):
        file[f"{raw}/{name}"] = counts(rng)
    for name in ("0000", "0500"):
        file[f"{flat}/{name}"] = counts(rng)
    file[f"{dark}/0000"] = counts(rng, low=0, high=100)


@pytest.mark.parametrize(
    "names", [("data", "flatfield", "dark"), ("raw", "flat", "darks"),
              ("projections", "flats", "background")],
)  # fmt: skip
def test_images_named_by_numbers(file, rng, names):
    raw, flat, dark = names
    training(file, rng, *names)
    plan = file_plan(file)
    made = all_corrected(plan, loading(file))
    assert list(made) == ["0000", "0100", "0500", "0700"]
    d, a, b = file[f"{dark}/0000"][()], file[f"{flat}/0000"][()], file[f"{flat}/0500"][()]
    for name, w in (("0000", 0), ("0100", 0.2), ("0500", 1), ("0700", 1)):
        expected = divided(file[f"{raw}/{name}"][()], d, blend(a, b, w))
        assert np.array_equal(made[name], expected)


def test_in_a_group_below(file, rng):
    training(file.create_group("a/b"), rng)
    assert file_plan(file, "a") is None
    plan = file_plan(file, "a/b")
    assert plan.outputs[0].raw[0].part.path == "a/b/data/0000"


def test_images_with_other_names_stand_at_their_positions(file, rng):
    for name in ("one", "two", "three"):
        file[f"data/{name}"] = counts(rng)
    file["flat/begin"], file["flat/end"], file["dark"] = counts(rng), counts(rng), counts(rng)
    plan = file_plan(file)
    assert [output.raw[0].abscissa for output in plan.outputs] == [0, 1, 2]
    assert [flat.abscissa for flat in plan.outputs[0].correction.flats] == [0, 1]


def test_stacks_are_runs(file, rng):
    file["data"], file["flat"], file["dark"] = counts(rng, 5), counts(rng, 4), counts(rng, 3)
    made = all_corrected(file_plan(file), loading(file))
    dark, flat = np.mean(f32(file["dark"]), axis=0), np.median(f32(file["flat"]), axis=0)
    assert np.array_equal(made["data"], divided(file["data"], dark, flat))


def test_frames_of_several_stacks_are_counted_in_each(file, rng):
    file["data/10"], file["data/20"], file["data/30"] = counts(rng, 2), counts(rng, 3), counts(rng)
    file["flat"], file["dark"] = counts(rng), counts(rng)
    plan = file_plan(file)
    assert [output.raw[0].abscissa for output in plan.outputs] == [0, 0, 30]


def test_groups_holding_a_data(file, rng):
    for name in ("raw", "flat", "dark"):
        file[f"{name}/data"] = counts(rng, 2)
        file[f"{name}/exposure"] = 0.1
        file[f"{name}/table"] = np.zeros((2, 2, 2, 2))
    plan = file_plan(file)
    assert [output.name for output in plan.outputs] == ["data"]
    assert plan.outputs[0].shape == (2, *SHAPE)


def test_links_are_followed(file, rng):
    training(file.create_group("elsewhere"), rng)
    for name in ("data", "flatfield", "dark"):
        file[name] = h5py.SoftLink(f"/elsewhere/{name}")
    assert isinstance(file_plan(file), CorrectionPlan)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("dark", "no dark"),
        ("flatfield", "no flat"),
        ("data", "dark and flatfield were found, but nothing"),
    ],
)
def test_missing_roles(file, rng, missing, told):
    training(file, rng)
    del file[missing]
    refusal = file_plan(file)
    assert told in refusal.reason


def test_a_group_without_images_is_missing(file, rng):
    training(file, rng)
    del file["dark/0000"]
    assert "no dark" in file_plan(file).reason
    del file["data"]
    file["data/x"] = np.arange(3)
    assert "no image in data" in file_plan(file).reason


@pytest.mark.parametrize("path", ["data/0100", "flatfield/0500", "dark/0000"])
def test_shapes_that_disagree(file, rng, path):
    training(file, rng)
    del file[path]
    file[path] = np.zeros((4, 3), np.uint16)
    assert path in file_plan(file).reason
    assert "(4, 3)" in file_plan(file).reason


def test_nothing_is_said_of_other_groups(file):
    file["data/x"] = np.zeros((3, 3))
    file["entry/title"] = "a scan"
    assert file_plan(file) is None
    assert file_plan(file, "data") is None
    assert file_plan(file, "entry") is None


def test_siblings(file, rng):
    file["dark/data"] = counts(rng, 2, 0, 100)
    file["flat_000/data"], file["flat_500/data"] = counts(rng, 3), counts(rng, 3)
    file["scan/data"] = counts(rng, 4)
    plan = file_plan(file)
    made = all_corrected(plan, loading(file))
    assert list(made) == ["data"]
    dark = np.mean(f32(file["dark/data"]), axis=0)
    a, b = (np.median(f32(file[f"flat_{n}/data"]), axis=0) for n in ("000", "500"))
    for i, raw in enumerate(file["scan/data"]):
        assert np.array_equal(made["data"][i], divided(raw, dark, blend(a, b, i / 500)))
    del file["scan"]
    assert "stack" in file_plan(file).reason


def test_data_exchange(file, rng):
    group = file.create_group("exchange")
    group["data"], group["data_white"] = counts(rng, 4), counts(rng, 5)
    group["data_dark"], group["theta"] = counts(rng, 2, 0, 100), np.arange(4.0)
    made = all_corrected(file_plan(file, "exchange"), loading(file))
    dark = np.mean(f32(group["data_dark"]), axis=0)
    flat = np.median(f32(group["data_white"]), axis=0)
    assert np.array_equal(made["data"], divided(group["data"], dark, flat))
    del group["data_dark"]
    assert "no dark" in file_plan(file, "exchange").reason


def test_options_reach_the_correction(file, rng):
    training(file, rng)
    correction = file_plan(file, "", CorrectionOptions("nearest", 1.0)).outputs[0].correction
    assert (correction.method, correction.nan) == ("nearest", 1.0)
    assert "norm=current" in file_plan(file, "", CorrectionOptions(norm_current=True)).reason


def test_provenance(file, rng):
    training(file, rng)
    told = provenance_of(file_plan(file, "", CorrectionOptions(nan=1.0)), "1.2.3")
    assert told["formula"] == "(raw - dark) / (flat - dark)"
    assert [flat["abscissa"] for flat in told["flats"]] == [0, 500]
    assert told["flats"][1]["frames"] == ["flatfield/0500"]
    assert told["dark"] == {"frames": ["dark/0000"], "reduction": None}
    assert told["results"]["0100"] == {"raw": ["data/0100"], "abscissae": [100]}
    assert "the number in its name, or its index in the stack" in told["abscissa"]
    assert told["flat_of_a_frame"].startswith("between flats at a < b: flat_a*(1-w) + flat_b*w")
    assert (told["nan"], told["flat"], told["norm"], told["version"]) == (
        1.0, "linear", None, "1.2.3",
    )  # fmt: skip


@pytest.mark.skipif(not DATA.exists(), reason="the training's data are not here")
def test_the_trainings_file():
    with h5py.File(DATA / "ID16B_diatomee.h5", "r", locking=False) as file:
        made = all_corrected(file_plan(file), loading(file))
        dark, flats = file["dark/0000"][()], [file["flatfield"][n][()] for n in ("0000", "0500")]
        assert list(made) == list(file["data"])
        for name, image in made.items():
            flat = blend(*flats, np.clip(int(name) / 500, 0, 1))
            with np.errstate(all="ignore"):
                expected = divided(file["data"][name][()], dark, flat)
            assert np.array_equal(image, expected, equal_nan=True)


# --- NXtomo

KEYS = [2, 2, 1, 1, 1, 0, 0, 3, 0, 1, 1, 0, 0, 2, 1, 0, 0]
CONTROL = [*KEYS[:-1], -1]


def tomo(file, rng, control=True):
    n = len(KEYS)
    data = counts(rng, n)
    data[np.array(KEYS) == 2] //= 100
    detector = file.create_group("entry/instrument/detector")
    detector["data"], detector["image_key"] = data, KEYS
    if control:
        detector["image_key_control"] = CONTROL
    file["entry/sample/rotation_angle"] = np.linspace(0, 180, n, dtype=np.float32)
    file["entry/control/data"] = np.linspace(200, 190, n)
    return data


def expected_tomo(data, keys, currents=None):
    flats = {2: data[2:5], 9: data[9:11], 14: data[14:15]}
    reduced = {at: np.median(f32(run), axis=0) for at, run in flats.items()}
    dark = np.mean(f32(data[0:2]), axis=0)
    out = []
    for i in np.flatnonzero(np.array(keys) == 0):
        a, b = (2, 9) if i < 9 else (9, 14)
        w = np.clip((i - a) / (b - a), 0, 1)
        image = divided(data[i], dark, blend(reduced[a], reduced[b], w))
        if currents is not None:
            ca, cb = (np.median(currents[at : at + len(flats[at])]) for at in (a, b))
            image *= np.float32((ca * (1 - w) + cb * w) / currents[i])
        out.append(image)
    return np.array(out)


@pytest.mark.parametrize("control", [True, False])
def test_nxtomo(file, rng, control):
    data = tomo(file, rng, control)
    keys = CONTROL if control else KEYS
    plan = file_plan(file, "entry")
    made = all_corrected(plan, loading(file))
    assert np.array_equal(made["data"], expected_tomo(data, keys))
    extras = {extra.name: extra.values for extra in plan.extras}
    frames = np.flatnonzero(np.array(keys) == 0)
    assert np.array_equal(extras["frame_index"], frames)
    assert np.array_equal(extras["rotation_angle"], file["entry/sample/rotation_angle"][()][frames])


def test_nxtomo_norm_current(file, rng):
    data = tomo(file, rng)
    plan = file_plan(file, "entry", CorrectionOptions(norm_current=True))
    made = all_corrected(plan, loading(file))
    expected = expected_tomo(data, CONTROL, file["entry/control/data"][()])
    assert np.array_equal(made["data"], expected)
    assert provenance_of(plan)["norm"] == "current"
    del file["entry/control/data"]
    refusal = file_plan(file, "entry", CorrectionOptions(norm_current=True))
    assert "entry/control/data" in refusal.reason


@pytest.mark.parametrize("role", [0, 1, 2])
def test_nxtomo_without(file, rng, role):
    tomo(file, rng)
    keys = file["entry/instrument/detector/image_key_control"]
    keys[...] = np.where(keys[()] == role, 3, keys[()])
    assert ["projection", "flat", "dark"][role] in file_plan(file, "entry").reason


def test_nxtomo_keys_of_another_length(file, rng):
    tomo(file, rng)
    del file["entry/instrument/detector/image_key_control"]
    file["entry/instrument/detector/image_key_control"] = KEYS[:-1]
    assert "(16,)" in file_plan(file, "entry").reason


def test_nxtomo_angles_of_another_length_are_left_out(file, rng):
    tomo(file, rng)
    del file["entry/sample/rotation_angle"]
    plan = file_plan(file, "entry")
    assert [extra.name for extra in plan.extras] == ["frame_index"]
    assert "rotation_angle" in plan.notes[0]


def test_nxtomo_detector_of_another_name(file, rng):
    tomo(file, rng)
    file.move("entry/instrument/detector", "entry/instrument/pco")
    assert isinstance(file_plan(file, "entry"), CorrectionPlan)
    for number in range(9):  # an instrument of many parts is looked into where it says NXtomo
        file[f"entry/instrument/part{number}/name"] = "x"
    assert file_plan(file, "entry") is None
    assert file_plan(file, "entry") is None
    file["entry/definition"] = "NXtomo"
    assert isinstance(file_plan(file, "entry"), CorrectionPlan)
