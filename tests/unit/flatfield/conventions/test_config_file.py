"""`.esrffs.toml`: what it may name besides files of its folder, and what is said of mistakes."""

import numpy as np
import pytest

from esrffs.flatfield.plan import CorrectionOptions, CorrectionPlan, Rejected
from tests.support.correction_plans import all_corrected, folder_plan, provenance_of
from tests.support.flat_field import divided, f32

SHAPE = (3, 4)


def images(*names, n=None):
    rng = np.random.default_rng(3)
    shape = SHAPE if n is None else (n, *SHAPE)
    return {name: rng.integers(100, 60000, shape).astype(np.uint16) for name in names}


def table(**keys):
    lines = ["[[corrected]]", *(f"{key} = {value}" for key, value in keys.items())]
    return {".esrffs.toml": "\n".join(lines)}


GOOD = {"raw": '"a.edf"', "flat": '"b.edf"', "dark": '"c.edf"'}


def made(known, options=None, **keys):
    found = folder_plan(known, table(**keys), options=options)
    assert isinstance(found, CorrectionPlan), found
    return found


def refused(known, **keys):
    found = folder_plan(known, table(**keys))
    assert isinstance(found, Rejected), found
    return found.reason


# --- where the arrays are


@pytest.mark.parametrize(
    ("raw", "flat", "dark"),
    [
        ("Tomo/w_0.edf", "Flat/b.edf", "Dark/c.edf"),
        ("../Tomo/w_0.edf", "../../Flat/b.edf", "a/b/c/c.edf"),
        ("./w_0.edf", "Flat//b.edf", "x/../c.edf"),
    ],
)
def test_other_folders(raw, flat, dark):
    from posixpath import normpath

    paths = [normpath(path) for path in (raw, flat, dark)]
    known = images(*paths)
    plan = made(known, raw=f'"{raw}"', flat=f'"{flat}"', dark=f'"{dark}"')
    expected = divided(*(known[paths[k]] for k in (0, 2, 1)))
    assert np.array_equal(all_corrected(plan, known.__getitem__)["w_0"], expected)


def test_patterns_in_other_folders():
    known = images("T/w_0.edf", "T/w_5.edf", "T/.w_9.edf", "F/f_0.edf", "F/f_10.edf", "D/d.edf")
    plan = made(known, raw='"T/w_*.edf"', flat='["F/f_0.edf", "F/f_10.edf"]', dark='"D/*.edf"')
    assert {one.name: one.raw[0].abscissa for one in plan.outputs} == {
        "w_0": 0,
        "w_5": 5,
    }
    assert [flat.abscissa for flat in plan.outputs[0].correction.flats] == [0, 10]


def test_numbers_are_those_that_differ():
    known = images("w_0000_b2.edf", "w_0050_b2.edf", "f_0000_b2.edf", "f_0100_b2.edf", "c.edf")
    flat = '["f_0000_b2.edf", "f_0100_b2.edf"]'
    plan = made(known, raw='"w_*.edf"', flat=flat, dark='"c.edf"')
    assert [one.raw[0].abscissa for one in plan.outputs] == [0, 50]
    assert [one.abscissa for one in plan.outputs[0].correction.flats] == [0, 100]
    assert plan.notes == ()


def test_one_number_for_all_is_told():
    known = images("a_2.edf", "b_2.edf", "f_2.edf", "g_2.edf", "c.edf")
    plan = made(known, raw='["a_2.edf", "b_2.edf"]', flat='["f_2.edf", "g_2.edf"]', dark='"c.edf"')
    assert [
        "f_2, g_2" in plan.notes[0],
        "a_2.edf, b_2.edf" in plan.notes[1],
    ] == [True, True]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("raw", "z.edf", "at 'z.edf'; 'this folder' has Dark, a.edf, b.edf, c.edf, s.h5"),
        (
            "raw",
            "z*.edf",
            "no file is called 'z*.edf'; 'this folder' has a.edf, b.edf, c.edf, s.h5",
        ),
        ("dark", "Dark/z.edf", "at 'Dark/z.edf'; 'Dark' has d.edf"),
        ("dark", "Dark/z*", "no file is called 'Dark/z*'; 'Dark' has d.edf"),
        ("dark", "Drak/d.edf", "at 'Drak/d.edf'; nothing can be found in 'Drak'"),
        ("dark", "Drak/d.edf", "in 'Drak'; 'this folder' has Dark, a.edf, b.edf, c.edf, s.h5"),
        ("dark", "Drak/d*", "no file is called 'Drak/d*'; nothing can be found in 'Drak'; 'this"),
        ("dark", "Dark/x/y/d.edf", "nothing can be found in 'Dark/x/y'; 'Dark' has d.edf"),
        ("dark", "../../d.edf", "in '../..': it leads out of the source, or nowhere"),
        ("dark", "Dark", "at 'Dark'; it is a folder; 'Dark' has d.edf"),
        ("flat", "s.h5", "a path in the file is needed, as in 's.h5::/'…; 's.h5::/' has entry"),
        ("flat", "s.h5::/entry", "it is a group; 's.h5::/entry' has data, keys"),
        ("flat", "s.h5::/entry/dat", "at 's.h5::entry/dat'; 's.h5::/entry' has data, keys"),
        ("flat", "s.h5::/entri/data", "'s.h5::/' has entry"),
        ("raw", "*/a.edf", "`*` and `?` may stand in the last name only"),
    ],
)
def test_what_is_there_is_told(key, value, told):
    known = images("a.edf", "b.edf", "c.edf", "Dark/d.edf", "s.h5::entry/data", "s.h5::entry/keys")
    reason = refused(known, **(GOOD | {key: f'"{value}"'}))
    assert reason.startswith(f".esrffs.toml: [[corrected]] number 1: `{key}`: ")
    assert told in reason


