"""References between the objects of an HDF5 file, as text.

The text of an object reference is the path of its target: `""` where it is null, `"?"` where the
target has no name.  The text of a region reference is the path and the blocks of the region as
NumPy would slice them: `/data[0:3,5:9]`, several with `;` between them.
"""

from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from esrffs.formats.hdf5.library import (
    H5PY_EXCEPTIONS,
    h5d,
    h5f,
    h5g,
    h5o,
    h5r,
    h5s,
    h5t,
    object_address,
)

HdfObject: TypeAlias = h5g.GroupID | h5d.DatasetID | h5t.TypeID

_BLOCKS = 64  # of a region: more are cut off with "…"


class References:
    """The names of the objects in one file, for the references in it."""

    def __init__(self, file: h5f.FileID) -> None:
        self._file = file
        self._names: dict[int, str] = {}

    def text(self, reference: object) -> str:
        """The text of a reference, as the module says."""
        if not reference:
            return ""
        try:
            path = self._path(reference)
            if not isinstance(reference, h5r.RegionReference):
                return path
            return path + _selection(h5r.get_region(reference, self._file))
        except H5PY_EXCEPTIONS:
            return "?"

    def _path(self, reference: h5r.Reference) -> str:
        target = h5r.dereference(reference, self._file)
        path = self.path_of(target)
        return decoded(h5r.get_name(reference, self._file) or b"?") if path == "?" else path

    def paths(self, addresses: npt.NDArray[np.uint64]) -> npt.NDArray[Any] | None:
        """The text (as bytes) of references to objects, read as addresses; None: ask for each."""
        self._know_names()
        different, which = np.unique(addresses, return_inverse=True)
        told = [b"" if not at else self._encoded(at) for at in different.tolist()]
        if None in told:
            return None
        paths = np.array([*told, None], object)[:-1]  # of objects, whatever they are
        return paths[which.ravel()].reshape(addresses.shape)  # one by itself is an array, too

    def _encoded(self, address: int) -> bytes | None:
        path = self._names.get(address)
        return None if path is None else path.encode("utf-8", "surrogateescape")

    def path_of(self, target: HdfObject) -> str:
        """Where an open object is; `"?"` where it has no name.

        HDF5 would search the whole file for each name: here that happens once.
        """
        self._know_names()
        return self._names.get(object_address(target), "?")

    def _know_names(self) -> None:
        if not self._names:
            self._names[object_address(self._file)] = "/"
            with suppress(
                *H5PY_EXCEPTIONS
            ):  # a damaged object ends the search: HDF5 may know more names
                h5o.visit(self._file, self._remember, info=True)

    @staticmethod
    def selection(space: h5s.SpaceID) -> str:
        """A selection as numpy would slice it."""
        return _selection(space)

    def _remember(self, name: bytes, info: h5o.ObjInfo) -> None:
        self._names.setdefault(info.addr, "/" + decoded(name))


def _selection(space: h5s.SpaceID) -> str:
    kind = space.get_select_type()
    if kind == h5s.SEL_ALL:
        return "[...]"
    if kind == h5s.SEL_NONE:
        return "[]"
    if kind == h5s.SEL_POINTS:
        corners = [(point, point) for point in space.get_select_elem_pointlist()]
    else:
        corners = list(space.get_select_hyper_blocklist())
    blocks = [
        ",".join(f"{a}:{b + 1}" for a, b in zip(first, last, strict=True))
        for first, last in corners[:_BLOCKS]
    ]
    return "[" + ";".join(blocks) + (";…" if len(corners) > _BLOCKS else "") + "]"


def decoded(name: bytes) -> str:
    """A name or text of HDF5: UTF-8, with surrogate escapes for what is not."""
    return name.decode("utf-8", "surrogateescape")
