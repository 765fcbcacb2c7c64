"""What a scan tells besides its frames, for an NXtomo entry of its corrected frames.

Reads the small datasets that reconstruction programs use, with their attributes (units above all).
Does not: find the scan (`conventions`), or write the entry (`nxtomo_entry`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esrffs.errors import EsrffsError
from esrffs.flatfield.inspectors import TRANSIENT_ERRORS, values_of
from esrffs.flatfield.resolved_plan import ResolvedPlan
from esrffs.source.context import DataContext
from esrffs.source.path_resolver import PathResolver

# Of the fields of NXtomo (nxtomo 3, `nxtomo/paths/`) those that stay true of corrected frames.
FIELDS = (
    "title",
    "start_time",
    "end_time",
    "beam/incident_energy",
    "control/data",
    "instrument/name",
    "instrument/beam/incident_energy",
    "instrument/source/name",
    "instrument/source/type",
    "instrument/source/probe",
    "instrument/source/distance",
    "instrument/detector/distance",
    "instrument/detector/x_pixel_size",
    "instrument/detector/y_pixel_size",
    "instrument/detector/x_rotation_axis_pixel_position",
    "instrument/detector/y_rotation_axis_pixel_position",
    "instrument/detector/estimated_cor_from_motor",
    "instrument/detector/field_of_view",
    "instrument/detector/half_acquisition",
    "instrument/detector/count_time",
    "sample/name",
    "sample/rotation_angle",
    "sample/x_translation",
    "sample/y_translation",
    "sample/z_translation",
    "sample/propagation_distance",
)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The values of one dataset, and its attributes as JSON has them."""

    values: npt.NDArray[Any]
    attributes: Mapping[str, Any]


async def scan_metadata(resolved: ResolvedPlan, context: DataContext) -> dict[str, Field]:
    """The fields of the scan by path; those with a value for each frame have those of projections.

    Empty where the raw frames are those of no entry.  StaleError where the file changed meanwhile.
    """
    file, entry, frames = resolved.scan_file, resolved.plan.entry, resolved.plan.projections
    found: dict[str, Field] = {}
    if file is None or entry is None or frames is None:
        return found
    resolver = PathResolver(context)
    for path in FIELDS:
        try:
            located = await resolver.locate_dataset(file, f"{entry}/{path}")
            values = await values_of(located)
            text = located.info.attributes.content if located.info.attributes else b"{}"
            if text is None:
                text = await located.source.attributes(located.info.address)
        except TRANSIENT_ERRORS:
            raise
        except EsrffsError:
            continue  # it is not there, or cannot be read; then it tells so itself
        if values is None or values.dtype.kind not in "biufUS":
            continue
        if values.ndim == 1 and len(values) == frames.count:
            values = values[frames.index]
        elif values.size > 1:
            continue
        attributes = {name: value for name, value in json.loads(text).items() if name == "units"}
        found[path] = Field(np.asarray(values), attributes)
    return found
