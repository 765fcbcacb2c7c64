"""Tables as CSV (RFC 4180, https://www.rfc-editor.org/rfc/rfc4180): a line for each row.

Numbers are spelled by `repr` and right-aligned to a width that the dtype fixes, so that the place
of a row is arithmetic and nothing is counted.  Texts are never padded, so a table with texts is
made as a whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from esrffs.encoders.file_image import FileImage, Literal, Records, Repeated, Segment

SUFFIX = b".csv"
LINE_END = "\r\n"  # RFC 4180, section 2.1

_LONG_ROW_NBYTES = 1 << 16  # a row of a matrix that is longer is made cell by cell
_FLOAT_WIDTHS = {2: 11, 4: 15, 8: 24, 12: 34, 16: 34}  # by itemsize: "-2.2250738585072014e-308"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: an array, or a field of one, or one of the columns of a matrix."""

    name: str
    dtype: np.dtype[Any]


def number_width(dtype: np.dtype[Any]) -> int | None:
    """Characters that the longest number of this dtype takes; None where it is no number."""
    match dtype.kind:
        case "b":
            return 1  # 0 or 1: `False` is no number for NumPy's genfromtxt and gnuplot
        case "i" | "u":
            limits = np.iinfo(dtype)
            return max(len(str(limits.min)), len(str(limits.max)))
        case "f":
            return _FLOAT_WIDTHS.get(dtype.itemsize)
        case "c":
            part = _FLOAT_WIDTHS.get(dtype.itemsize // 2)
            return None if part is None else 2 * part + 2
        case _:
            return None


def header(names: Sequence[str]) -> bytes:
    """The line of names; nothing where there are none."""
    return _line(map(quoted, names)) if names else b""


def quoted(text: str) -> str:
    """A text as RFC 4180 wants it.

    In quotes where it is empty, has outer blanks, or has commas, quotes or line ends in it.
    """
    special = text != text.strip() or not text or any(sign in text for sign in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if special else text


def numbers_image(names: Sequence[str], dtypes: Sequence[np.dtype[Any]], rows: int) -> FileImage:
    """The table of these arrays of one axis, all of `rows` numbers, side by side."""
    record = sum(_width(dtype) for dtype in dtypes) + len(dtypes) - 1 + len(LINE_END)
    arrays = tuple((number, 1) for number in range(len(dtypes)))
    return FileImage((Literal(header(names)), Records(rows, record, _rendered_columns, arrays)))


def matrix_image(dtype: np.dtype[Any], shape: tuple[int, int]) -> FileImage:
    """The table of an array of two axes; its columns have no names."""
    rows, columns = shape
    record = (_width(dtype) + 1) * columns - 1 + len(LINE_END)
    if columns and record > _LONG_ROW_NBYTES:
        return FileImage((Repeated(rows, record, partial(_row, _width(dtype), columns)),))
    render = partial(_rendered_matrix, columns)
    return FileImage((Records(rows if columns else 0, record, render, ((0, columns),)),))


def _row(width: int, columns: int, row: int) -> Sequence[Segment]:
    """One row of a matrix, a record for each cell."""
    first = row * columns
    return (
        Records(columns - 1, width + 1, partial(_rendered_cells, ","), ((0, 1),), first),
        Records(
            1,
            width + len(LINE_END),
            partial(_rendered_cells, LINE_END),
            ((0, 1),),
            first + columns - 1,
        ),
    )


def compound_image(dtype: np.dtype[Any], rows: int) -> FileImage:
    """The table of a compound of one axis whose fields are numbers: a column for each field."""
    fields = [dtype[name] for name in dtype.names or ()]
    record = sum(_width(field) for field in fields) + len(fields) - 1 + len(LINE_END)
    return FileImage(
        (
            Literal(header(dtype.names or ())),
            Records(rows, record, _rendered_fields, ((0, 1),)),
        )
    )


def table_text(names: Sequence[str], columns: Sequence[Array]) -> bytes:
    """The whole table of columns of which some are texts (dtype U or S) and some may be numbers."""
    spelled = [_texts(column) for column in columns]
    return header(names) + b"".join(map(_line, zip(*spelled, strict=True)))


def _line(cells: Iterable[str]) -> bytes:
    return (",".join(cells) + LINE_END).encode("utf-8", "surrogateescape")


def _width(dtype: np.dtype[Any]) -> int:
    width = number_width(dtype)
    if width is None:
        raise ValueError(f"{dtype} is no number")
    return width


def _texts(column: Array) -> list[str]:
    if column.dtype.kind == "S":
        return [quoted(_decoded(text)) for text in column.tolist()]
    if column.dtype.kind == "U":
        return [quoted(text) for text in column.tolist()]
    return _spelled(column)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _spelled(column: Array) -> list[str]:
    """Numbers by `repr`, each right-aligned to the width of its dtype."""
    width = _width(column.dtype)
    match column.dtype.kind:
        case "f" if column.dtype.itemsize == 8:
            texts: Iterable[str] = map(float.__repr__, column.tolist())
        case "b":
            texts = map(repr, column.view(np.uint8).tolist())
        case "i" | "u":
            texts = map(repr, column.tolist())
        case "c":
            real, imaginary = _spelled(column.real), _spelled(column.imag)
            texts = map(_complex, real, imaginary)
        case _:
            texts = map(str, column.astype(column.dtype.newbyteorder("=")))
    return [text.rjust(width) for text in texts]


def _complex(real: str, imaginary: str) -> str:
    """As Python and NumPy read it: `1.0-2.0j`."""
    imaginary = imaginary.strip()
    sign = "" if imaginary[0] == "-" else "+"
    return f"{real.strip()}{sign}{imaginary}j"


def _rows(columns: Sequence[Array]) -> bytes:
    return b"".join(map(_line, zip(*map(_spelled, columns), strict=True)))


def _rendered_columns(_: int, __: int, arrays: Sequence[Array]) -> bytes:
    return _rows(arrays)


def _rendered_cells(end: str, _: int, __: int, arrays: Sequence[Array]) -> bytes:
    return "".join(cell + end for cell in _spelled(arrays[0])).encode()


def _rendered_matrix(columns: int, first: int, stop: int, arrays: Sequence[Array]) -> bytes:
    cells = _spelled(arrays[0])
    return b"".join(
        _line(cells[row * columns : (row + 1) * columns]) for row in range(stop - first)
    )


def _rendered_fields(_: int, __: int, arrays: Sequence[Array]) -> bytes:
    [records] = arrays
    return _rows([records[name] for name in records.dtype.names or ()])
