"""Group listings as JSON text, for the index that a later mount reads.

Only plain JSON, and each value is checked when it is read: nothing in the text can do more than be
refused.  A listing that depends on anything but the bytes of its own file is not encoded: one with
external links, virtual or external data, or broken objects, whose reason may be of the moment.
"""

import base64
import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from esrffs.model import (
    ChunkedLayout,
    ContiguousLayout,
    DatasetInfo,
    FramesLayout,
    GroupInfo,
    GroupListing,
    JsonInfo,
    JsonText,
    Layout,
    LinkInfo,
    Member,
    MemberKind,
    OpaqueLayout,
)


class _NotEncodableError(Exception):
    """Something that the text cannot tell."""


def encode(listing: GroupListing) -> bytes | None:
    """The listing as JSON (ASCII), without what was prefetched with it; None if it cannot be."""
    try:
        members = [_member(member) for member in listing.members]
        own = _identity(listing.object_id)
        return _dump([members, _json_text(listing.attributes), own, listing.end])
    except (_NotEncodableError, TypeError):  # TypeError: numbers that are none of Python's
        return None


def decode(text: bytes) -> GroupListing:
    """The listing that was encoded; ValueError where the text is of none."""
    try:
        members, attributes, object_id, end = _list(json.loads(text), 4)
        return GroupListing(
            tuple(_read_member(member) for member in _list(members)),
            _read_json_text(attributes),
            None if object_id is None else _int(object_id),
            end=_str(end),
        )
    except (TypeError, KeyError, SyntaxError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"no listing: {error}") from error


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _member(member: Member) -> list[object]:
    match member:
        case GroupInfo(name, address, identity):
            return ["group", name, address, _identity(identity)]
        case DatasetInfo() if not member.dependencies:
            return [
                *("dataset", member.name, member.address, list(member.shape)),
                *(_dtype(member.dtype), _layout(member.layout), _json_text(member.attributes)),
                *(member.label, _json_text(member.text)),
            ]
        case JsonInfo(name, address, content, attributes):
            return ["json", name, address, _json_text(content), _json_text(attributes)]
        case LinkInfo(name, path, None, kind, False, None) if kind is not None:
            return ["link", name, path, kind]
    raise _NotEncodableError


def _identity(identity: int | None) -> int | None:
    """The identity of a group; one beyond 64 bits is of another file, as this process calls it."""
    if identity is not None and not 0 <= identity < 1 << 64:
        raise _NotEncodableError
    return identity


def _read_member(value: object) -> Member:
    kind, *rest = _list(value)
    match kind:
        case "group":
            name, address, identity = _list(rest, 3)
            return GroupInfo(
                _str(name), _str(address), None if identity is None else _int(identity)
            )
        case "dataset":
            name, address, shape, dtype, layout, attributes, label, text = _list(rest, 8)
            return DatasetInfo(
                _str(name),
                _str(address),
                _ints(shape),
                _read_dtype(dtype),
                _read_layout(layout),
                _read_json_text(attributes),
                label=_str(label),
                text=_read_json_text(text),
            )
        case "json":
            name, address, content, attributes = _list(rest, 4)
            found = _read_json_text(content)
            if found is None:
                raise ValueError("a text without content")
            return JsonInfo(_str(name), _str(address), found, _read_json_text(attributes))
        case "link":
            name, path, target = _list(rest, 3)
            if target not in ("group", "dataset", "text"):
                raise ValueError(f"a link to {target!r}")
            return LinkInfo(_str(name), _str(path), kind=cast(MemberKind, target))
    raise ValueError(f"no member of a group: {kind!r}")


def _json_text(text: JsonText | None) -> list[object] | None:
    if text is None:
        return None
    return [text.size, None if text.content is None else _base64(text.content)]


def _read_json_text(value: object) -> JsonText | None:
    if value is None:
        return None
    size, content = _list(value, 2)
    return JsonText(_int(size), None if content is None else _bytes(content))


