"""The image of a description: of groups that come from another format, a series, or `corrected/`.

Python's values get these datatypes: text is UTF-8 of variable length, as silx writes it; numbers
are what NumPy makes of them; bool is h5py's enumeration; None is an empty attribute.
"""

import ctypes
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esrffs.errors import EsrffsError, UnsupportedError
from esrffs.formats import budget
from esrffs.formats.hdf5.image import (
    DescribedDataset,
    DescribedGroup,
    DescribedLink,
    Hdf5Image,
    ImageLimits,
    ImageTooLargeError,
)
from esrffs.formats.hdf5.image_copying import broken, spoils_all
from esrffs.formats.hdf5.image_library import Hid, libhdf5
from esrffs.formats.hdf5.image_writer import StructureWriter, written
from esrffs.formats.hdf5.library import H5PY_EXCEPTIONS, h5py, h5t, translate_errors

_REMEMBERED = 1024
_SURROGATES = "surrogateescape"


def image_of_description(
    root: DescribedGroup, limits: ImageLimits | None = None, where: str = ""
) -> Hdf5Image:
    """The image of these groups; ImageTooLargeError.  `where` is how errors call the root."""
    limits = ImageLimits() if limits is None else limits
    limits.check_objects(where, _count(root))

    def write(writer: StructureWriter) -> None:
        _Described(writer).write(root, where)

    return written(limits, where, write)


def _count(root: DescribedGroup) -> int:
    count, todo = 0, [root]
    while todo:
        members = todo.pop().members
        count += len(members)
        todo += [member for member in members if isinstance(member, DescribedGroup)]
    return count


@dataclass(frozen=True, slots=True)
class _Stored:
    """A value on its way: its datatype, its shape (None: null), and its bytes in memory."""

    datatype: h5t.TypeID
    dims: tuple[int, ...] | None
    memory: Any  # a ctypes or NumPy array
    nbytes: int  # with texts

    @property
    def at(self) -> int:
        if isinstance(self.memory, np.ndarray):
            return int(self.memory.ctypes.data)
        return ctypes.addressof(self.memory)


class _Described:
    def __init__(self, writer: StructureWriter) -> None:
        self._writer = writer
        self._hdf5 = libhdf5()
        self._types: dict[np.dtype[Any], h5t.TypeID] = {}
        self._todo: deque[tuple[DescribedGroup, int, str]] = deque()

    def write(self, root: DescribedGroup, where: str) -> None:
        self._todo.append((root, self._writer.root, where.rstrip("/")))
        while self._todo:
            group, there, address = self._todo.popleft()
            made = self._writer.open(there)
            try:
                self._attributes(made, group.attributes, address)
                self._members(made, group, address)
            finally:
                self._hdf5.o_close(made)
            self._writer.check_size()

    def _members(self, made: Hid, group: DescribedGroup, address: str) -> None:
        for member in group.members:
            budget.check("its objects")
            path = f"{address}/{member.name}"
            try:
                with translate_errors(path):
                    self._member(made, member, path)
            except EsrffsError as error:
                self._tell(path, error)

    def _tell(self, path: str, error: BaseException) -> None:
        if isinstance(error, ImageTooLargeError):
            raise error.met_at(path) from error
        if spoils_all(error):
            raise error
        self._writer.broken.append(broken(path, error))

    def _member(
        self, made: Hid, member: DescribedGroup | DescribedDataset | DescribedLink, path: str
    ) -> None:
        name = _encoded(member.name)
        match member:
            case DescribedLink():
                self._writer.soft(made, name, _encoded(member.path))
                return
            case DescribedGroup():
                opened = self._writer.group(made, name)
                self._todo.append((member, self._hdf5.address(opened), path))
            case DescribedDataset():
                opened = self._dataset(made, name, member)
        try:
            if isinstance(member, DescribedDataset):
                self._attributes(opened, member.attributes, path)
        finally:
            self._hdf5.o_close(opened)

    def _dataset(self, made: Hid, name: bytes, dataset: DescribedDataset) -> Hid:
        if dataset.dtype.kind != "U" or dataset.values is None:
            place = dataset.address, dataset.shape, dataset.dtype
            values = dataset.values
            content = None if values is None else values.astype(dataset.dtype).tobytes()
            datatype = self._type(dataset.dtype)
            return self._writer.run(made, name, datatype, place, dataset.shape, content=content)
        stored = stored_value(dataset.values)
        self._writer.count(stored.nbytes)
        opened = self._writer.inline(made, name, stored.datatype.id, stored.dims)
        if stored.dims is not None and 0 not in stored.dims:
            self._hdf5.d_write(opened, stored.datatype.id, 0, 0, 0, stored.at)
        return opened

    def _type(self, dtype: np.dtype[Any]) -> h5t.TypeID:
        known = self._types.get(dtype)
        if known is None:
            if len(self._types) >= _REMEMBERED:
                self._types.clear()
            known = self._types[dtype] = _type(dtype)
        return known

    def _attributes(self, holder: Hid, attributes: Any, path: str) -> None:
        for name, value in attributes.items():
            try:
                with translate_errors(f"{path}@{name}"):
                    stored = stored_value(value)
                    space = self._writer.space(stored.dims).id
                    empty = stored.dims is None or 0 in stored.dims
                    at = None if empty else stored.at
                    nbytes = 0 if empty else _held(stored)
                    self._writer.count(stored.nbytes - nbytes)
                    encoded = _encoded(name)
                    self._writer.attribute(holder, encoded, stored.datatype.id, space, nbytes, at)
            except EsrffsError as error:
                self._tell(f"{path or '/'}@{name}", error)


