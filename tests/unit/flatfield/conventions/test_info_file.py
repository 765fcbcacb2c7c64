"""roles_info: the counts of an `.info` file, and what becomes of `darkend`."""

import numpy as np
import pytest

from esrffs.flatfield.conventions.info_file import counts
from esrffs.flatfield.plan import ConventionError, CorrectionPlan
from tests.support.correction_plans import folder_plan


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
@pytest.mark.parametrize(
    "text",
    [
        "DARK_N=                 5",
        "DARK_N=               5.0",
        "DARK_N= 5 \t# summed",
        "dark_n= 5",
        "Dark_N=5.",
        "  DARK_N = 0005",
        "DARK_N\t=\t+5",
        "DARK_N=5e0",
        "DARK_N=0.5E1#",
        "DARK_N=5" + " " * 200,
        "DARK_N=5\nDARK_N= 5.0",
    ],
)
def test_plain_numbers(text, end):
    assert counts("x.info", f"TOMO_N= 2{end or chr(10)}{text}{end}".encode())["dark_n"] == 5


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"], ids=lambda one: one
)
def test_encodings(encoding):
    content = "DARK_N= 5\nComment= d'où\n".encode(encoding)
    assert counts("x.info", content) == {"dark_n": 5}


@pytest.mark.parametrize(
    "value",
    ["five", "", "5 frames", "5,0", "0x5", "5;", '"5"', "nan", "inf", "-", "5 6", "٥", "1e400"],
)
@pytest.mark.parametrize("key", ["DARK_N", "TOMO_N", "ref_on"])
def test_no_numbers(key, value):
    with pytest.raises(ConventionError) as refused:
        counts("x.info", f"A= 1\n{key} = {value} # why\nB= 2".encode())
    quoted = value.encode().decode("latin-1")
    assert f"x.info: {key} is {quoted!r}, which is no number" in str(refused.value)


@pytest.mark.parametrize("value", ["0", "-5", "5.5", "0.1"])
def test_exposures_are_counted(value):
    with pytest.raises(ConventionError, match=f"DARK_N is '{value}', not a whole number from 1 on"):
        counts("x.info", f"DARK_N={value}".encode())


def test_a_key_without_equals_sign_is_not_absent():
    with pytest.raises(ConventionError, match="DARK_N is 'none', which is no number"):
        counts("x.info", b"DARK_N none")


def test_two_values():
    with pytest.raises(ConventionError, match="DARK_N is 5, and '7' further on"):
        counts("x.info", b"DARK_N=5\nDARK_N=7")


def test_other_keys_may_be_anything():
    text = b"Prefix= x\nDARK_NAME= none\n# DARK_N= x\nMYDARK_N= x\n\n=\n"
    assert counts("x.info", text) == {}


IMAGES = {name: np.ones((3, 4)) for name in ("darkend0000.edf", "ab_0000.edf", "ab_0001.edf")}


@pytest.mark.parametrize("flat", ["refHST0000.edf", "flat.edf"])
def test_refusal_and_division(flat):
    images = IMAGES | {flat: np.ones((3, 4))}
    refused = folder_plan(images, {"ab_.info": "DARK_N= about 5"})
    assert "ab_.info: DARK_N is 'about 5', which is no number" in refused.reason
    plan = folder_plan(images, {"ab_.info": "DARK_N= 5.0"})
    assert isinstance(plan, CorrectionPlan)
    assert {output.correction.dark.divisor for output in plan.outputs} == {5}
    assert plan.notes == ()
    plan = folder_plan(images, {"ab_.info": "TOMO_N= 2"})
    assert "no DARK_N" in plan.notes[0]


def test_a_dark_of_one_exposure_serves_before_the_sum():
    images = IMAGES | {"flat.edf": np.ones((3, 4)), "dark.edf": np.ones((3, 4))}
    dark = folder_plan(images, {"ab_.info": "DARK_N= 5"}).outputs[0].correction.dark
    assert ([part.path for part in dark.parts], dark.divisor) == (["dark.edf"], 1)
