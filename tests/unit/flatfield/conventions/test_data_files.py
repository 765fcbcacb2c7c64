"""roles in data files: groups by name, APS Data Exchange, NXtomo, BLISS."""

import h5py
import numpy as np
import pytest

from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, Rejected
from tests.support.correction_plans import all_cooked, file_recipe, loading, told_of
from tests.support.real_data import DATA

SHAPE = (3, 4)


@pytest.fixture
def file():
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        yield file


def counts(rng, n=None, low=1000, high=60000):
    return rng.integers(low, high, SHAPE if n is None else (n, *SHAPE)).astype(np.uint16)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(array):
    return np.asarray(array).astype(np.float32)


def formula(raw, dark, flat):
    return (f32(raw) - f32(dark)) / (f32(flat) - f32(dark))


def between(a, b, w):
    return (f32(a) * (1 - np.float64(w)) + f32(b) * np.float64(w)).astype(np.float32)


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
    plan = file_recipe(file)
    made = all_cooked(plan, loading(file))
    assert list(made) == ["0000", "0100", "0500", "0700"]
    d, a, b = file[f"{dark}/0000"][()], file[f"{flat}/0000"][()], file[f"{flat}/0500"][()]
    for name, w in (("0000", 0), ("0100", 0.2), ("0500", 1), ("0700", 1)):
        expected = formula(file[f"{raw}/{name}"][()], d, between(a, b, w))
        assert np.array_equal(made[name], expected)


def test_in_a_group_below(file, rng):
    training(file.create_group("a/b"), rng)
    assert file_recipe(file, "a") is None
    plan = file_recipe(file, "a/b")
    assert plan.outputs[0].raw[0].part.path == "a/b/data/0000"


def test_images_with_other_names_stand_at_their_positions(file, rng):
    for name in ("one", "two", "three"):
        file[f"data/{name}"] = counts(rng)
    file["flat/begin"], file["flat/end"], file["dark"] = counts(rng), counts(rng), counts(rng)
    plan = file_recipe(file)
    assert [output.raw[0].abscissa for output in plan.outputs] == [0, 1, 2]
    assert [flat.abscissa for flat in plan.outputs[0].correction.flats] == [0, 1]


def test_stacks_are_runs(file, rng):
    file["data"], file["flat"], file["dark"] = counts(rng, 5), counts(rng, 4), counts(rng, 3)
    made = all_cooked(file_recipe(file), loading(file))
    dark, flat = np.mean(f32(file["dark"]), axis=0), np.median(f32(file["flat"]), axis=0)
    assert np.array_equal(made["data"], formula(file["data"], dark, flat))


def test_frames_of_several_stacks_are_counted_in_each(file, rng):
    file["data/10"], file["data/20"], file["data/30"] = counts(rng, 2), counts(rng, 3), counts(rng)
    file["flat"], file["dark"] = counts(rng), counts(rng)
    plan = file_recipe(file)
    assert [output.raw[0].abscissa for output in plan.outputs] == [0, 0, 30]


def test_groups_holding_a_data(file, rng):
    for name in ("raw", "flat", "dark"):
        file[f"{name}/data"] = counts(rng, 2)
        file[f"{name}/exposure"] = 0.1
        file[f"{name}/table"] = np.zeros((2, 2, 2, 2))
    plan = file_recipe(file)
    assert [output.name for output in plan.outputs] == ["data"]
    assert plan.outputs[0].shape == (2, *SHAPE)


def test_links_are_followed(file, rng):
    training(file.create_group("elsewhere"), rng)
    for name in ("data", "flatfield", "dark"):
        file[name] = h5py.SoftLink(f"/elsewhere/{name}")
    assert isinstance(file_recipe(file), CorrectionPlan)


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
    refusal = file_recipe(file)
    assert told in refusal.reason


def test_a_group_without_images_is_missing(file, rng):
    training(file, rng)
    del file["dark/0000"]
    assert "no dark" in file_recipe(file).reason
    del file["data"]
    file["data/x"] = np.arange(3)
    assert "no image in data" in file_recipe(file).reason


@pytest.mark.parametrize("path", ["data/0100", "flatfield/0500", "dark/0000"])
def test_shapes_that_disagree(file, rng, path):
    training(file, rng)
    del file[path]
    file[path] = np.zeros((4, 3), np.uint16)
    assert path in file_recipe(file).reason
    assert "(4, 3)" in file_recipe(file).reason


