"""Attributes as JSON: strict, whatever is in them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from esrffs.encoders.json_text import to_json, value_to_json


def read(content: bytes) -> object:
    """As a strict reader does."""
    return json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


CONTROL = "".join(map(chr, range(32))) + '"\\\x7f\u2028'


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("grün", "grün"),
        ("caf\udce9", "café"),  # bytes that are not UTF-8, as surrogate escapes
        pytest.param(CONTROL + "ü", CONTROL + "ü", id="control characters"),
        pytest.param(CONTROL.encode(), CONTROL, id="control characters, bytes"),
        ("\ud800", "í\xa0\x80"),  # a surrogate that stands for no byte
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "café"),
        (np.bytes_(b"ab"), "ab"),
        (np.array([b"a", b"\xe9"]), ["a", "é"]),
        (np.str_("a"), "a"),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array(["a", b"b", np.arange(2)], object), ["a", "b", [0, 1]]),
        (True, True),
        (np.bool_(False), False),
        (np.array([[True, False]]), [[True, False]]),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.array([1, 2], ">i4"), [1, 2]),
        (np.array(5), 5),
        (np.zeros((0, 3)), []),
        (1.5, 1.5),
        (float("nan"), None),
        (np.float64("-inf"), None),
        (np.float16(0.5), 0.5),
        (np.array([[1, np.nan], [np.inf, 2]], ">f4"), [[1, None], [None, 2]]),
        (np.longdouble("0.1"), 0.1),
        (np.longdouble("1e4000"), None),
        (np.array(["1e4000", "0.5"], np.longdouble), [None, 0.5]),
        (1 + 2j, [1, 2]),
        (np.complex64(1j), [0, 1]),
        (np.array([1, complex("nan+1j")]), [[1, 0], [None, 1]]),
        (np.clongdouble(1j), [0, 1]),
        (np.void(b"ab\xff"), "abÿ"),
        (np.datetime64("2020-01-01"), "2020-01-01"),
        (np.array(["NaT"], "M8[s]"), [None]),
        (np.array((1, b"x"), "i4,S3"), {"f0": 1, "f1": "x"}),
        (
            np.array([(np.nan, [1, 2], (3,))], [("a", "f4"), ("b", "i4", 2), ("c", [("d", "i1")])]),
            [{"a": None, "b": [1, 2], "c": {"d": 3}}],
        ),
        ({"inner": [np.nan, (b"x",)]}, {"inner": [None, ["x"]]}),
    ],
)
def test_values(value: object, wanted: object) -> None:
    assert read(value_to_json(value)) == wanted
    assert read(to_json({"name": value})) == {"name": wanted}


def test_text() -> None:
    assert (
        to_json({"b": "é", "a": [1, 2]})
        == '{\n  "b": "é",\n  "a": [\n    1,\n    2\n  ]\n}\n'.encode()
    )
    assert to_json({}) == b"{}\n"


def test_names_that_are_not_utf8() -> None:
    assert read(to_json({"\udcff": 1, "a": 2})) == {"ÿ": 1, "a": 2}
    assert to_json({"\udcff": 1, "ÿ": 2}) == '{\n  "ÿ": 2\n}\n'.encode()  # one key, one value


_TEXT = st.text(st.characters(codec="utf-8"))
_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=20,
)


@given(_PLAIN)
def test_text_is_what_the_json_module_writes(value: object) -> None:
    wanted = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    assert value_to_json(value).decode() == wanted


@given(st.dictionaries(st.text(st.characters(exclude_categories=())), st.text() | st.floats()))
def test_any_attributes_are_utf8_and_strict(given_: dict[str, object]) -> None:
    content = to_json(given_)
    content.decode()
    read(content)
    assert content.endswith(b"\n")


_NUMBERS = (
    arrays.boolean_dtypes()
    | arrays.integer_dtypes()
    | arrays.floating_dtypes()
    | arrays.complex_number_dtypes()
    | arrays.byte_string_dtypes()
    | arrays.datetime64_dtypes()
)


@given(arrays.arrays(_NUMBERS | arrays.array_dtypes(_NUMBERS), arrays.array_shapes(max_side=3)))
def test_any_array_is_nested_as_it_is(array: np.ndarray) -> None:
    nested = read(value_to_json(array))
    for length in array.shape:
        assert isinstance(nested, list)
        assert len(nested) == length
        nested = nested[0]
