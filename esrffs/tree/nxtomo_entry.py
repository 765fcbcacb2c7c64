"""`corrected.h5` and `absorption.h5`: the arrays of the directory, and an NXtomo entry of them.

For each corrected stack there is an entry that nabu, tomwer and other programs for NXtomo open: its
data are the corrected frames, `image_key` is 0 for all of them, and a process group tells how they
were made.  NXtomo: https://manual.nexusformat.org/classes/applications/NXtomo.html; `entry0000` and
`image_key_control` are as nxtomo writes them.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from esrffs.encoders import file_names
from esrffs.flatfield.plan import CorrectedDataset
from esrffs.flatfield.resolved_plan import ATTRIBUTES, CorrectedEntry, ResolvedPlan
from esrffs.flatfield.scan_metadata import Field, scan_metadata
from esrffs.formats.hdf5.image import (
    ArrayRunPlace,
    DescribedDataset,
    DescribedGroup,
    DescribedLink,
    Hdf5Image,
    ImageLimits,
)
from esrffs.linux.permissions import intersect
from esrffs.model import FileStatus
from esrffs.source.context import DataContext
from esrffs.tree.handles import OpenArray
from esrffs.tree.hdf5_view import OpenContents
from esrffs.tree.view_files import ArrayFile

_CLASSES = {
    "instrument": "NXinstrument",
    "instrument/detector": "NXdetector",
    "instrument/beam": "NXbeam",
    "instrument/source": "NXsource",
    "beam": "NXbeam",
    "control": "NXmonitor",
    "sample": "NXsample",
    "data": "NXdata",
    "process": "NXprocess",
}


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedContents:
    """What the HDF5 view of `corrected/` is made of: its arrays by file name, and its plan."""

    context: DataContext
    resolved: ResolvedPlan
    arrays: Mapping[bytes, ArrayFile]

    @property
    def key(self) -> bytes:
        return self.resolved.version

    @property
    def status(self) -> FileStatus:
        """Who may not read one of the arrays may not read the file that has all of them."""
        found = [array.status for array in self.arrays.values()]
        return intersect(found or [self.resolved.status])

    def error_text(self) -> str | None:
        texts = [text for array in self.arrays.values() if (text := array.error_text())]
        return "\n".join(dict.fromkeys(texts)) or None

    async def image(self, limits: ImageLimits) -> Hdf5Image:
        attributes = self.resolved.files[ATTRIBUTES]
        told = json.loads(attributes) if isinstance(attributes, bytes) else {}
        metadata = await scan_metadata(self.resolved, self.context)
        angle = metadata.get("sample/rotation_angle")
        members = []
        for name, array in self.arrays.items():
            one = array.description()
            units = angle.attributes if angle and one.name == "rotation_angle" else {}
            members.append(
                DescribedDataset(one.name, os.fsdecode(name), one.shape, one.dtype, units)
            )
        entries = _entries(self.resolved, members, metadata, told)
        # nabu takes the first member of a file for its entry
        root = DescribedGroup("", (*entries, *members), {**told, "NX_class": "NXroot"})
        return await self.context.files.image_of_description(root, limits)

    async def state(self, image: Hdf5Image) -> bytes:  # noqa: ARG002  # the version tells all
        return b""

    async def open(self, image: Hdf5Image) -> OpenContents:  # noqa: ARG002  # each has its own file
        return _OpenArrays(self.arrays)


@dataclass(frozen=True, slots=True)
class _OpenArrays:
    arrays: Mapping[bytes, ArrayFile]

    async def open_array(self, place: ArrayRunPlace) -> OpenArray:
        return await self.arrays[os.fsencode(place.address)].open_array()

    async def read_small(self, places: Sequence[ArrayRunPlace]) -> Mapping[int, bytes]:  # noqa: ARG002
        return {}

    def close(self) -> None:
        pass


def _entries(
    resolved: ResolvedPlan,
    arrays: list[DescribedDataset],
    metadata: Mapping[str, Field],
    told: Mapping[str, Any],
) -> list[DescribedGroup]:
    """An entry for each corrected stack."""
    stacks = [
        (os.fsdecode(name), item.dataset)
        for name, item in resolved.files.items()
        if isinstance(item, CorrectedEntry)
        and isinstance(item.dataset, CorrectedDataset)
        and len(item.dataset.shape) == 3
    ]
    taken = [os.fsencode(array.name) for array in arrays]
    wanted = [(f"entry{number:04d}".encode(), b"") for number in range(len(stacks))]
    names = file_names.unique_names(wanted, taken)
    members = {array.address: array.name for array in arrays}
    angles = members.get("rotation_angle.npy")
    entries = []
    for name, (address, output) in zip(names, stacks, strict=True):
        entry = _Group()
        for path, one in metadata.items():
            if path != "sample/rotation_angle" and one.values.shape in ((), (output.shape[0],)):
                entry.put(path, one.values, one.attributes)
        entry.put("definition", "NXtomo")
        if "title" not in metadata:
            entry.put("title", output.name)
        _put_frames(entry, members[address], output, angles)
        _put_process(entry, address.removesuffix(".npy"), told)
        attributes = {"NX_class": "NXentry", "definition": "NXtomo", "default": "data"}
        entries.append(entry.described(os.fsdecode(name), attributes))
    return entries


def _put_frames(entry: "_Group", array: str, output: CorrectedDataset, angles: str | None) -> None:
    keys = np.zeros(output.shape[0], np.int32)
    entry.link("instrument/detector/data", array)
    entry.put("instrument/detector/image_key", keys)
    entry.put("instrument/detector/image_key_control", keys)
    entry.link("data/data", array)
    entry.put("data/image_key", keys)
    if angles is not None:
        entry.link("sample/rotation_angle", angles)
        entry.link("data/rotation_angle", angles)
    entry.groups["data"].attributes["signal"] = "data"


def _put_process(entry: "_Group", stem: str, told: Mapping[str, Any]) -> None:
    """The fields of NXprocess, the formula, and the sources as in `attrs.json`."""
    result = told["results"][stem]
    corrections = told.get("corrections")
    correction = told if corrections is None else corrections[result["correction"]]
    entry.put("process/program", "esrffs")
    entry.put("process/version", told["version"])
    entry.put("process/formula", told["formula"])
    entry.put("process/convention", told["convention"])
    entry.put("process/raw", result["raw"])
    entry.put("process/dark", correction["dark"].get("frames") or str(correction["dark"]))
    flats = correction["flats"]
    entry.put("process/flats", [" ".join(flat.get("frames", ())) for flat in flats])
    entry.put("process/flat_abscissae", np.array([flat["abscissa"] for flat in flats], "f8"))
    entry.put("process/provenance", json.dumps(told))


@dataclass(slots=True)
class _Group:
    """A group that is being put together."""

    members: list[DescribedDataset | DescribedLink] = field(default_factory=list)
    groups: dict[str, "_Group"] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def _below(self, path: str) -> tuple["_Group", str]:
        """The group of the dataset at this path, made if need be, and the name of the dataset."""
        *steps, name = path.split("/")
        group = self
        for depth, step in enumerate(steps, 1):
            class_ = _CLASSES["/".join(steps[:depth])]
            group = group.groups.setdefault(step, _Group(attributes={"NX_class": class_}))
        return group, name

    def put(self, path: str, values: Any, attributes: Mapping[str, Any] | None = None) -> None:
        array = np.asarray(values)
        group, name = self._below(path)
        group.members.append(
            DescribedDataset(name, path, array.shape, array.dtype, attributes or {}, array)
        )

    def link(self, path: str, array: str) -> None:
        group, name = self._below(path)
        group.members.append(DescribedLink(name, f"/{array}"))

    def described(self, name: str, attributes: Mapping[str, Any]) -> DescribedGroup:
        below = (group.described(name, group.attributes) for name, group in self.groups.items())
        return DescribedGroup(name, (*self.members, *below), attributes)
