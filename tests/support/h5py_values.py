"""What h5py reads of a dataset or an attribute, spelled as the mount spells it."""

import math

import h5py
import numpy as np


def region_text(file: h5py.File, reference: h5py.RegionReference) -> str:
    space = h5py.h5r.get_region(reference, file.id)
    blocks = space.get_select_hyper_blocklist() if space.get_select_type() == 2 else None
    if blocks is None:
        return file[reference].name + "[...]"
    texts = (",".join(f"{a}:{b + 1}" for a, b in zip(*block, strict=True)) for block in blocks)
    return f"{file[reference].name}[{';'.join(texts)}]"


def texts(file: h5py.File, values: np.ndarray) -> np.ndarray:
    """Objects as h5py gives them → `<U…`, by the contract's rules."""

    def text(value: object) -> str:
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogateescape")
        if isinstance(value, str):
            return value
        if not value:
            return ""
        if isinstance(value, h5py.RegionReference):
            return region_text(file, value)
        return file[value].name

    found = [text(value) for value in values.ravel()]
    dtype = f"U{max([1, *map(len, found)])}"
    return np.array(found, dtype).reshape(values.shape)


def h5py_reads(dataset: h5py.Dataset) -> np.ndarray:
    base = (dataset.dtype.subdtype or [dataset.dtype])[0]
    return np.array(dataset[()], dtype=base) if base.hasobject else np.asarray(dataset[()])


def oracle(file: h5py.File, values: np.ndarray) -> np.ndarray:
    """What h5py gives for `dataset[()]` → what the contract says is saved."""
    if not values.dtype.hasobject:
        return values.view(plain(values.dtype))
    if not values.dtype.names:
        return texts(file, values)
    fields = {name: oracle(file, values[name]) for name in values.dtype.names}
    inner = {name: field.shape[values.ndim :] for name, field in fields.items()}
    out = np.zeros(values.shape, [(n, fields[n].dtype, inner[n]) for n in fields])
    for name, field in fields.items():
        out[name] = field
    return out


def plain(dtype: np.dtype) -> np.dtype:
    """Without h5py's metadata, of which `numpy.save` would warn."""
    if dtype.subdtype:
        return np.dtype((plain(dtype.subdtype[0]), dtype.subdtype[1]))
    if dtype.names and not dtype.hasobject:
        fields = dtype.fields
        return np.dtype(
            {
                "names": list(dtype.names),
                "formats": [plain(dtype[name]) for name in dtype.names],
                "offsets": [fields[name][1] for name in dtype.names],
                "itemsize": dtype.itemsize,
            }
        )
    return dtype if dtype.hasobject else np.dtype(dtype.str)


def json_of(file: h5py.File, value: object) -> object:  # noqa: C901  # a case for each type
    match value:
        case h5py.Empty():
            return None
        case h5py.RegionReference():
            return region_text(file, value) if value else ""
        case h5py.Reference():
            return file[value].name if value else ""
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value.decode("latin-1")
        case np.void():
            return {name: json_of(file, value[name]) for name in value.dtype.names}
        case np.ndarray():
            return [json_of(file, inner) for inner in value]
        case complex() | np.complexfloating():
            return [value.real, value.imag]
        case np.floating():
            return float(value) if math.isfinite(value) else None
        case np.generic():
            return value.item()
    return value