@pytest.mark.parametrize("key", ["raw", "flat", "dark"])
def test_what_is_missing_is_told(key):
    known = images("a.edf", "b.edf", "c.edf")
    reason = refused(known, **{name: value for name, value in GOOD.items() if name != key})
    assert f"`{key}`: expected a text" in reason
    assert reason.endswith("; it is missing")


def test_numbers_of_images_that_are_not_left_out_are_told():
    names = [f"w_{number:02d}.edf" for number in range(5, 15)]
    known = images(*names, "b.edf", "c.edf")
    reason = refused(known, **(GOOD | {"raw": '"w_*.edf"', "leave_out": "[7, 40]"}))
    assert "no frame 40; there are 5 (w_05.edf), 6 (w_06.edf)" in reason
    assert reason.endswith(", … (10 in all)")


def test_folders_are_looked_into_as_long_as_they_are_not_too_many():
    names = [f"d{number}/x*" for number in range(101)]
    known = images("a.edf", "b.edf", *(f"d{number}/x.edf" for number in range(101)))
    listed = "[" + ",\n".join(f'"{name}"' for name in names) + "]"
    assert "`dark`: too many folders" in refused(known, **(GOOD | {"dark": listed}))


# --- darks


@pytest.mark.parametrize("dark", ["0", "0.0", "100", "99.5", "-3"])
def test_a_constant_dark(dark):
    known = images("a.edf", "b.edf")
    plan = made(known, **(GOOD | {"dark": dark}))
    expected = divided(known["a.edf"], np.full(SHAPE, float(dark)), known["b.edf"])
    assert np.array_equal(all_corrected(plan, known.__getitem__)["a"], expected)
    assert provenance_of(plan)["dark"] == {"constant": float(dark)}


def test_no_dark_where_the_mount_says_so():
    known = images("a.edf", "b.edf", "c.edf")
    keys = {key: value for key, value in GOOD.items() if key != "dark"}
    plan = made(known, CorrectionOptions(no_dark=True), **keys)
    assert plan.outputs[0].correction.dark.parts == ()
    assert made(known, CorrectionOptions(no_dark=True), **GOOD).outputs[0].correction.dark.parts


@pytest.mark.parametrize(("flat_dark", "values"), [('"d.edf"', None), ("50", 50.0)])
@pytest.mark.parametrize("scale", [None, 2.5])
def test_a_dark_for_the_flats(flat_dark, values, scale):
    known = images("a.edf", "b.edf", "c.edf", "d.edf")
    more = {"flat_dark": flat_dark} | ({"scale": scale} if scale else {})
    plan = made(known, **GOOD, **more)
    own = known["d.edf"] if values is None else np.full(SHAPE, values)
    expected = divided(known["a.edf"], known["c.edf"], known["b.edf"], own)
    expected *= np.float32(scale or 1)
    assert np.array_equal(all_corrected(plan, known.__getitem__)["a"], expected)
    told = provenance_of(plan)
    assert told["formula"] == "(raw - dark) / (flat - flat_dark)" + (" * scale" if scale else "")
    named = {"frames": ["d.edf"], "reduction": None}
    assert told["flat_dark"] == (named if values is None else {"constant": 50.0})
    assert told.get("scale") == scale


# --- frames to leave out


