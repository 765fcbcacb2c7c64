"""roles in the folders of a scan: `Tomo/ Flat_Before/ Flat_After/ Dark_Before/`."""

import numpy as np
import pytest

from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, Rejected
from tests.support.correction_plans import all_corrected, folder_plan
from tests.support.flat_field import f32

SHAPE = (3, 4)


def scan(raw="Tomo", flats=("Flat_Before", "Flat_After"), dark="Dark_Before", numbers=(0, 5, 10)):
    rng = np.random.default_rng(4)
    paths = [f"{raw}/w_{number:04d}.tif" for number in numbers]
    paths += [f"{folder}/img_{k}.tif" for folder in flats for k in range(3)]
    paths += [f"{dark}/img_{k}.tif" for k in range(2)] if dark else []
    return {path: rng.integers(100, 60000, SHAPE).astype(np.uint16) for path in paths}


def expected(known, path, dark, before, after, w):
    def run(folder):
        return f32([one for name, one in known.items() if name.startswith(folder + "/")])

    below = np.mean(run(dark), axis=0) if dark else np.float32(0)
    a, b = np.median(run(before), axis=0), np.median(run(after), axis=0)
    flat = (a * (1 - np.float64(w)) + b * np.float64(w)).astype(np.float32)
    return (f32(known[path]) - below) / (flat - below)


@pytest.mark.parametrize(
    ("raw", "flats", "dark"),
    [
        ("Tomo", ("Flat_Before", "Flat_After"), "Dark_Before"),
        ("projections", ("flats_pre", "flats_post"), "darks"),
        ("Sample 3", ("FLAT-begin", "FLAT-end"), "DARK"),
        ("RawData", ("ref_before", "ref_after"), "darkfield_1"),
        ("wood", ("flat", "flat_after"), "dark"),
        ("wood", ("flat_0000", "flat_0010"), "dark"),
    ],
)
@pytest.mark.parametrize("series", [False, True])
def test_conventional_names(raw, flats, dark, series):
    known = scan(raw, flats, dark)
    runs = {f"{raw}/w_####.tif": (0, 5, 10)} if series else {}
    plan = folder_plan(known, series=runs)
    assert isinstance(plan, CorrectionPlan), plan
    assert plan.convention == "folders of a scan"
    made = all_corrected(plan, known.__getitem__)
    assert set(made) == {"w_0000", "w_0005", "w_0010"} | ({"w_####"} if series else set())
    for number in (0, 5, 10):
        path = f"{raw}/w_{number:04d}.tif"
        one = expected(known, path, dark, *flats, number / 10)
        assert np.array_equal(made[f"w_{number:04d}"], one)


def test_projections_beside_the_folders():
    known = {name.removeprefix("Tomo/"): one for name, one in scan().items()}
    plan = folder_plan(known, series={"w_####.tif": (0, 5, 10)})
    made = all_corrected(plan, known.__getitem__)
    for number in (0, 5, 10):
        path = f"w_{number:04d}.tif"
        one = expected(known, path, "Dark_Before", "Flat_Before", "Flat_After", number / 10)
        assert np.array_equal(made[f"w_{number:04d}"], one)
    known["Tomo/other.tif"] = known["w_0000.tif"]  # a folder with images is meant
    assert set(all_corrected(folder_plan(known), known.__getitem__)) == {"other"}


def test_a_stack_for_the_projections():
    known = scan(numbers=())
    known["Tomo/all.tif"] = np.stack([next(iter(known.values())) + k for k in range(5)])
    plan = folder_plan(known)
    (output,) = plan.outputs
    assert (output.name, output.shape) == ("all", (5, *SHAPE))
    assert [flat.abscissa for flat in output.correction.flats] == [0, 4]


def test_without_darks():
    known = scan(dark=None)
    assert "no dark image" in folder_plan(known).reason
    plan = folder_plan(known, options=CorrectionOptions(no_dark=True))
    made = all_corrected(plan, known.__getitem__)["w_0005"]
    one = expected(known, "Tomo/w_0005.tif", None, "Flat_Before", "Flat_After", 0.5)
    assert np.array_equal(made, one)


def test_other_words_are_other_folders():
    known = scan(raw="flatworm", flats=("flat",), dark="dark")
    plan = folder_plan(known)
    assert sorted(output.name for output in plan.outputs) == [
        "w_0000",
        "w_0005",
        "w_0010",
    ]


def test_a_likely_name_decides():
    known = scan() | {f"notes/{name}.png": np.ones((9, 9)) for name in "ab"}
    assert {output.name for output in folder_plan(known).outputs} == {
        "w_0000",
        "w_0005",
        "w_0010",
    }


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (scan(numbers=()), "Dark_Before, Flat_After, Flat_Before were found, but no folder of"),
        (scan("a") | {"b/x.tif": np.ones(SHAPE)}, "a, b might hold the projections"),
        (scan("f0", numbers=()) | {f"f{k}/x.tif": np.ones(SHAPE) for k in range(20)}, "too many"),
        (scan() | {"Dark_Before/img_0.tif": np.ones((9, 9))}, "shapes do not agree"),
        ({name: one for name, one in scan().items() if "Flat" not in name}, "no flat image"),
    ],
)
def test_refusals(known, told):
    refused = folder_plan(known)
    assert isinstance(refused, Rejected)
    assert told in refused.reason


def test_other_folders_are_not_spoken_of():
    assert folder_plan({"a/x.tif": np.ones(SHAPE), "b/y.tif": np.ones(SHAPE)}) is None
    assert folder_plan({"reference/x.tif": np.ones(SHAPE), "b/y.tif": np.ones(SHAPE)}) is None