def _held(stored: _Stored) -> int:
    return int(stored.memory.nbytes if isinstance(stored.memory, np.ndarray) else stored.nbytes)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", _SURROGATES)


def stored_value(value: object) -> _Stored:
    """How a value is written; UnsupportedError."""
    match value:
        case None:
            return _Stored(h5t.IEEE_F32LE, None, None, 0)
        case str():
            return _texts([value], ())
        case dict():
            return stored_value(json.dumps(value))
        case list() | tuple():
            return _list(value)
    array = np.asarray(value)
    if array.dtype.kind == "U" or array.dtype == object:
        flat = array.reshape(-1).tolist()
        if not all(isinstance(text, str | bytes) for text in flat):
            raise UnsupportedError("values of mixed types")
        decoded = [
            text if isinstance(text, str) else text.decode("utf-8", _SURROGATES) for text in flat
        ]
        return _texts(decoded, array.shape)
    array = np.ascontiguousarray(array).reshape(array.shape)
    return _Stored(_type(array.dtype), array.shape, array, array.nbytes)


def _list(values: Sequence[object]) -> _Stored:
    """An array where all values are alike; else the JSON of them, which loses nothing."""
    leaves = list(_leaves(values))
    try:
        if not leaves:
            return stored_value(np.zeros(np.shape(np.asarray(values)), np.float64))
        if all(isinstance(leaf, str) for leaf in leaves):
            return stored_value(np.array(values, object))
        if all(isinstance(leaf, int | float | complex | np.generic) for leaf in leaves):
            return stored_value(np.array(values))
    except (ValueError, UnsupportedError):
        pass  # of several lengths
    return stored_value(json.dumps(values, default=str))


def _leaves(value: object) -> Any:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _texts(texts: Sequence[str], dims: tuple[int, ...]) -> _Stored:
    encoded = [_encoded(text) for text in texts]
    if any(b"\0" in text for text in encoded):
        return _fixed(encoded, dims)
    memory = (ctypes.c_char_p * len(encoded))(*encoded)
    datatype = h5t.py_create(h5py.string_dtype(), logical=True)
    return _Stored(datatype, dims, memory, sum(map(len, encoded)) + 16 * len(encoded))


def _fixed(encoded: Sequence[bytes], dims: tuple[int, ...]) -> _Stored:
    """Text with zeros in it, which would end one of variable length."""
    width = max(map(len, encoded))
    array = np.array(encoded, np.dtype(("S", width))).reshape(dims)
    datatype = h5t.C_S1.copy()
    datatype.set_size(width)
    datatype.set_strpad(h5t.STR_NULLPAD)
    datatype.set_cset(h5t.CSET_UTF8)
    return _Stored(datatype, dims, array, array.nbytes)


def _type(dtype: np.dtype[Any]) -> h5t.TypeID:
    try:
        held = h5py.opaque_dtype(dtype) if dtype.kind in "mM" else dtype  # as h5py reads dates
        made = h5t.py_create(held, logical=True)
    except H5PY_EXCEPTIONS as error:
        raise UnsupportedError(f"HDF5 has no datatype for {dtype}") from error
    if made.get_size() != dtype.itemsize:
        raise UnsupportedError(f"HDF5 has no datatype for {dtype}")
    return made