def _layout(layout: Layout) -> list[object]:
    match layout:
        case ContiguousLayout(offset):
            return ["contiguous", offset]
        case FramesLayout(offsets, swapped, files):
            return ["frames", offsets.tolist(), swapped, list(files)]
        case ChunkedLayout(shape, filters, fill, indexed):
            told = [[number, list(data)] for number, data in filters]
            return ["chunked", list(shape), told, None if fill is None else _base64(fill), indexed]
        case OpaqueLayout(grain):
            return ["opaque", list(grain)]
    raise _NotEncodableError


def _read_layout(value: object) -> Layout:
    kind, *rest = _list(value)
    match kind:
        case "contiguous":
            return ContiguousLayout(_int(*rest))
        case "frames":
            offsets, swapped, files = _list(rest, 3)
            found = np.array(_ints(offsets), np.int64)
            return FramesLayout(found, _bool(swapped), tuple(map(_str, _list(files))))
        case "chunked":
            shape, filters, fill, indexed = _list(rest, 4)
            pairs = [_list(pair, 2) for pair in _list(filters)]
            told = tuple((_int(number), _ints(data)) for number, data in pairs)
            return ChunkedLayout(
                _ints(shape), told, None if fill is None else _bytes(fill), _bool(indexed)
            )
        case "opaque":
            return OpaqueLayout(_ints(*rest))
    raise ValueError(f"no layout: {kind!r}")


def _dtype(dtype: np.dtype[Any]) -> object:
    """NumPy's own description, where it tells all of the dtype."""
    if _has_metadata(dtype) or dtype.hasobject:
        raise _NotEncodableError
    told = np.lib.format.dtype_to_descr(dtype)
    try:
        again = _read_dtype(json.loads(json.dumps(told)))
    except (TypeError, ValueError):
        raise _NotEncodableError from None
    if again != dtype or again.itemsize != dtype.itemsize or again.byteorder != dtype.byteorder:
        raise _NotEncodableError
    return cast(object, told)


def _has_metadata(dtype: np.dtype[Any]) -> bool:
    parts = [dtype.fields[name][0] for name in dtype.names or ()] if dtype.fields else []
    if dtype.subdtype is not None:
        parts.append(dtype.subdtype[0])
    return dtype.metadata is not None or any(map(_has_metadata, parts))


def _read_dtype(value: object) -> np.dtype[Any]:
    found: np.dtype[Any] = np.lib.format.descr_to_dtype(_descr(value))
    if found.hasobject:
        raise ValueError("a dtype of Python objects")
    return found


def _descr(value: object) -> Any:
    """What JSON has made lists of: fields, which are tuples of a name, a dtype and a shape."""
    if isinstance(value, str):
        return value
    fields = []
    for field in _list(value):
        name, inner, *shape = _list(field)
        titled = tuple(map(_str, name)) if isinstance(name, list) else _str(name)
        fields.append((titled, _descr(inner), *map(_ints, shape)))
    return fields


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _bytes(value: object) -> bytes:
    return base64.b64decode(_str(value), validate=True)


def _checked(kind: type) -> Callable[[object], Any]:
    def check(value: object) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} where a {kind.__name__} is expected")
        return value

    return check


_str: Callable[[object], str] = _checked(str)
_bool: Callable[[object], bool] = _checked(bool)
_any_int: Callable[[object], int] = _checked(int)
_any_list: Callable[[object], list[Any]] = _checked(list)


def _int(value: object) -> int:
    """A number that is a size, an offset or an identity: none of them is negative."""
    found = _any_int(value)
    if not 0 <= found < 1 << 64:
        raise ValueError(f"{found} is out of range")
    return found


def _ints(value: object) -> tuple[int, ...]:
    return tuple(map(_int, _any_list(value)))


def _list(value: object, count: int | None = None) -> list[Any]:
    found = _any_list(value)
    if count is not None and len(found) != count:
        raise ValueError(f"{len(found)} values where {count} are expected")
    return found