def test_nothing_is_said_of_other_groups(file):
    file["data/x"] = np.zeros((3, 3))
    file["entry/title"] = "a scan"
    assert file_recipe(file) is None
    assert file_recipe(file, "data") is None
    assert file_recipe(file, "entry") is None


def test_siblings(file, rng):
    file["dark/data"] = counts(rng, 2, 0, 100)
    file["flat_000/data"], file["flat_500/data"] = counts(rng, 3), counts(rng, 3)
    file["scan/data"] = counts(rng, 4)
    plan = file_recipe(file)
    made = all_cooked(plan, loading(file))
    assert list(made) == ["data"]
    dark = np.mean(f32(file["dark/data"]), axis=0)
    a, b = (np.median(f32(file[f"flat_{n}/data"]), axis=0) for n in ("000", "500"))
    for i, raw in enumerate(file["scan/data"]):
        assert np.array_equal(made["data"][i], formula(raw, dark, between(a, b, i / 500)))
    del file["scan"]
    assert "stack" in file_recipe(file).reason


def test_data_exchange(file, rng):
    group = file.create_group("exchange")
    group["data"], group["data_white"] = counts(rng, 4), counts(rng, 5)
    group["data_dark"], group["theta"] = counts(rng, 2, 0, 100), np.arange(4.0)
    made = all_cooked(file_recipe(file, "exchange"), loading(file))
    dark = np.mean(f32(group["data_dark"]), axis=0)
    flat = np.median(f32(group["data_white"]), axis=0)
    assert np.array_equal(made["data"], formula(group["data"], dark, flat))
    del group["data_dark"]
    assert "no dark" in file_recipe(file, "exchange").reason


def test_options_reach_the_correction(file, rng):
    training(file, rng)
    correction = file_recipe(file, "", CorrectionOptions("nearest", 1.0)).outputs[0].correction
    assert (correction.method, correction.nan) == ("nearest", 1.0)
    assert "norm=current" in file_recipe(file, "", CorrectionOptions(norm_current=True)).reason


def test_provenance(file, rng):
    training(file, rng)
    told = told_of(file_recipe(file, "", CorrectionOptions(nan=1.0)), "1.2.3")
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
        made = all_cooked(file_recipe(file), loading(file))
        dark, flats = file["dark/0000"][()], [file["flatfield"][n][()] for n in ("0000", "0500")]
        assert list(made) == list(file["data"])
        for name, image in made.items():
            flat = between(*flats, np.clip(int(name) / 500, 0, 1))
            with np.errstate(all="ignore"):
                expected = formula(file["data"][name][()], dark, flat)
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
        image = formula(data[i], dark, between(reduced[a], reduced[b], w))
        if currents is not None:
            ca, cb = (np.median(currents[at : at + len(flats[at])]) for at in (a, b))
            image *= np.float32((ca * (1 - w) + cb * w) / currents[i])
        out.append(image)
    return np.array(out)


@pytest.mark.parametrize("control", [True, False])
def test_nxtomo(file, rng, control):
    data = tomo(file, rng, control)
    keys = CONTROL if control else KEYS
    plan = file_recipe(file, "entry")
    made = all_cooked(plan, loading(file))
    assert np.array_equal(made["data"], expected_tomo(data, keys))
    extras = {extra.name: extra.values for extra in plan.extras}
    frames = np.flatnonzero(np.array(keys) == 0)
    assert np.array_equal(extras["frame_index"], frames)
    assert np.array_equal(extras["rotation_angle"], file["entry/sample/rotation_angle"][()][frames])


def test_nxtomo_norm_current(file, rng):
    data = tomo(file, rng)
    plan = file_recipe(file, "entry", CorrectionOptions(norm_current=True))
    made = all_cooked(plan, loading(file))
    expected = expected_tomo(data, CONTROL, file["entry/control/data"][()])
    assert np.array_equal(made["data"], expected)
    assert told_of(plan)["norm"] == "current"
    del file["entry/control/data"]
    refusal = file_recipe(file, "entry", CorrectionOptions(norm_current=True))
    assert "entry/control/data" in refusal.reason


@pytest.mark.parametrize("role", [0, 1, 2])
def test_nxtomo_without(file, rng, role):
    tomo(file, rng)
    keys = file["entry/instrument/detector/image_key_control"]
    keys[...] = np.where(keys[()] == role, 3, keys[()])
    assert ["projection", "flat", "dark"][role] in file_recipe(file, "entry").reason


