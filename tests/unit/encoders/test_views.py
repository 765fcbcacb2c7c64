"""Which views an array has, and what they are called."""

import numpy as np
import pytest

from esrffs.encoders import view_names, views
from esrffs.encoders.file_image import ArrayDescription


def of(shape: tuple[int, ...], dtype: object = "<u2") -> ArrayDescription:
    return ArrayDescription("x", shape, np.dtype(dtype))


@pytest.mark.parametrize(
    ("array", "names"),
    [
        (of((5, 6, 7)), "tif tifs edf edfs pngs"),
        (of((1, 6, 7)), "tif edf png"),
        (of((6, 7)), "csv tif edf png"),
        (of((9,)), "csv edf"),
        (of(()), "txt"),
        (of((2, 3, 6, 7)), "tif tifs edfs pngs"),
        (of((6, 7), "c8"), "csv"),
        (of((6, 7), "S3"), "txt csv"),
        (of((), "U9"), "txt"),
        (of((4, 5, 6), "U9"), "txt"),
        (of((3,), [("a", "f4"), ("b", "S2")]), "csv"),
        (of((3, 4), [("a", "f4")]), ""),
        (of((3,), [("a", "f4", (2,))]), ""),
        (of((0, 6, 7)), ""),
        (of((1 << 30, 1 << 30)), ""),
        (of((1 << 33, 2), "u1"), "csv edf"),
        (of((0, 7)), "csv"),
        (of((6, 7), "V4"), ""),
        (of((6, 7), "M8[s]"), ""),
    ],
    ids=str,
)
def test_what_an_array_has(array: ArrayDescription, names: str) -> None:
    assert views.formats(array, colour=False) == tuple(names.split())


def test_what_colour_has() -> None:
    assert views.formats(of((6, 7, 3), "u1"), colour=True) == ("tif", "edf", "png")
    found = views.formats(of((5, 6, 7, 3), "u1"), colour=True)
    assert found == ("tif", "tifs", "pngs")


@pytest.mark.parametrize(
    ("shapes", "chosen"),
    [
        ([(3,), (4,), (3,)], [0, 2]),
        ([(4,), (3,), (3,), (4,)], [0, 3]),
        ([(2, 2), ()], []),
        ([], []),
        ([(0,)], [0]),
    ],
)
def test_the_columns_of_a_group(shapes: list[tuple[int, ...]], chosen: list[int]) -> None:
    assert views.columns([of(shape) for shape in shapes]) == chosen


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (b"x.tif", (b"x", "tif")),
        (b"a.b~1.edfs", (b"a.b~1", "edfs")),
        (b".tif", None),
        (b"tif", None),
        (b"x.npy", None),
        (b"x.TIF", None),
        (b"x.tiff", None),
        (b"x.\xff", None),
        (b"x.", None),
    ],
)
def test_names_of_views(name: bytes, parts: tuple[bytes, str] | None) -> None:
    assert view_names.split(name) == parts
    if parts is not None:
        assert view_names.view_name(*parts) == name


@pytest.mark.parametrize("count", [2, 9999, 10_000, 10_001, 123_456])
def test_names_of_frames(count: int) -> None:
    names = list(view_names.frame_names(count, "tifs"))
    assert len(names) == len(set(names)) == count
    assert names == sorted(names)
    assert len(names[0]) == max(4, len(str(count - 1))) + len(".tif")
    for number in (0, 1, count // 2, count - 1):
        assert view_names.frame_number(names[number], count, "tifs") == number
    for name in (b"0.tif", b"00000000.tif", b"0001.edf", b"0001", b"+001.tif", b"9" * 30 + b".tif"):
        assert view_names.frame_number(name, count, "tifs") is None
    past = f"{count:0{len(names[0]) - 4}}.tif".encode()
    assert view_names.frame_number(past, count, "tifs") is None
