"""The plan of a `corrected/`: which frames are raw, flat and dark, and what is computed of them.

A convention (`conventions`) finds a plan from names, shapes and small values.  It returns a
`CorrectionPlan`, a `Rejected` with the reason, or None where it does not apply.  Does not: say
where the arrays lie (`resolved_plan`), or compute (`formula`).  Paths are as in
`conventions/queries`.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from esrffs.flatfield.formula import FlatInterpolation, Method


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames [first, last) of the array at `path`; an image (y, x) is [0, 1)."""

    path: str
    first: int
    last: int
    is_image: bool = False

    def __str__(self) -> str:
        return self.path if self.is_image else f"{self.path}[{self.first}:{self.last}]"


@dataclass(frozen=True, slots=True)
class ReducedFrame:
    """Frames that become one; `divisor`: each is the sum of so many exposures.

    Without parts it is a frame whose pixels are all `constant`.  `note` says for the provenance
    what the frames are, where that is not clear from their reduction.
    """

    parts: tuple[FrameRange, ...]
    reduction: Literal["mean", "median"]
    divisor: int = 1
    constant: float = 0.0
    note: str = ""


NO_DARK = ReducedFrame((), "mean")
REDUCED_BEFORE = "reduced before by another program, as tomoscan and nabu do"


@dataclass(frozen=True, slots=True)
class Flat:
    abscissa: float
    frames: ReducedFrame
    current: float | None = None  # of the machine, for norm=current


@dataclass(frozen=True, slots=True)
class RawRun:
    """Raw frames; `abscissa` is that of the first, and each further one is one more."""

    part: FrameRange
    abscissa: float


@dataclass(frozen=True, slots=True)
class Correction:
    """What raw frames are corrected with; `flats` by increasing abscissa.

    `flat_dark` is taken from the flats where they have a dark of their own; each pixel is
    multiplied by `scale` in the end.
    """

    dark: ReducedFrame
    flats: tuple[Flat, ...]
    method: Method = "linear"
    nan: float | None = None
    flat_dark: ReducedFrame | None = None
    scale: float = 1.0

    @property
    def axis(self) -> FlatInterpolation:
        return FlatInterpolation(tuple(flat.abscissa for flat in self.flats), self.method)

    @property
    def parts(self) -> tuple[FrameRange, ...]:
        """All that dark and flats are made of."""
        flat_dark = self.flat_dark.parts if self.flat_dark else ()
        flats = (part for flat in self.flats for part in flat.frames.parts)
        return (*self.dark.parts, *flat_dark, *flats)


@dataclass(frozen=True, slots=True)
class CorrectedDataset:
    """`corrected/<name>.npy`, float32 of this shape, C order; frames in the order of `raw`.

    With norm=current `currents` has the machine current of each frame, else nothing.  With
    `absorption` each pixel is -ln of the corrected one: the file is in `absorption/`.
    """

    name: str
    shape: tuple[int, ...]
    raw: tuple[RawRun, ...]
    correction: Correction
    currents: tuple[float, ...] = ()
    absorption: bool = False

    @property
    def parts(self) -> tuple[FrameRange, ...]:
        """All that it is computed from."""
        return (*(run.part for run in self.raw), *self.correction.parts)


@dataclass(frozen=True, slots=True)
class ReducedDataset:
    """`corrected/dark.npy` (y, x) or `corrected/flats.npy` (n, y, x), float32, C order.

    The frames are those that the formula uses.  `abscissae` are those of flats, one for each frame.
    """

    name: str
    shape: tuple[int, ...]
    frames: tuple[ReducedFrame, ...]
    abscissae: tuple[float, ...] = ()

    @property
    def parts(self) -> tuple[FrameRange, ...]:
        return tuple(part for frame in self.frames for part in frame.parts)


@dataclass(frozen=True, slots=True, eq=False)
class AuxiliaryDataset:
    """`corrected/<name>.npy` with these values."""

    name: str
    values: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """Which of the `count` frames of a scan are projections: `index`, int64, increasing."""

    count: int
    index: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class CorrectionPlan:
    """Everything that `corrected/` shows here; `notes` and `warnings` are for the log.

    `entry` is the path of the group that describes the scan, and `projections` the frames in it
    that the first output has, where there is such a group.
    """

    convention: str
    outputs: tuple[CorrectedDataset, ...]
    extras: tuple[AuxiliaryDataset, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    entry: str | None = None
    projections: Projections | None = None

    @property
    def corrections(self) -> tuple[Correction, ...]:
        """Those of all outputs, each once: many outputs share one."""
        return tuple({id(one.correction): one.correction for one in self.outputs}.values())


@dataclass(frozen=True, slots=True)
class Rejected:
    """A convention applies, but cannot be followed; `reason` is a sentence for the user."""

    reason: str


Detection = CorrectionPlan | Rejected | None


@dataclass(frozen=True, slots=True)
class CorrectionOptions:
    """The options of a mount for `corrected/`: `flat=`, `nan=`, `norm=current`, `dark=none`."""

    method: Method = "linear"
    nan: float | None = None
    norm_current: bool = False
    no_dark: bool = False  # where no dark is found it is 0


class ConventionError(Exception):
    """A convention cannot be followed; `conventions/detect` turns it into `Rejected`."""
