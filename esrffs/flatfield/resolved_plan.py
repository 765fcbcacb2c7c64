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
from esrffs.flatfield.plan import CorrectedDataset, CorrectionPlan, FrameRange
from esrffs.flatfield.provenance import provenance
from esrffs.linux.permissions import intersect
from esrffs.model import FileStatus, Generation
from esrffs.source.array_location import ArrayLocation

ATTRIBUTES = b"attrs.json"
_ENTRY_NBYTES_ESTIMATE = 2500  # of memory, for one result with its names and locations


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedEntry:
    """Everything about one `.npy` file of `corrected/`.

    `inputs`: where each input array lies, by the path that the plan calls it; all entries of a plan
    share one mapping.  `key`: equal for equal bytes.  `status`: the newest times of the inputs, and
    a mode that admits only who may read all of them.
    """

    dataset: CorrectedDataset
    inputs: Mapping[str, ArrayLocation]
    key: bytes
    status: FileStatus

    def input_files(self) -> dict[str, Generation]:
        """The files that hold the inputs, with the generation in which they were seen."""
        return dict(self.inputs[path].file for path in input_paths(self.dataset))


@dataclass(frozen=True, eq=False)
class ResolvedPlan:
    """What one `corrected/` shows; `status` is that of the file or folder that it belongs to."""

    plan: CorrectionPlan
    entries: tuple[CorrectedEntry, ...]
    dependencies: Dependencies
    status: FileStatus

    @cached_property
    def files(self) -> Mapping[bytes, CorrectedEntry | bytes]:
        """The files of the directory by name: results, and the content of small files."""
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
    def absorption(self) -> "ResolvedPlan":
        """What `absorption/` shows: -ln of these results."""
        outputs = tuple(replace(one, absorption=True) for one in self.plan.outputs)
        entries = tuple(
            replace(entry, dataset=output, key=entry.key + b"-ln")
            for entry, output in zip(self.entries, outputs, strict=True)
        )
        return replace(self, plan=replace(self.plan, outputs=outputs), entries=entries)

    @cached_property
    def version(self) -> bytes:
        """What the bytes of all files of the directory depend on."""
        attributes = self.files[ATTRIBUTES]
        told = attributes if isinstance(attributes, bytes) else b""
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
    corrections: dict[int, _Origin] = {}  # many results share one correction
    entries = []
    for output in plan.outputs:
        correction = output.correction
        shared = corrections.get(id(correction))
        if shared is None:
            shared = _origin(repr(correction), correction.parts, inputs)
            corrections[id(correction)] = shared
        formula = repr((output.name, output.shape, output.raw, output.currents))
        raw = _origin(formula, [run.part for run in output.raw], inputs)
        readable_by = intersect((shared.status, raw.status))
        entries.append(CorrectedEntry(output, inputs, shared.key + raw.key, readable_by))
    return ResolvedPlan(plan, tuple(entries), inspector.dependencies(), status)


def input_paths(output: CorrectedDataset) -> list[str]:
    """The paths of all arrays that this result is computed from, each once."""
    parts = (*(run.part for run in output.raw), *output.correction.parts)
    return list(dict.fromkeys(part.path for part in parts))


class _Origin(NamedTuple):
    """What bytes depend on, and who may read all of it."""

    key: bytes
    status: FileStatus


def _origin(
    formula: str, parts: Iterable[FrameRange], inputs: Mapping[str, ArrayLocation]
) -> _Origin:
    """`formula`: a text that tells how the parts are used."""
    key = blake2b(formula.encode("utf-8", "surrogateescape"), digest_size=16)
    statuses: dict[bytes, FileStatus] = {}
    for path in dict.fromkeys(part.path for part in parts):
        located = inputs[path]
        key.update(located.key)
        statuses[located.source.version] = located.source.status
    return _Origin(key.digest(), intersect(statuses.values()))
