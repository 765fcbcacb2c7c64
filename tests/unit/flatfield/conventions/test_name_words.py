"""roles_names: which number a name has, and which word it begins with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esrffs.flatfield.conventions.name_words import (
    abscissae,
    frame_numbers,
    is_dark,
    is_flat,
    listed,
    shared_numbers,
    stem,
)

NUMBERS = ["0000", "0050", "0100"]
ANGLES = ["000.0", "000.5", "001.0"]


@pytest.mark.parametrize("numbers", [NUMBERS, ANGLES, ["8", "9", "10"], ["1", "2.25", "30"]])
@pytest.mark.parametrize(
    "pattern",
    [
        "scan_{}",
        "{}",
        "scan_{}_bin2",
        "2024-11-28_scan_{}_bin2_12.5keV",
        "a1b2c3_{}",
        "{}_7_8_9",
        "wood{}mm",
    ],
)
def test_the_run_that_differs(pattern, numbers):
    names = [pattern.format(number) for number in numbers]
    assert frame_numbers(names) == [float(number) for number in numbers]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["scan_0050_bin2"], [2]),  # none differs: the last
        (["a_2", "b_2"], [2, 2]),
        (["1_5", "2_6", "3_7"], [5, 6, 7]),  # all differ alike: the last
        (["0000_T21.3", "0001_T21.4", "0002_T21.3"], [0, 1, 2]),  # only one tells all apart
        (["0000_0", "0001_0", "0000_500", "0001_500"], [0, 0, 500, 500]),  # none tells all apart
        (["before_0000_bin2", "after_0100_bin2"], [0, 100]),  # alone with their texts
        (["s_0_bin2", "s_5_bin2", "extra_7_bin2"], [0, 5, 7]),
        (["s_0_bin2", "s_5_bin2", "overview", "x_3"], [0, 5, None, 3]),
        (["wood", "stone"], [None, None]),
        (["w_" + "9" * 16, "w_" + "8" * 200], [None, None]),
        (["w_٣", "w_٤"], [None, None]),
        ([], []),
    ],
)
def test_which_run_it_is(names, numbers):
    assert frame_numbers(names) == numbers


@given(
    st.lists(st.integers(0, 10**12), min_size=2, max_size=9, unique=True),
    st.text("ab_-", max_size=5),
    st.text("ab_-", max_size=5),
    st.integers(0, 99),
    st.integers(0, 99),
)
def test_constant_numbers_around_it_do_not_matter(values, before, after, first, last):
    names = [f"{first}{before}_{value:05d}_{after}{last}" for value in values]
    assert frame_numbers(names) == values


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wood_0001.edf", "wood_0001"),
        ("wood_0001.edf.gz", "wood_0001"),
        ("wood_000.5.tif.bz2", "wood_000.5"),
        ("Tomo/wood_1.tif", "wood_1"),
        ("wood", "wood"),
        (".hidden", ".hidden"),
        ("wood.0001", "wood.0001"),  # Bruker
    ],
)
def test_stem(name, expected):
    assert stem(name) == expected


def test_an_extension_of_digits_is_a_number_of_its_own():
    assert abscissae(["wood12.0001", "wood12.0500"]) == [1, 500]
    assert abscissae(["wood12.0.tif", "wood12.5.tif"]) == [12, 12.5]
    assert abscissae(["b.tif", "a.tif"]) == [0, 1]


@pytest.mark.parametrize("word", "flat flats flatfield ref refHST FLAT Flats".split())
@pytest.mark.parametrize("rest", ["", "_0001", "0001", "-a", ".x", " after", "_before"])
def test_flats(word, rest):
    assert is_flat(word + rest)
    assert is_flat("folder/" + word + rest)
    assert not is_dark(word + rest)


@pytest.mark.parametrize("word", "dark darks darkend darkfield Dark DARKEND".split())
@pytest.mark.parametrize("rest", ["", "_0001", "0001", "-a", ".x", " after", "_before"])
def test_darks(word, rest):
    assert is_dark(word + rest)
    assert not is_flat(word + rest)


@pytest.mark.parametrize(
    "name",
    "flatworm_0000 flatworms flattened_1 flatfields reference_1 refraction refHSTx flaté "
    "darkwood_0000 darkness darkroom darkfields darkends aflat a_flat wood".split(),
)
def test_other_words(name):
    assert not is_flat(name)
    assert not is_dark(name)


def test_one_number_for_all_is_told():
    (note,) = shared_numbers("raw image", ["a_2.edf", "b_2.edf"], [2.0, 2.0])
    assert "2, in the names of a_2.edf, b_2.edf" in note
    assert shared_numbers("raw image", ["a_2.edf", "b_3.edf", "c_3.edf"], [2.0, 3.0, 3.0]) == []
    assert shared_numbers("raw image", ["a_2.edf"], [2.0]) == []
    (note,) = shared_numbers("flat", ["flat_a.edf", "flat_b.edf", "flat_9.edf"], [3.0, 3.0, 9.0])
    assert "flat_a.edf, flat_b.edf: they are taken as one run" in note
    assert shared_numbers("flat", ["flat_3.edf", "flat_3.tif"], [3.0, 3.0]) == []


def test_long_lists_are_cut():
    assert listed([]) == "nothing"
    assert listed(["b", "a"]) == "a, b"
    assert listed(map(str, range(100))).endswith("… (100 in all)")
