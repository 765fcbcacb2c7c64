"""roles: an image (y, x) is a run of one in every convention; colour images are refused."""

import h5py
import numpy as np
import pytest

from esrffs.flatfield.conventions.detect import detect_in_folder
from esrffs.flatfield.conventions.queries import (
    DescribeArray,
    ListMembers,
    MemberSummary,
    answer_all,
)
from esrffs.flatfield.plan import CorrectionOptions, Rejected
from tests.support.correction_plans import all_corrected, file_plan, loading, provenance_of
from tests.support.flat_field import f32

SHAPE = (3, 4)


@pytest.fixture
def file():
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        yield file


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def image(rng, low, n=None):
    shape = SHAPE if n is None else (n, *SHAPE)
    return rng.integers(low, low + 50, shape).astype(np.uint16)


def expected(raw, dark, flat):
    dark = f32(dark).reshape(-1, *SHAPE).mean(axis=0)
    flat = np.median(f32(flat).reshape(-1, *SHAPE), axis=0)
    return (f32(raw) - dark) / (flat - dark)


def bliss(file, dark, flat, raw):
    for number, (title, data) in enumerate(
        (
            ("tomo:fullturn", None),
            ("dark images", dark),
            ("flat images", flat),
            ("projections", raw),
        ),
        1,
    ):
        entry = file.create_group(f"{number}.1")
        entry["title"] = title
        instrument = entry.create_group("instrument")
        if data is not None:
            instrument["pco/data"] = data
            instrument["mca/data"] = np.ones((7, 1024), np.uint32)  # a spectrum for each point
    return "4.1"


def exchange(file, dark, flat, raw):
    for name, data in (("data", raw), ("data_white", flat), ("data_dark", dark)):
        file[f"exchange/{name}"] = data
    return "exchange"


def siblings(file, dark, flat, raw):
    for name, data in (("dark", dark), ("flat_0", flat), ("sample", raw)):
        file[f"{name}/data"] = data
    return ""


def named(file, dark, flat, raw):
    for name, data in (("data", raw), ("flat", flat), ("dark", dark)):
        file[name] = data
    return ""


@pytest.mark.parametrize("single", ["dark", "flat", "raw", "all"])
@pytest.mark.parametrize("convention", [bliss, exchange, siblings, named])
def test_single_images(file, rng, convention, single):
    one = {
        role: image(rng, low, None if single in (role, "all") else 3)
        for role, low in (("dark", 90), ("flat", 900), ("raw", 400))
    }
    if convention is bliss and single in ("raw", "all"):
        del one["raw"]
        one["raw"] = image(rng, 400)
    plan = file_plan(file, convention(file, **one))
    made = all_corrected(plan, loading(file))
    (name,) = [name for name in made if name != "mca"]
    assert np.array_equal(made[name], expected(**one))


def coloured(file, path, attribute=("interpretation", "rgb-image")):
    file[path].attrs[attribute[0]] = attribute[1]


@pytest.mark.parametrize(
    "attribute",
    [
        ("interpretation", "rgb-image"),
        ("interpretation", "rgba-image"),
        ("interpretation", np.bytes_("rgba-image")),
        ("IMAGE_SUBCLASS", "IMAGE_TRUECOLOR"),
    ],
)
@pytest.mark.parametrize("role", ["data/0000", "flat/0000", "dark/0000"])
@pytest.mark.parametrize("shape", [(8, 9, 3), (2, 8, 9, 4)])
def test_colour_is_refused(file, role, attribute, shape):
    for name in ("data/0000", "flat/0000", "dark/0000"):
        file[name] = np.ones(shape if name == role else (8, 9), np.uint8)
        if name == role:
            coloured(file, name, attribute)
    refused = file_plan(file)
    assert isinstance(refused, Rejected)
    assert f"{role} is a colour image, {shape}" in refused.reason


