"""The HDF5 tree that silx shows for image frames: groups, links and metadata.

Structure and names are those of `silx.io.fabioh5.File`, and silx converts header values to numbers.
Frames are not decoded for this.  Values that silx cannot convert (vectors of changing length, for
example) remain texts.  Colour images, which silx does not know, have the NeXus `interpretation`.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from fabio.fabioimage import FabioImage
from silx.io import fabioh5

from esrffs.formats.images.frames import Array, FrameSource, translate_errors

_silx: Any = fabioh5  # it has no types

DETECTOR = "/scan_0/instrument/detector_0"
DATA = DETECTOR + "/data"
OTHERS = DETECTOR + "/others"
FILE = "/scan_0/instrument/file"
POSITIONERS = "/scan_0/instrument/positioners"
MEASUREMENT = "/scan_0/measurement"
IMAGE = "/scan_0/image"
SAMPLE = "/scan_0/sample"

Attributes = Mapping[str, object]
Values = Mapping[str, Callable[[], Array]]  # by name


class ImageTree:
    """The metadata that silx derives from the headers of frames.

    Headers after the first are read only when a group of metadata is listed, so that reading one
    frame of ten thousand does not wait for them.
    """

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        with translate_errors("the headers", strict=False):
            self._first = self._silx_reader(1)
            sample = bool(self._first.has_sample_information())
            spectrum = self._first.is_spectrum()
        self.interpretation = "spectrum" if spectrum else "image"
        if frames.colour:
            self.interpretation = "rgba-image"  # the samples of a pixel are the last axis
        self._groups: dict[str, Attributes] = {
            "/scan_0": {"NX_class": "NXentry", "default": "image"},
            "/scan_0/instrument": {"NX_class": "NXinstrument"},
            POSITIONERS: {"NX_class": "NXpositioner"},
            FILE: {"NX_class": "NXcollection"},
            DETECTOR: {"NX_class": "NXdetector"},
            OTHERS: {},
            MEASUREMENT: {"NX_class": "NXcollection"},
            IMAGE: {
                "NX_class": "NXdata",
                "interpretation": self.interpretation,
                "signal": "data",
            },
        }
        if sample:
            self._groups[SAMPLE] = {"NXclass": "NXsample"}  # so spelled by silx
        self._values: dict[tuple[object, str], Array] = {}

    @property
    def skeleton(self) -> list[str]:
        """The addresses of the groups that are known from the first header."""
        metadata = POSITIONERS, FILE, OTHERS, MEASUREMENT
        return [address for address in self._groups if address not in metadata]

    def group(self, address: str) -> Attributes | None:
        """The attributes of this group; None: there is no such group."""
        if address.startswith(MEASUREMENT + "/"):
            return {} if address == self._preview else None
        return self._groups.get(address)

    def groups(self, parent: str) -> list[str]:
        """The addresses of the groups in this one, in the order of silx."""
        if parent == MEASUREMENT:
            return [self._preview]
        return [address for address in self._groups if address.rpartition("/")[0] == parent]

    def links(self, group: str) -> Mapping[str, str]:
        """The soft links in this group, from name to target."""
        if group == IMAGE:
            return {"data": DATA}
        if group.startswith(MEASUREMENT + "/"):
            return {"data": DATA, "info": DETECTOR}
        return {}

    def _silx_reader(self, count: int) -> Any:
        reader = _silx.EdfFabioReader if self._frames.is_edf else _silx.FabioReader
        return reader(fabio_image=_HeaderOnlyImage(self._frames, count))

    @cached_property
    def _reader(self) -> Any:
        """The silx reader of all headers."""
        count = len(self._frames.headers)
        if count == 1:
            return self._first
        with translate_errors("the headers", strict=False):
            return self._silx_reader(count)

    @cached_property
    def _preview(self) -> str:
        """The address of the group with the image; silx avoids the names of counters."""
        counters = set(self._reader.get_keys(_silx.FabioReader.COUNTER))
        number = next(n for n in range(len(counters) + 1) if f"image_{n}" not in counters)
        return f"{MEASUREMENT}/image_{number}"

    def values(self, group: str) -> Values:
        """The metadata datasets of this group in the order of silx; each is converted when it is
        called.
        """
        if group == FILE:
            return {"scan_header": lambda: self._once("scan_header", FILE, self._raw_header)}
        if group == SAMPLE:
            return {name: self._sample_value(name) for name in _SAMPLE}
        kind = {
            OTHERS: _silx.FabioReader.DEFAULT,
            MEASUREMENT: _silx.FabioReader.COUNTER,
            POSITIONERS: _silx.FabioReader.POSITIONER,
        }.get(group)
        if kind is None:
            return {}
        return {_name(key): self._metadata(kind, key) for key in self._reader.get_keys(kind)}

    def attributes(self, group: str) -> Attributes:
        """The attributes of each metadata dataset of this group."""
        return {"interpretation": "scalar"} if group == SAMPLE else {}

    def _once(self, name: str, group: object, make: Callable[[], Any]) -> Array:
        if (group, name) not in self._values:
            with translate_errors(name, strict=False):
                self._values[group, name] = without_objects(np.asarray(make()))
        return self._values[group, name]

    def _raw_header(self) -> Any:
        return _silx.RawHeaderData("scan_header", self._reader)[()]

    def _metadata(self, kind: int, key: Any) -> Callable[[], Array]:
        def values() -> Any:
            try:
                return self._reader.get_value(kind, key)
            except (ValueError, TypeError, AssertionError):
                if kind != _silx.FabioReader.DEFAULT:
                    raise
                return self._as_text(key)

        return lambda: self._once(_name(key), kind, values)

    def _as_text(self, key: Any) -> Array:
        text = [str(header.get(key, "")) for header in self._frames.headers]
        return np.array(text, dtype=np.str_)

    def _sample_value(self, name: str) -> Callable[[], Array]:
        return lambda: self._once(name, SAMPLE, lambda: _SAMPLE[name](self._first))


def _name(key: Any) -> str:
    return key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key)


def _unit_cell(reader: Any) -> npt.NDArray[np.float32]:
    cell = [*reader.get_unit_cell_abc(), *reader.get_unit_cell_alphabetagamma()]
    return np.array([cell], np.float32)


_SAMPLE: dict[str, Callable[[Any], Any]] = {
    "unit_cell_abc": lambda reader: reader.get_unit_cell_abc(),
    "unit_cell_alphabetagamma": lambda reader: reader.get_unit_cell_alphabetagamma(),
    "unit_cell": _unit_cell,
    "ub_matrix": lambda reader: reader.get_ub_matrix(),
}


def root_attributes(time: str, path: str | None) -> dict[str, object]:
    """The attributes of the root; `time` replaces the time of the call, which silx has there."""
    attributes: dict[str, object] = {
        "NX_class": "NXroot",
        "file_time": time,
        "creator": f"silx {_silx.silx_version}",
        "default": "scan_0",
    }
    return attributes if path is None else attributes | {"file_name": path}


def without_objects(array: npt.NDArray[Any]) -> Array:
    """The array with Python objects replaced by text: NumPy could only pickle them."""
    if array.dtype.hasobject:
        text = [
            value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
            for value in array.ravel()
        ]
        array = np.array(text, dtype=np.str_).reshape(array.shape)
    return np.ascontiguousarray(array).reshape(array.shape)


class _HeaderOnlyImage(FabioImage):  # type: ignore[misc]  # FabIO has no types
    """A FabIO image for silx that has headers but no data."""

    def __init__(self, frames: FrameSource, count: int) -> None:
        super().__init__()
        self.headers = list(frames.headers[:count])
        self.header = self.headers[0]
        self.RESERVED_HEADER_KEYS = list(frames.reserved)

    @property
    def nframes(self) -> int:
        return len(self.headers)

    def getframe(self, num: int) -> SimpleNamespace:
        return SimpleNamespace(header=self.headers[num])
