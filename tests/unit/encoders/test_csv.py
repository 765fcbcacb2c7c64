"""Tables, as Python's csv module, NumPy and pandas read them."""

import csv
import io

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esrffs.encoders import csv as tables
from esrffs.encoders.file_image import needed
from tests.support.encoded_files import file_bytes, numbers

FLOATS = ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g"]
INTEGERS = ["i1", "u1", "<i2", ">u2", "<i4", ">u4", "<i8", ">u8"]


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "?"])
def test_a_column(dtype: str) -> None:
    column = numbers(dtype, (50,))
    image = tables.numbers_image(["det/a"], [column.dtype], 50)
    whole = file_bytes(image, column)
    assert len(whole) == image.nbytes
    [head, *rows] = csv.reader(io.StringIO(whole.decode(), newline=""))
    assert head == ["det/a"]
    assert len({len(row[0]) for row in rows}) == 1, "one width"
    found = [np.array(row[0].strip()) for row in rows]
    if dtype == "?":
        assert {row[0] for row in rows} == {"0", "1"}
        found = [int(row[0]) for row in rows]
    assert np.array_equal(np.array(found).astype(column.dtype), column)


@given(st.data())
def test_the_longest_number_fits(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from([*FLOATS[:-1], *INTEGERS, "c8", ">c16"])))
    column = data.draw(hnp.arrays(dtype, 3, elements=hnp.from_dtype(dtype)))
    image = tables.numbers_image((), [dtype], 3)
    lines = file_bytes(image, column).decode().split("\r\n")
    assert lines.pop() == ""
    read = {"c": complex, "f": float}.get(dtype.kind, int)
    with np.errstate(over="ignore"):
        found = np.array([read(line.strip()) for line in lines])
    assert np.array_equal(found.astype(dtype), column, equal_nan=dtype.kind in "fc")


def test_pandas_and_numpy_read_columns_side_by_side() -> None:
    arrays = [numbers("<f8", (20,)), numbers("<i4", (20,)), numbers(">f4", (20,))]
    names = ["th", "det,1", 'a "b"']
    image = tables.numbers_image(names, [array.dtype for array in arrays], 20)
    text = file_bytes(image, *arrays)
    frame = pandas.read_csv(io.BytesIO(text), skipinitialspace=True)
    assert list(frame.columns) == names
    for name, array in zip(names, arrays, strict=True):
        assert np.array_equal(frame[name].to_numpy().astype(array.dtype), array)
    read = np.genfromtxt(io.BytesIO(text), delimiter=",", skip_header=1)
    assert np.array_equal(read[:, 0], arrays[0])
    for start in range(0, len(text), 17):
        assert file_bytes(image, *arrays, start=start, stop=start + 40) == text[start : start + 40]


@pytest.mark.parametrize("shape", [(4, 3), (1, 1), (3, 1), (0, 3), (3, 0)])
def test_a_matrix(shape: tuple[int, int]) -> None:
    array = numbers("<i4", shape)
    image = tables.matrix_image(array.dtype, shape)
    rows = list(csv.reader(io.StringIO(file_bytes(image, array).decode(), newline="")))
    assert [[int(cell) for cell in row] for row in rows] == (array.tolist() if array.size else [])


def test_a_matrix_of_long_rows_is_read_in_parts() -> None:
    array = numbers("<f8", (3, 4000))
    image = tables.matrix_image(array.dtype, array.shape)
    whole = file_bytes(image, array)
    assert len(whole) == image.nbytes
    assert np.array_equal(np.genfromtxt(io.BytesIO(whole), delimiter=","), array)
    for start in range(0, len(whole), 50_021):
        assert file_bytes(image, array, start=start, stop=start + 40) == whole[start : start + 40]
        asked = [run for piece in image.pieces(start, start + 40) for run in needed(piece)]
        assert sum(run.stop - run.first for run in asked) <= 4


def test_a_compound_has_a_column_for_each_field() -> None:
    array = np.zeros(5, [("x", "<f8"), ("n", ">i2")])
    array["x"], array["n"] = np.arange(5) / 3, np.arange(5)
    image = tables.compound_image(array.dtype, 5)
    frame = pandas.read_csv(io.BytesIO(file_bytes(image, array)), skipinitialspace=True)
    assert np.array_equal(frame["x"], array["x"])
    assert np.array_equal(frame["n"], array["n"])


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1)
)
def test_texts_come_back(texts: list[str]) -> None:
    made = tables.table_text(["t", "n"], [np.array(texts, "U"), np.arange(len(texts))])
    [_, *rows] = csv.reader(io.StringIO(made.decode(), newline=""), strict=True)
    assert [row[0] for row in rows] == np.array(texts, "U").tolist()


@pytest.mark.parametrize(
    ("text", "spelled"),
    [("plain", "plain"), ("", '""'), (" x", '" x"'), ("a,b", '"a,b"'), ('a"b', '"a""b"')],
)
def test_quotes_where_they_are_needed(text: str, spelled: str) -> None:
    assert tables.quoted(text) == spelled
