"""Conventions in folders: images by name, the folders of ID19, `.esrffs.toml`."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from esrffs.flatfield.conventions.queries import DescribeArray, ReadTextFile
from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, FrameRange
from tests.support.correction_plans import SHAPE, all_corrected, counts, folder_plan
from tests.support.flat_field import blend, divided, f32


@pytest.fixture
def rng():
    return np.random.default_rng(11)


# --- images by name


def plain(rng):
    images = {"dark_0.edf": counts(rng, None, 0, 99), "dark_1.edf": counts(rng, None, 0, 99)}
    images |= {"flat_0000.edf": counts(rng), "flat_0500.edf": counts(rng)}
    return images | {"wood.edf": counts(rng, 3), "wood_0250.tif": counts(rng)}


def test_plain(rng):
    images = plain(rng)
    made = all_corrected(folder_plan(images), images.__getitem__)
    dark = np.mean(f32([images["dark_0.edf"], images["dark_1.edf"]]), axis=0)
    a, b = images["flat_0000.edf"], images["flat_0500.edf"]
    assert sorted(made) == ["wood", "wood_0250"]
    expected = divided(images["wood_0250.tif"], dark, blend(a, b, 0.5))
    assert np.array_equal(made["wood_0250"], expected)
    for i, raw in enumerate(images["wood.edf"]):
        assert np.array_equal(made["wood"][i], divided(raw, dark, blend(a, b, i / 500)))


def test_the_trainings_folder(rng):
    images = {name: counts(rng) for name in ("dark.edf", "flat.edf", "data.edf")}
    made = all_corrected(folder_plan(images), images.__getitem__)
    expected = divided(images["data.edf"], images["dark.edf"], images["flat.edf"])
    assert list(made) == ["data"]
    assert np.array_equal(made["data"], expected)


def test_series_are_not_opened_file_by_file(rng):
    numbers = (0, 1, 4, 7)
    images = {f"wood_{n:04d}.edf": counts(rng) for n in numbers}
    images |= {"dark.edf": counts(rng, None, 0, 99), "flat_0000.edf": counts(rng)}
    images["flat_0008.edf"] = counts(rng)
    asked = []
    plan = folder_plan(images, series={"wood_####.edf": numbers}, asked=asked)
    described = {question.path for question in asked if isinstance(question, DescribeArray)}
    assert described == {"dark.edf", "flat_0000.edf", "flat_0008.edf", "wood_####.edf"}
    made = all_corrected(plan, images.__getitem__)
    assert list(made) == ["wood_####", "wood_0000", "wood_0001", "wood_0004", "wood_0007"]
    for k, n in enumerate(numbers):
        flat = blend(images["flat_0000.edf"], images["flat_0008.edf"], n / 8)
        expected = divided(images[f"wood_{n:04d}.edf"], images["dark.edf"], flat)
        assert np.array_equal(made["wood_####"][k], expected)
        assert np.array_equal(made[f"wood_{n:04d}"], expected)


def test_files_of_another_shape_are_left_out(rng):
    images = plain(rng) | {"thumbnail.jpg": np.zeros((2, 2), np.uint8)}
    plan = folder_plan(images)
    assert {output.name for output in plan.outputs} == {"wood", "wood_0250"}
    assert "thumbnail.jpg is left out" in plan.notes[0]


def test_files_of_one_stem_both_have_a_result(rng):
    """The tree makes their names differ, as it does everywhere."""
    plan = folder_plan(plain(rng) | {"wood.tif": counts(rng)})
    names = [output.name for output in plan.outputs]
    assert sorted(names) == ["wood", "wood", "wood_0250"]


def test_numbers_too_long_for_a_float_are_names(rng):
    images = plain(rng) | {"wood_" + "9" * 200 + ".edf": counts(rng)}
    at = {output.name: output.raw[0].abscissa for output in folder_plan(images).outputs}
    assert at["wood_" + "9" * 200] == 2


def test_no_file_of_the_right_shape(rng):
    images = {"dark.edf": counts(rng), "flat.edf": counts(rng), "raw.edf": np.zeros((2, 2))}
    refusal = folder_plan(images)
    assert "shapes do not agree" in refusal.reason
    assert "raw.edf" in refusal.reason


def test_dark_and_flat_disagree():
    images = {"dark.edf": np.zeros((2, 2)), "flat.edf": np.zeros((3, 3)), "raw.edf": np.zeros(1)}
    assert "(3, 3)" in folder_plan(images).reason


@pytest.mark.parametrize("missing", ["dark", "flat"])
def test_missing(rng, missing):
    images = {name: one for name, one in plain(rng).items() if not name.startswith(missing)}
    assert f"no {missing}" in folder_plan(images).reason


def test_other_folders_are_not_spoken_of(rng):
    assert folder_plan({"a.edf": counts(rng), "b.edf": counts(rng)}) is None
    assert folder_plan({}, {"notes.txt": "", "x.info": ""}) is None
    asked = []
    folder_plan({f"a_{k}.edf": counts(rng) for k in range(9)}, asked=asked)
    assert len(asked) == 1


# --- ID19

INFO = """Prefix=                 bone_
TOMO_N=                 6
REF_ON=                 3   # every three
REF_N=                  2
DARK_N=                 20
Distance=               12.5
"""


def id19(rng):
    images = {"darkend0000.edf": counts(rng, None, 0, 2000)}
    images |= {f"ref{k:04d}_{at:04d}.edf": counts(rng) for k in range(3) for at in (0, 6)}
    images |= {"refHST0003.edf": f32(counts(rng))}
    images |= {f"ref{k:04d}_0003.edf": counts(rng) for k in range(3)}  # what it was made from
    images |= {f"bone_{k:04d}.edf": counts(rng) for k in range(8)}
    return images | {"bone__slice_0001.edf": counts(rng), "other.edf": np.zeros((9, 9))}


@pytest.mark.parametrize("info", ["bone_.info", None])
def test_id19(rng, info):
    images = id19(rng)
    if info is None:
        images["dark.edf"] = images.pop("darkend0000.edf") / np.float32(20)
    plan = folder_plan(images, {info: INFO} if info else {})
    assert plan.notes == ()
    made = all_corrected(plan, images.__getitem__)
    assert sorted(made) == [f"bone_{k:04d}" for k in range(8)]
    dark = f32(images["darkend0000.edf"]) / np.float32(20) if info else images["dark.edf"]
    runs = {at: [images[f"ref{k:04d}_{at:04d}.edf"] for k in range(3)] for at in (0, 6)}
    flats = {at: np.median(f32(run), axis=0) for at, run in runs.items()}
    flats[3] = images["refHST0003.edf"]
    for i in range(8):
        a, b = (0, 3) if i < 3 else (3, 6)
        flat = blend(flats[a], flats[b], np.clip((i - a) / (b - a), 0, 1))
        assert np.array_equal(
            made[f"bone_{i:04d}"], divided(images[f"bone_{i:04d}.edf"], dark, flat)
        )


def test_id19_accumulated_dark_without_info(rng):
    plan = folder_plan(id19(rng), {"bone_.info": "Prefix = bone_"})
    assert "DARK_N" in plan.notes[0]
    assert plan.outputs[0].correction.dark.divisor == 1


def test_id19_dark_edf_is_not_divided(rng):
    images = id19(rng) | {"dark.edf": counts(rng)}
    dark = folder_plan(images, {"bone_.info": INFO}).outputs[0].correction.dark
    assert (dark.parts, dark.divisor) == ((FrameRange("dark.edf", 0, 1, is_image=True),), 1)


def test_id19_missing(rng):
    images = id19(rng)
    del images["darkend0000.edf"]
    assert "no dark" in folder_plan(images, {"bone_.info": INFO}).reason
    images = {name: one for name, one in id19(rng).items() if not name.startswith("bone")}
    assert "bone_NNNN" in folder_plan(images, {"bone_.info": INFO}).reason


# --- .esrffs.toml


def toml(text, images, options=None):
    return folder_plan(images, {".esrffs.toml": text}, options=options)


def test_toml_short(rng):
    images = {"a.edf": counts(rng), "beam.edf": counts(rng), "closed.edf": counts(rng, None, 0, 9)}
    plan = toml('[[corrected]]\nraw="a.edf"\nflat="beam.edf"\ndark="closed.edf"', images)
    made = all_corrected(plan, images.__getitem__)
    expected = divided(images["a.edf"], images["closed.edf"], images["beam.edf"])
    correction = plan.outputs[0].correction
    assert (correction.dark.reduction, correction.flats[0].frames.reduction) == ("mean", "median")
    assert list(made) == ["a"]
    assert np.array_equal(made["a"], expected)


def test_toml_long(rng):
    images = {"scan.h5::entry/data": counts(rng, 20), "end.edf": counts(rng)}
    text = """
    [[corrected]]
    name = "sample"
    raw = "scan.h5::/entry/data[8:18]"
    at = 100
    dark = "scan.h5::/entry/data[0:4]"
    dark_reduction = "median"
    dark_n = 2
    flat = [
        { from = "scan.h5::/entry/data[4:7]", at = 100 },
        { from = ["end.edf", "end.edf"], at = 110 },
    ]
    flat_reduction = "mean"
    interpolation = "nearest"
    nan = 1
    """
    plan = toml(text, images)
    (output,) = plan.outputs
    assert (output.name, output.shape) == ("sample", (10, *SHAPE))
    assert output.raw[0].abscissa == 100
    assert (output.correction.method, output.correction.nan) == ("nearest", 1)
    assert output.correction.dark.divisor == 2
    assert output.correction.dark.reduction == "median"
    assert [flat.frames.reduction for flat in output.correction.flats] == ["mean", "mean"]
    assert len(output.correction.flats[1].frames.parts) == 2


def test_toml_many(rng):
    images = {f"p_{k}.edf": counts(rng) for k in (3, 1, 7)} | {"d.edf": counts(rng)}
    images |= {"f_0.edf": counts(rng), "f_10.edf": counts(rng), "stack.edf": counts(rng, 9)}
    text = """
    [[corrected]]
    raw = "p_*.edf"
    flat = ["f_0.edf", "f_10.edf"]
    dark = "d.edf"
    [[corrected]]
    raw = "stack.edf[2:4]"
    flat = "f_*.edf"
    dark = ["d.edf"]
    """
    plan = toml(text, images)
    at = {output.name: output.raw[0].abscissa for output in plan.outputs}
    assert at == {"p_1": 1, "p_3": 3, "p_7": 7, "stack": 2}
    assert [flat.abscissa for flat in plan.outputs[0].correction.flats] == [0, 10]
    assert len(plan.outputs[-1].correction.flats) == 1


GOOD = {"raw": '"a.edf"', "flat": '"b.edf"', "dark": '"c.edf"'}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"raw": None}, "`raw`: expected a text"),
        ({"dark": None}, "`dark`: expected a text"),
        ({"flat": None}, "`flat`: expected a text, texts, or tables"),
        ({"flat": "[]"}, "`flat`: expected a text, texts, or tables"),
        ({"flat": '[{from="b.edf"}]'}, "`flat`: expected a text, texts, or tables"),
        ({"flat": '[{from="b.edf", at="x"}]'}, "`flat.at`: expected a number"),
        ({"flat": '[{from="b.edf", at=nan}]'}, "`flat.at`: expected a number"),
        ({"flat": '[{from="b.edf", at=inf}]'}, "`flat.at`: expected a number"),
        ({"at": "1" + "0" * 400}, "`at`: expected a number"),
        ({"raw": f'"a.edf[0:{"9" * 5000}]"'}, "`raw`: no image"),
        ({"dark": "true"}, "`dark`: expected a text"),
        ({"dark": "inf"}, "`dark`: expected a number"),
        ({"dark": '""'}, "`dark`: expected a text"),
        ({"raw": '"z.edf"'}, "`raw`: no image or stack of numbers at 'z.edf'"),
        ({"raw": '"z*.edf"'}, "`raw`: no file is called 'z*.edf'"),
        ({"raw": '"/etc/a.edf"'}, "`raw`: '/etc/a.edf' leads out of the folder"),
        ({"raw": '"x/../../y.edf"'}, "no image or stack of numbers at '../y.edf'"),
        ({"raw": '"a.edf[0:2]"'}, "`raw`: 'a.edf[0:2]': expected frames within [0:1]"),
        ({"raw": '"a.edf[1:1]"'}, "expected frames within [0:1]"),
        ({"raw": '"big.edf"'}, "`raw`: shapes do not agree"),
        ({"flat": '"big.edf"'}, "`flat`: shapes do not agree"),
        ({"name": '"x/y"'}, "`name`: expected a file name"),
        ({"name": "3"}, "`name`: expected a text"),
        ({"name": '"x"', "raw": '"?.edf"'}, "`name`: expected a file name, and a single"),
        ({"at": '"number"'}, "`at`: expected a number"),
        ({"at": '"name"'}, "`at`: 'a.edf' has no number in its name"),
        ({"darks": '"c.edf"'}, "`darks`: unknown key; did you mean `dark`?"),
        ({"colour": '"c.edf"'}, "`colour`: unknown key; expected name, raw"),
        ({"interpolation": '"cubic"'}, "`interpolation`: expected one of linear, nearest, first"),
        ({"interpolation": "[1]"}, "`interpolation`: expected one of linear, nearest, first"),
        ({"dark_reduction": '"max"'}, "`dark_reduction`: expected one of mean, median"),
        ({"dark_n": "0"}, "`dark_n`: expected a whole number from 1 on"),
        ({"nan": '"one"'}, "`nan`: expected a number"),
    ],
)
def test_toml_mistakes(change, told):
    images = {name: np.ones(SHAPE) for name in ("a.edf", "b.edf", "c.edf")}
    images["big.edf"] = np.ones((9, 9))
    keys = {key: value for key, value in (GOOD | change).items() if value is not None}
    text = "[[corrected]]\n" + "\n".join(f"{key} = {value}" for key, value in keys.items())
    refusal = toml(text, images)
    assert refusal.reason.startswith(".esrffs.toml: [[corrected]] number 1: ")
    assert told in refusal.reason


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[corrected]", "not TOML"),
        ("[corrected]\nraw=3", "expected one or more tables [[corrected]]"),
        (f"x = {'[' * 5000}", "not TOML"),
        (f"x = {'9' * 5000}", "not TOML"),
        ("x" + ".x" * 30_000 + " = 1", "a line with more than 100 dots"),
        ("#" * 70_000, "longer than 65536 bytes"),
        ("", "expected one or more tables [[corrected]]"),
        ("[[correct]]", "unknown key `correct`"),
        ("corrected = [1]", "expected one or more tables [[corrected]]"),
    ],
)
def test_toml_that_is_not_the_schema(text, told):
    assert told in toml(text, {}).reason


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[corrected]]\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (b"\xfe\xff" + "[[corrected]]\n".encode("utf-16-be"), "it is UTF-16; save it as UTF-8"),
        ("[[corrected]]\n".encode("utf-16-le"), "it holds NULs, as UTF-16 does; save it as UTF-8"),
        (b"# a\n# \xe9\n", "line 2 holds bytes that are no UTF-8; save it as UTF-8"),
        (b"x = " + b"9" * 5000, "not TOML: a date or number makes no sense"),
        (b"x = " + b"[" * 5000, "not TOML: arrays or tables are nested too deep"),
    ],
)
def test_what_is_no_toml_is_told_in_a_sentence(content, told):
    refusal = toml(content.decode("utf-8", "surrogateescape"), {})
    assert refusal.reason.startswith(f".esrffs.toml: {told}")


@pytest.mark.parametrize(
    "flat",
    [
        str(["*"] * 12_000),  # each of 500 names would be looked at so often, and taken
        str(["*?" * 20_000]),
        str([f"{'*a' * 100}{number}" for number in range(200)]),
    ],
)
def test_toml_that_asks_too_much(flat):
    """The mount stands still meanwhile."""
    images = dict.fromkeys((f"{'a' * 200}{number:03}.edf" for number in range(500)), np.ones(SHAPE))
    started = time.process_time()
    refusal = toml(f"[[corrected]]\nraw='*'\ndark='*0.edf'\nflat={flat}", images)
    assert time.process_time() - started < 15
    assert re.search("too many files|no file is called", refusal.reason)


def test_toml_twice_the_same_name():
    one = "[[corrected]]\n" + "\n".join(f"{key} = {value}" for key, value in GOOD.items())
    images = {name: np.ones(SHAPE) for name in ("a.edf", "b.edf", "c.edf")}
    assert "two results 'a'" in toml(one + "\n" + one, images).reason


def test_toml_unreadable_and_in_force_alone(rng):
    images = plain(rng)
    assert isinstance(folder_plan(images), CorrectionPlan)
    refusal = toml("[[corrected]]\nraw='x'", images)
    assert refusal.reason.startswith(".esrffs.toml")
    assert (
        "norm=current" in toml("[[corrected]]", images, CorrectionOptions(norm_current=True)).reason
    )


def test_toml_is_read_as_a_file(rng):
    asked = []
    folder_plan(plain(rng), {".esrffs.toml": ""}, asked=asked)
    assert asked[1:] == [ReadTextFile(".esrffs.toml")]


def test_the_examples_of_the_documentation(rng):
    text = (Path(__file__).parents[4] / "docs" / "corrected.md").read_text()
    short, several, stack, turn = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    names = (
        "wood.edf wood_0.edf wood_7.edf beam.edf beam_0.edf beam_1500.edf closed.edf closed_1.edf"
    )
    images = {name: counts(rng) for name in names.split()}
    images |= {"scan.h5::entry/data": counts(rng, 1540), "after.h5::entry/data": counts(rng, 20)}
    assert [output.name for output in toml(short, images).outputs] == ["wood"]
    assert [output.raw[0].abscissa for output in toml(several, images).outputs] == [0, 7]
    (bone,) = toml(stack, images).outputs
    assert (bone.name, bone.shape[0], bone.raw[0].abscissa) == ("bone", 1500, 0)
    assert [flat.abscissa for flat in bone.correction.flats] == [0, 1500]
    images |= {"turn2.h5::measurement/images": counts(rng, 300)}
    images |= {"turn2.h5::measurement/keys": np.zeros(300, int)}
    images |= {"../night/flats.h5::entry/data": counts(rng, 5)}
    (second,) = toml(turn, images).outputs
    assert (second.name, second.shape[0], len(second.raw)) == ("images", 289, 3)
    mistake = toml('[[corrected]]\ndarks = "x"', {}).reason
    assert mistake in text


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_toml_with_a_byte_order_mark(rng, end):
    images = {name: counts(rng) for name in ("a.edf", "b.edf", "c.edf")}
    lines = ["\ufeff[[corrected]]", *(f"{key} = {value}" for key, value in GOOD.items())]
    assert [output.name for output in toml(end.join(lines), images).outputs] == ["a"]