def test_colour_in_other_conventions(file, rng):
    one = {"dark": image(rng, 9), "flat": image(rng, 900), "raw": image(rng, 400)}
    path = exchange(file, **one)
    del file["exchange/data_white"]
    file["exchange/data_white"] = np.ones((*SHAPE, 3), np.uint8)
    coloured(file, "exchange/data_white")
    assert "exchange/data_white is a colour image" in file_plan(file, path).reason
    detector = "entry/instrument/detector"
    file[f"{detector}/data"] = np.ones((3, 4, 3), np.uint8)
    file[f"{detector}/image_key"] = [2, 1, 0]
    coloured(file, f"{detector}/data")
    assert f"{detector}/data is a colour image" in file_plan(file, "entry").reason


def folder(entries, options=None):
    def answer(question):
        if isinstance(question, ListMembers):
            return {name: MemberSummary("image") for name in entries}
        assert isinstance(question, DescribeArray)
        return entries[question.path]

    return answer_all(detect_in_folder(options or CorrectionOptions()), answer)


GRAY = MemberSummary("image", SHAPE, np.dtype("u1"))
COLOUR = MemberSummary("image", (*SHAPE, 3), np.dtype("u1"), colour=True)


def test_a_colour_image_among_others_is_left_out():
    plan = folder({"dark.tif": GRAY, "flat.tif": GRAY, "a.tif": GRAY, "photo.jpg": COLOUR})
    assert [output.name for output in plan.outputs] == ["a"]
    assert "photo.jpg is left out: photo.jpg is a colour image" in plan.notes[0]


@pytest.mark.parametrize("role", ["dark.tif", "flat.tif", "a.tif"])
def test_folders_of_colour_are_refused(role):
    entries = dict.fromkeys(("dark.tif", "flat.tif", "a.tif"), GRAY) | {role: COLOUR}
    assert f"{role} is a colour image, (3, 4, 3)" in folder(entries).reason
    assert "colour image" in folder(dict.fromkeys(entries, COLOUR)).reason


def nxtomo(file, dark, flat, raw):
    stacks = [one if one.ndim == 3 else one[None] for one in (dark, flat, raw) if one is not None]
    detector = "entry/instrument/detector"
    file[f"{detector}/data"] = np.concatenate(stacks)
    keys = [key for key, one in ((2, dark), (1, flat), (0, raw)) if one is not None]
    counts = [len(one) for one in stacks]
    file[f"{detector}/image_key"] = np.repeat(keys, counts)
    return "entry"


def without(file, convention, dark, flat, raw):
    """The convention's file without its darks."""
    path = convention(file, dark=dark if convention is not nxtomo else None, flat=flat, raw=raw)
    for name in ("exchange/data_dark", "dark", "2.1"):
        if name in file:
            del file[name]
    return path


@pytest.mark.parametrize("convention", [bliss, exchange, siblings, named, nxtomo])
def test_without_a_dark(file, rng, convention):
    dark, flat, raw = image(rng, 90), image(rng, 900), image(rng, 400, 4)
    path = without(file, convention, dark, flat, raw)
    refused = file_plan(file, path)
    if convention is not siblings:  # flat_0 alone may be anything
        assert "no dark" in refused.reason
    made = file_plan(file, path, CorrectionOptions(no_dark=True))
    zero = f32(np.zeros(SHAPE))
    assert np.array_equal(all_corrected(made, loading(file))["data"], expected(raw, zero, flat))
    (told,) = [provenance_of(made)]
    assert told["dark"] == {"constant": 0.0}


@pytest.mark.parametrize("convention", [bliss, exchange, siblings, named, nxtomo])
def test_a_dark_that_is_there_is_used(file, rng, convention):
    dark, flat, raw = image(rng, 90), image(rng, 900), image(rng, 400, 4)
    made = file_plan(file, convention(file, dark, flat, raw), CorrectionOptions(no_dark=True))
    assert np.array_equal(all_corrected(made, loading(file))["data"], expected(raw, dark, flat))


