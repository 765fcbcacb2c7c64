"""A plan of `corrected/` with everything that is needed to compute it.

What is found here is found once: where each input array lies, what the bytes of each result depend
on, and which file names the results have.  Does not: read pixels (`corrected_array`), or decide
when a plan is looked for again (`service`).
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from importlib import metadata
from typing import NamedTuple

from esrffs.encoders import file_names, npy
from esrffs.encoders.json_text import to_json
from esrffs.flatfield.dependencies import Dependencies
from esrffs.flatfield.inspectors import Inspector
from esrffs.flatfield.plan import CorrectedDataset, CorrectionPlan, FrameRange, ReducedDataset
from esrffs.flatfield.provenance import attributes_of, provenance
from esrffs.linux.permissions import intersect
from esrffs.model import FileStatus, Generation
from esrffs.source.array_location import ArrayLocation
from esrffs.source.data_file import DataFile

ATTRIBUTES = b"attrs.json"
_ENTRY_NBYTES_ESTIMATE = 2500  # of memory, for one result with its names and locations


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedEntry:
    """Everything about one `.npy` file of `corrected/`.

    `inputs`: where each input array lies, by the path that the plan calls it; all entries of a plan
    share one mapping.  `key`: equal for equal bytes.  `status`: the newest times of the inputs, and
    a mode that admits only who may read all of them.
    """

    dataset: CorrectedDataset | ReducedDataset
    inputs: Mapping[str, ArrayLocation]
    key: bytes
    status: FileStatus

    def input_files(self) -> dict[str, Generation]:
        """The files that hold the inputs, with the generation in which they were seen."""
        return dict(self.inputs[path].file for path in input_paths(self.dataset))


@dataclass(frozen=True, eq=False)
class ResolvedPlan:
    """What one `corrected/` shows; `status` is that of the file or folder that it belongs to.

    `entries` are the results, in the order of the plan's outputs; `references` the darks and flats
    that they are made with, for each correction of the plan.  `scan_file` is the data file that
    holds the group; None where it belongs to a folder.
    """

    plan: CorrectionPlan
    entries: tuple[CorrectedEntry, ...]
    references: tuple[CorrectedEntry, ...]
    dependencies: Dependencies
    status: FileStatus
    scan_file: DataFile | None = None

    @cached_property
    def files(self) -> Mapping[bytes, CorrectedEntry | bytes]:
        """What the directory lists, by file name: results, and the content of small files."""
        extras = self.plan.extras
        wanted = [*(entry.dataset.name for entry in self.entries), *(one.name for one in extras)]
        names = file_names.unique_names((file_names.escape(name), b".npy") for name in wanted)
        results = names[: len(self.entries)]
        files: dict[bytes, CorrectedEntry | bytes] = dict(zip(results, self.entries, strict=True))
        for name, extra in zip(names[len(results) :], extras, strict=True):
            files[name] = (
                npy.header(extra.values.shape, extra.values.dtype) + extra.values.tobytes()
            )
        stems = [os.fsdecode(name.removesuffix(b".npy")) for name in results]
        files[ATTRIBUTES] = to_json(provenance(self.plan, stems, metadata.version("esrffs")))
        return files

    @cached_property
    def unlisted(self) -> Mapping[bytes, CorrectedEntry | bytes]:
        """What is found by its name only: darks and flats, and what tells of them.

        So that a program that goes through the results meets results alone.
        """
        found: dict[bytes, CorrectedEntry | bytes] = {}
        for entry in self.references:
            if isinstance(entry.dataset, ReducedDataset):
                name = os.fsencode(entry.dataset.name)
                found[name + b".npy"] = entry
                found[name + b".attrs.json"] = to_json(attributes_of(entry.dataset))
        return found

    def file(self, name: bytes) -> CorrectedEntry | bytes | None:
        """The file of this name; None where there is none."""
        return self.files.get(name) or self.unlisted.get(name)

    @cached_property
    def absorption(self) -> "ResolvedPlan":
        """What `absorption/` shows: -ln of these results."""
        outputs = tuple(replace(one, absorption=True) for one in self.plan.outputs)
        entries = tuple(
            replace(entry, dataset=output, key=entry.key + b"-ln")
            for entry, output in zip(self.entries, outputs, strict=True)
        )
        plan = replace(self.plan, outputs=outputs)
        return replace(self, plan=plan, entries=entries, references=())

    @cached_property
    def version(self) -> bytes:
        """What the bytes of all files of the directory, and of its views, depend on."""
        attributes = self.files[ATTRIBUTES]
        told = attributes if isinstance(attributes, bytes) else b""
        told += self.scan_file.version if self.scan_file else b""
        return blake2b(b"".join(e.key for e in self.entries) + told, digest_size=16).digest()

    def nbytes(self) -> int:
        """Memory that it takes, about."""
        extras = sum(extra.values.nbytes for extra in self.plan.extras)
        return extras + _ENTRY_NBYTES_ESTIMATE * (1 + len(self.entries))


async def resolve(plan: CorrectionPlan, inspector: Inspector, status: FileStatus) -> ResolvedPlan:
    """The plan with its inputs located.  What locating them raises: they were there just before."""
    inputs: dict[str, ArrayLocation] = {}
    for output in plan.outputs:
        for path in input_paths(output):
            if path not in inputs:
                inputs[path] = await inspector.locate(path)
    shared = {
        id(one): _origin(repr(one), one.parts, inputs, status) for one in plan.corrections
    }  # many results share one correction
    entries = []
    for output in plan.outputs:
        formula = repr((output.name, output.shape, output.raw, output.currents))
        raw = _origin(formula, [run.part for run in output.raw], inputs, status)
        references = shared[id(output.correction)]
        readable_by = intersect((references.status, raw.status))
        entries.append(CorrectedEntry(output, inputs, references.key + raw.key, readable_by))
    reduced = []
    for dataset in reduced_datasets(plan):
        origin = _origin(repr(dataset), dataset.parts, inputs, status)
        reduced.append(CorrectedEntry(dataset, inputs, origin.key, origin.status))
    dependencies, file = inspector.dependencies(), inspector.file
    return ResolvedPlan(plan, tuple(entries), tuple(reduced), dependencies, status, file)


def reduced_datasets(plan: CorrectionPlan) -> list[ReducedDataset]:
    """`dark`, `flats`, and `flat_dark` if there is one; numbered where there are more corrections.

    The numbers are those of `corrections` in `attrs.json`.
    """
    several = len(plan.corrections) > 1
    found = []
    for number, correction in enumerate(plan.corrections):
        end = f"_{number}" if several else ""
        output = next(one for one in plan.outputs if one.correction is correction)
        frame = output.shape[-2:]
        flats = correction.flats
        found.append(ReducedDataset(f"dark{end}", frame, (correction.dark,)))
        if correction.flat_dark is not None:
            found.append(ReducedDataset(f"flat_dark{end}", frame, (correction.flat_dark,)))
        found.append(
            ReducedDataset(
                f"flats{end}",
                (len(flats), *frame),
                tuple(flat.frames for flat in flats),
                tuple(flat.abscissa for flat in flats),
            )
        )
    return found


def input_paths(dataset: CorrectedDataset | ReducedDataset) -> list[str]:
    """The paths of all arrays that this is computed from, each once."""
    return list(dict.fromkeys(part.path for part in dataset.parts))


class _Origin(NamedTuple):
    """What bytes depend on, and who may read all of it."""

    key: bytes
    status: FileStatus


def _origin(
    formula: str,
    parts: Iterable[FrameRange],
    inputs: Mapping[str, ArrayLocation],
    own: FileStatus,
) -> _Origin:
    """`formula`: a text that tells how the parts are used.  Without parts the status is `own`."""
    key = blake2b(formula.encode("utf-8", "surrogateescape"), digest_size=16)
    statuses: dict[bytes, FileStatus] = {}
    for path in dict.fromkeys(part.path for part in parts):
        located = inputs[path]
        key.update(located.key)
        statuses[located.source.version] = located.source.status
    return _Origin(key.digest(), intersect(statuses.values() or (own,)))
