"""`encoders/npy` against `numpy.save`."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esrffs.encoders import npy

# numpy.save says so whenever a header needs version 2 or 3: it is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:Stored array in format")


def saved_header(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()[: file.tell() - array.nbytes]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
dtypes = st.one_of(
    hnp.scalar_dtypes(),
    hnp.array_dtypes(),
    hnp.nested_dtypes(),
    st.lists(names, min_size=1, max_size=4, unique=True).map(
        lambda fields: np.dtype([(name, "<i4", (2,)) for name in fields])
    ),
)


@settings(max_examples=300)
@given(dtypes, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=7))
def test_header_is_what_numpy_writes(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    assert npy.header(shape, dtype) == saved_header(np.zeros(shape, dtype))


@pytest.mark.parametrize("letter", ["a", "é", "Ω"])
@pytest.mark.parametrize("fields", [1, 1500, 1850, 3000, 8000])
def test_long_headers_change_version_where_numpy_does(letter: str, fields: int) -> None:
    dtype = np.dtype([(f"{letter}{i:05}", "u1") for i in range(fields)])
    assert npy.header((3,), dtype) == saved_header(np.zeros(3, dtype))


def test_every_length_around_the_limit_of_version_1() -> None:
    for extra in range(130):
        dtype = np.dtype([(f"{i:05}", "u1") for i in range(3846)] + [("x" * (extra + 1), "u1")])
        assert npy.header((), dtype) == saved_header(np.zeros((), dtype))


def test_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="pickling"):
        npy.header((1,), np.dtype(object))