def test_folders_without_a_dark():
    entries = {"flat.tif": GRAY, "a.tif": GRAY}
    plan = folder(entries, CorrectionOptions(no_dark=True))
    assert [output.name for output in plan.outputs] == ["a"]
    assert plan.outputs[0].correction.dark.parts == ()
    assert "-o dark=none" in folder(entries).reason


def test_bliss_without_projections_says_so(file, rng):
    bliss(file, image(rng, 90, 2), image(rng, 900, 2), None)
    del file["4.1"]
    for scan in ("2.1", "3.1"):
        assert "no scan of projections in this acquisition" in file_plan(file, scan).reason
    assert file_plan(file, "1.1") is None


@pytest.mark.parametrize(
    ("title", "warned"),
    [
        ("projections 0 - 10", True),
        ("projections 20-30", True),
        ("projections 0 - 4", False),
        ("projections", False),
        ("projections of wood", False),
    ],
)
def test_bliss_scans_that_were_stopped(file, rng, title, warned):
    dark, flat, raw = image(rng, 90, 2), image(rng, 900, 2), image(rng, 400, 4)
    path = bliss(file, dark, flat, raw)
    del file[f"{path}/title"]
    file[f"{path}/title"] = title
    plan = file_plan(file, path)
    assert plan.outputs[0].shape == (4, *SHAPE)
    assert ["has 4 frames" in warning for warning in plan.warnings] == [True] * warned


@pytest.mark.parametrize("definition", [None, "NXtomo", "NXsomething"])
@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("instrument/detector", "data"),
        ("instrument/pco", "data"),
        ("instrument/pco", "frames"),
        ("data", "data"),
        ("data", "images"),
    ],
)
def test_keys_beside_a_stack(file, rng, group, name, definition):
    dark, flat, raw = image(rng, 90, 2), image(rng, 900, 3), image(rng, 400, 4)
    if definition:
        file["entry/definition"] = definition
    file["entry/instrument/source/name"] = "ESRF"
    file[f"entry/{group}/{name}"] = np.concatenate([dark, flat, raw])
    file[f"entry/{group}/image_key"] = [2, 2, 1, 1, 1, 0, 0, 0, 0]
    file[f"entry/{group}/rotation_angle"] = np.arange(9.0)
    plan = file_plan(file, "entry")
    made = all_corrected(plan, loading(file))["data"]
    assert np.array_equal(made, expected(raw, dark, flat))
    angles = next(extra.values for extra in plan.extras if extra.name == "rotation_angle")
    assert angles.tolist() == [5, 6, 7, 8]


def test_keys_without_a_stack_say_what_is_missing(file):
    file["entry/instrument/detector/image_key"] = [2, 1, 0]
    refused = file_plan(file, "entry")
    assert "entry/instrument/detector needs a stack `data`" in refused.reason


def test_bliss_detectors_are_corrected_one_by_one(file, rng):
    """A colour camera beside the detector, and one that has no flats, take nothing from it."""
    dark, flat, raw = image(rng, 90, 2), image(rng, 900, 3), image(rng, 400, 4)
    path = bliss(file, dark, flat, raw)
    for number in (2, 3, 4):
        file[f"{number}.1/instrument/webcam/data"] = np.ones((6, 8, 3), np.uint8)
        coloured(file, f"{number}.1/instrument/webcam/data")
    file[f"{path}/instrument/new/data"] = image(rng, 400, 4)
    plan = file_plan(file, path)
    assert [output.name for output in plan.outputs] == ["pco"]
    assert np.array_equal(all_corrected(plan, loading(file))["pco"], expected(raw, dark, flat))
    told = sorted(plan.notes)
    assert told[0].startswith("new is left out: BLISS scans: no dark image")
    assert told[1].startswith("webcam is left out: 2.1/instrument/webcam/data is a colour image")