def test_nxtomo_keys_of_another_length(file, rng):
    tomo(file, rng)
    del file["entry/instrument/detector/image_key_control"]
    file["entry/instrument/detector/image_key_control"] = KEYS[:-1]
    assert "(16,)" in file_recipe(file, "entry").reason


def test_nxtomo_angles_of_another_length_are_left_out(file, rng):
    tomo(file, rng)
    del file["entry/sample/rotation_angle"]
    plan = file_recipe(file, "entry")
    assert [extra.name for extra in plan.extras] == ["frame_index"]
    assert "rotation_angle" in plan.notes[0]


def test_nxtomo_detector_of_another_name(file, rng):
    tomo(file, rng)
    file.move("entry/instrument/detector", "entry/instrument/pco")
    assert isinstance(file_recipe(file, "entry"), CorrectionPlan)
    for number in range(9):  # an instrument of many parts is looked into where it says NXtomo
        file[f"entry/instrument/part{number}/name"] = "x"
    assert file_recipe(file, "entry") is None
    assert file_recipe(file, "entry") is None
    file["entry/definition"] = "NXtomo"
    assert isinstance(file_recipe(file, "entry"), CorrectionPlan)


# --- BLISS

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
    first = all_cooked(file_recipe(file, "4.1"), loading(file))["data"]
    second = all_cooked(file_recipe(file, "10.1"), loading(file))["data"]
    for i, made in zip(np.flatnonzero(keys == 0), [*first, *second], strict=True):
        a, b = (2, 9) if i < 9 else (9, 13)
        flat = between(flats[a], flats[b], (i - a) / (b - a))
        assert np.array_equal(made, formula(frames[i], dark, flat)), i


@pytest.mark.parametrize("keyed", [True, False])
def test_bliss_acquisitions_share_what_one_of_them_lacks(file, rng, keyed):
    bliss(file, rng, keyed)
    plan = file_recipe(file, "13.1")
    correction = plan.outputs[0].correction
    assert [str(part) for part in correction.dark.parts] == ["2.1/instrument/pco/data[0:2]"]
    assert [(flat.abscissa, str(flat.frames.parts[0])) for flat in correction.flats] == [
        (-1.0, "11.1/instrument/pco/data")
    ]
    assert any("no flat of its own: those of 11.1 serve" in note for note in plan.notes)
    for name in ("2.1", "3.1", "5.1", "11.1"):  # a first acquisition that has none to lend
        del file[name]
    assert "no dark" in file_recipe(file, "13.1").reason


@pytest.mark.parametrize("keyed", [True, False])
def test_bliss_acquisitions_with_their_own_do_not_mix(file, rng, keyed):
    bliss(file, rng, keyed)
    names = {part.path[:4] for output in file_recipe(file, "10.1").outputs
             for part in output.correction.parts}  # fmt: skip
    assert names == {"2.1/", "3.1/", "5.1/", "11.1"}
    assert file_recipe(file, "2.1") is None
    assert file_recipe(file, "1.1") is None
    assert file_recipe(file) is None


def test_bliss_scans_in_a_row_are_one_run(file, rng):
    titles = ["dark images", "dark images", "flat", "flat", "projections", "dark images"]
    for k, title in enumerate(titles, 1):
        file[f"{k}.1/title"] = title
        file[f"{k}.1/instrument/pco/data"] = counts(rng, 2)
    correction = file_recipe(file, "5.1").outputs[0].correction
    assert [part.path[:3] for part in correction.dark.parts] == ["1.1", "2.1"]
    (flat,) = correction.flats
    assert flat.abscissa == 4
    assert [part.path[:3] for part in flat.frames.parts] == ["3.1", "4.1"]


def test_bliss_detectors(file, rng):
    bliss(file, rng, keyed=False)
    for name in ("2.1", "3.1", "4.1"):
        file[f"{name}/instrument/basler/data"] = np.ones((2, 5, 5), np.uint8)
    plan = file_recipe(file, "4.1")
    assert {output.name: output.shape for output in plan.outputs} == {
        "basler": (2, 5, 5),
        "pco": (4, *SHAPE),
    }


def test_bliss_flats_of_another_shape(file, rng):
    bliss(file, rng, keyed=False)
    del file["3.1/instrument/pco/data"]
    file["3.1/instrument/pco/data"] = np.zeros((3, 4, 4))
    refusal = file_recipe(file, "4.1")
    assert isinstance(refusal, Rejected)
    assert "3.1/instrument/pco/data" in refusal.reason