@pytest.mark.parametrize(
    ("left_out", "kept"),
    [
        ("[3]", [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        ("3", [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        ('"0:4"', [4, 5, 6, 7, 8, 9]),
        ('[0, 9, "2:5", 3, "4:6"]', [1, 6, 7, 8]),
        ('["8:99"]', [0, 1, 2, 3, 4, 5, 6, 7]),
        ("[]", list(range(10))),
    ],
)
def test_frames_of_a_stack_are_left_out(left_out, kept):
    known = images("s.edf", n=10) | images("b.edf", "c.edf")
    plan = made(known, **(GOOD | {"raw": '"s.edf"', "leave_out": left_out}))
    (output,) = plan.outputs
    assert output.shape == (len(kept), *SHAPE)
    frames = [
        (part.first + k, stretch.abscissa + k)
        for stretch in output.raw
        for part in [stretch.part]
        for k in range(part.last - part.first)
    ]
    assert frames == [(frame, float(frame)) for frame in kept]
    result = all_corrected(plan, known.__getitem__)["s"]
    expected = divided(known["s.edf"][kept], known["c.edf"], known["b.edf"])
    assert np.array_equal(result, expected)


def test_images_are_left_out_by_their_numbers():
    known = images("w_0.edf", "w_5.edf", "w_7.edf", "b.edf", "c.edf")
    plan = made(known, **(GOOD | {"raw": '"w_*.edf"', "leave_out": '[5, "7:9"]'}))
    assert [output.name for output in plan.outputs] == ["w_0"]


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("[12]", "no frame 12; there are s.edf[0:10]"),
        ('["10:12"]', "no frame '10:12'; there are s.edf[0:10]"),
        ('["0:10"]', "every frame is left out"),
        ('["5:5"]', "expected numbers and spans"),
        ('["3-5"]', "expected numbers and spans"),
        ("[-1]", "expected numbers and spans"),
        ("[1.5]", "expected numbers and spans"),
        ("[true]", "expected numbers and spans"),
        (str(list(range(1001))), "more than 1000 numbers and spans"),
    ],
)
def test_mistakes_in_what_is_left_out(left_out, told):
    known = images("s.edf", n=10) | images("b.edf", "c.edf")
    reason = refused(known, **(GOOD | {"raw": '"s.edf"', "leave_out": left_out}))
    assert f"`leave_out`: {told}" in reason


# --- data and keys


KEYS = [2, 2, 1, 1, 0, 0, 3, 0, 1, 0]


def keyed(keys=KEYS, n=10):
    return images("s.h5::m/img", n=n) | {"s.h5::m/key": np.array(keys)} | images("b.edf", "c.edf")


PLACES = {"data": '"s.h5::/m/img"', "keys": '"s.h5::/m/key"'}


def test_data_and_keys_at_own_paths():
    known = keyed()
    plan = made(known, **PLACES)
    (output,) = plan.outputs
    assert (output.name, output.shape) == ("img", (4, *SHAPE))
    stack = f32(known["s.h5::m/img"])
    dark = np.mean(stack[:2], axis=0)
    flats = [np.median(stack[2:4], axis=0), stack[8]]
    result = all_corrected(plan, known.__getitem__)["img"]
    for k, frame in enumerate((4, 5, 7, 9)):
        w = np.float64(min((frame - 2) / 6, 1))
        flat = (flats[0] * (1 - w) + flats[1] * w).astype(np.float32) if frame < 8 else flats[1]
        assert np.array_equal(result[k], divided(stack[frame], dark, flat))


def test_darks_and_flats_of_another_file_serve_instead():
    known = keyed([0, 0, 0, 0, 3, 0, 0, 0, 0, 0])
    plan = made(known, **PLACES, flat='"b.edf"', dark='"c.edf"', name='"turn2"')
    stack = known["s.h5::m/img"]
    kept = [k for k in range(10) if k != 4]
    result = all_corrected(plan, known.__getitem__)["turn2"]
    assert np.array_equal(result, divided(stack[kept], known["c.edf"], known["b.edf"]))


def test_frames_with_keys_are_left_out():
    plan = made(keyed(), **PLACES, leave_out='[0, 3, "8:10"]')
    (output,) = plan.outputs
    assert [str(stretch.part) for stretch in output.raw] == ["s.h5::m/img[4:6]", "s.h5::m/img[7:8]"]
    assert [str(part) for part in output.correction.parts] == [
        "s.h5::m/img[1:2]",
        "s.h5::m/img[2:3]",
    ]


def test_fewer_frames_than_keys():
    plan = made(keyed(n=6), **PLACES)
    assert plan.outputs[0].shape == (2, *SHAPE)
    assert "has 6 frames, s.h5::/m/key has 10 keys" in plan.warnings[0]


@pytest.mark.parametrize(
    ("known", "keys", "told"),
    [
        (keyed(), {"keys": '"s.h5::/m/kei"'}, "no small array of numbers at 's.h5::/m/kei'; "
         "'s.h5::/m' has img, key"),
        (keyed(), {"data": '"s.h5::/m/image"'}, "'s.h5::/m' has img, key"),
        (keyed(n=12), {}, "has 12 frames: more than keys"),
        (keyed([0, 0, 1, 1]), {}, "more than keys"),
        (keyed([1] * 10), {}, "`keys`: no projection"),
        (keyed([0] * 10), {}, "`keys`: no dark: no frame has 2; name one as `dark`"),
        (keyed([0] * 5 + [2] * 5), {}, "`keys`: no flat: no frame has 1; name one as `flat`"),
        (keyed([[0]] * 10), {}, "no keys of frames"),
        (keyed(list("abcdefghij")), {}, "no keys of frames"),
        (keyed(), {"raw": '"b.edf"'}, "`data`: expected together with `keys`, and without `raw`"),
        (keyed(), {"data": '"s.h5::/m/img[0:3]"'}, "`data`: expected one stack"),
        (keyed(), {"keys": "3"}, "`keys`: expected a text such as"),
    ],
)  # fmt: skip
def test_mistakes_of_data_and_keys(known, keys, told):
    assert told in refused(known, **(PLACES | keys))


def test_keys_alone():
    assert "expected together with `keys`" in refused(keyed(), keys='"s.h5::/m/key"')
