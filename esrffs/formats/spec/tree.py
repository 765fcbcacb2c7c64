"""The tree of one Spec scan, as silx shows it: its groups, datasets, links and attributes.

A value that cannot be read makes one broken member; the others are not affected.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from esrffs.errors import DamagedError
from esrffs.formats.spec import headers as headers
from esrffs.formats.spec.points import ScanIndex
from esrffs.formats.spec.scan_index import Scan, SpecFile
from esrffs.model import Box, MemberKind

Array = npt.NDArray[np.generic]

_TOLD = 20  # lines that are told one by one
_FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class DatasetNode:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    load: Callable[[Box], Array]
    attributes: Mapping[str, str] = field(default_factory=dict)
    label: str = ""  # where the name is another


@dataclass(frozen=True, slots=True, eq=False)
class GroupNode:
    name: str
    members: "tuple[ScanNode, ...]"
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkNode:
    name: str
    path: str
    kind: MemberKind


@dataclass(frozen=True, slots=True)
class BrokenNode:
    name: str
    reason: str


ScanNode = GroupNode | DatasetNode | LinkNode | BrokenNode


def _constant(name: str, value: object, **attributes: str) -> DatasetNode:
    array = np.asarray(value)
    return DatasetNode(name, array.shape, array.dtype, lambda box: array[box.slices], attributes)


def _constants_or_broken(
    names: tuple[str, ...], make: Callable[[], tuple[object, ...]]
) -> Iterator[ScanNode]:
    """Values of the header under these names; what the header says wrongly is broken."""
    try:
        values = make()
    except ValueError as error:
        yield from (BrokenNode(name, f"the scan's header is malformed: {error}") for name in names)
    else:
        yield from map(_constant, names, values)


@contextmanager
def _prefix_errors(where: str) -> Iterator[None]:
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{where}: {error}") from error


def _nx(kind: str) -> dict[str, str]:
    return {"NX_class": kind}


def scan_tree(file: SpecFile, scan: Scan) -> GroupNode:
    """The group of this scan with all below it."""
    return _ScanTree(file, scan).root()


class _ScanTree:
    def __init__(self, file: SpecFile, scan: Scan) -> None:
        self._file, self._scan = file, scan
        self._survey: ScanIndex = file.survey(scan.span)
        self._lines = self._survey.header
        same = scan.file_header.start == scan.span.start
        self._file_lines = () if same else file.header(scan.file_header)
        self._labels = self._survey.labels
        self._misfit = self._told_misfit()
        self._analysers = self._survey.analysers(headers.analyser_count(self._lines))

    def root(self) -> GroupNode:
        measurement = [self._column(i, headers.name(label)) for i, label in enumerate(self._labels)]
        members: list[ScanNode] = [
            _constant("title", headers.title(self._lines)),
            _constant("start_time", headers.start_time(self._lines, self._file_lines)),
            GroupNode("instrument", tuple(self._instrument()), _nx("NXinstrument")),
            GroupNode("measurement", (*measurement, *self._mca_links()), _nx("NXcollection")),
        ]
        if sample := tuple(self._sample()):
            members.append(GroupNode("sample", sample, _nx("NXsample")))
        return GroupNode(self._scan.name, tuple(members), _nx("NXentry") | self._left_out())

    def _told_misfit(self) -> str:
        if (start := self._survey.misfit) is None:
            return ""
        promised = f"#L has {_count(len(self._labels), 'label')}"
        if self._survey.columns != len(self._labels):
            promised += f", #N says {self._survey.columns}"
        number, line = self._file.line_number(start), self._file.line(start)
        return f"{promised}, but line {number} of the file, the first one after #L, is {line!r}"

    def _left_out(self) -> dict[str, str]:
        """What silx does not say: that there is more in the scan than its columns show."""
        left_out, columns, labels = self._survey.left_out, self._survey.columns, len(self._labels)
        told = {}
        if len(left_out):
            numbers = [self._file.line_number(int(start)) for start in left_out[:_TOLD]]
            more = f" and {len(left_out) - _TOLD} more" if len(left_out) > _TOLD else ""
            where = "line " if len(left_out) == 1 else "lines "
            first = self._file.line(int(left_out[0]))
            told["left_out"] = (
                f"{_count(len(left_out), 'line')} without #, neither points of "
                f"{_count(columns, 'number')} nor spectra: {where}{_ranges(numbers)}{more} of the "
                f"file, first {first!r}"
            )
            if self._survey.unfinished:
                told["left_out"] += "; the last has no line end, so that it may go on"
        if len(self._survey.points) and labels < columns:
            hidden = _ranges(range(labels + 1, columns + 1))
            where = "column" if labels + 1 == columns else "columns"
            told["without_label"] = f"{where} {hidden} of {columns}"
        return told

    def _instrument(self) -> Iterator[ScanNode]:
        told = (
            _constant("file_header", _strings(self._file_lines)),
            _constant("scan_header", _strings(self._lines)),
        )
        yield GroupNode("specfile", told, _nx("NXcollection"))
        yield GroupNode("positioners", tuple(self._positioners()), _nx("NXcollection"))
        if self._analysers is None:
            spectra, points = len(self._survey.spectra), len(self._survey.points)
            yield BrokenNode("mca_0", f"{spectra} spectra do not belong to {points} points")
        for analyser in range(self._analysers or 0):
            yield GroupNode(f"mca_{analyser}", tuple(self._mca(analyser)), _nx("NXdetector"))

    def _column(self, index: int, name: str) -> ScanNode:
        """Counter number `index` of this scan, under this name."""
        points, columns = self._survey.points, self._survey.columns
        if self._misfit:
            return BrokenNode(name, self._misfit)
        if len(points) and index >= columns:
            return BrokenNode(name, f"a point has {columns} values, this is column {index + 1}")

        def load(box: Box) -> Array:
            with _prefix_errors(f"scan {self._scan.name}, {name}"):
                if self._survey.numbers is not None:
                    self._file.check_size(int(points[-1, 1]))
                    return self._survey.numbers[box.slices[0], index]
                return self._file.column(points[box.slices[0]], index)

        label = headers.text(self._labels[index])
        label = "" if label == name else label
        return DatasetNode(name, (len(points),), _FLOAT64, load, label=label)

    def _positioners(self) -> Iterator[ScanNode]:
        """Motors; if there are more of them than positions, nobody knows which is which."""
        motors = headers.motors(self._lines, self._file_lines)
        positions = headers.positions(self._lines, self._file_lines)
        columns = {label: i for i, label in reversed(list(enumerate(self._labels)))}
        scanned = set(columns if len(self._survey.points) else ())
        lacking = positions is not None and any(
            motor not in scanned for motor in motors[len(positions) :]
        )
        for i, motor in enumerate(motors):
            name = headers.name(motor)
            if motor in scanned:
                yield self._column(columns[motor], name)
            elif positions is None:
                yield _constant(name, np.inf)
            elif not lacking:
                yield from _constants_or_broken((name,), partial(_position, positions[i]))

    def _mca(self, analyser: int) -> Iterator[ScanNode]:
        spectra = self._survey.spectra
        each = self._analysers or 1
        mine = spectra[analyser::each][: len(spectra) // each]
        if not len(mine):
            yield BrokenNode("data", "there is no complete spectrum yet")
            return
        try:
            length = len(self._file.spectrum(mine[0]))
        except DamagedError as error:
            yield BrokenNode("data", str(error))
            return

        def load(box: Box) -> Array:
            values = np.empty(box.shape, np.float64)
            for row, i in enumerate(range(box.start[0], box.stop[0])):
                with _prefix_errors(f"scan {self._scan.name}, mca_{analyser}, spectrum {i}"):
                    values[row] = self._spectrum(mine[i], length)[box.slices[1]]
            return values

        shape = (len(mine), length)
        yield DatasetNode("data", shape, _FLOAT64, load, {"interpretation": "spectrum"})
        lines = self._lines
        yield from _constants_or_broken(
            ("calibration",), lambda: (headers.calibration(lines, analyser),)
        )
        yield from _constants_or_broken(
            ("channels",), lambda: (headers.channels(lines, analyser, length),)
        )
        names = ("preset_time", "live_time", "elapsed_time")
        yield from _constants_or_broken(names, lambda: headers.times(lines, analyser) or ())

    def _spectrum(self, span: npt.NDArray[np.int64], length: int) -> Array:
        spectrum = self._file.spectrum(span)
        if len(spectrum) != length:
            raise DamagedError(f"{len(spectrum)} channels, the first one has {length}")
        return spectrum

    def _mca_links(self) -> Iterator[ScanNode]:
        for analyser in range(self._analysers or 0):
            target = f"/{self._scan.name}/instrument/mca_{analyser}"
            links = LinkNode("data", f"{target}/data", "dataset"), LinkNode("info", target, "group")
            yield GroupNode(f"mca_{analyser}", links)

    def _sample(self) -> Iterator[ScanNode]:
        scalar = {"interpretation": "scalar"}
        if (cell := headers.unit_cell(self._lines)) is not None:
            yield _constant("unit_cell", cell, **scalar)
            yield _constant("unit_cell_abc", cell[0, :3], **scalar)
            yield _constant("unit_cell_alphabetagamma", cell[0, 3:], **scalar)
        if (matrix := headers.ub_matrix(self._lines)) is not None:
            yield _constant("ub_matrix", matrix, **scalar)


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _ranges(numbers: Sequence[int]) -> str:
    """As "3, 5-7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _strings(lines: tuple[bytes, ...]) -> npt.NDArray[np.str_]:
    return np.array([headers.text(line) for line in lines], np.str_)


def _position(token: bytes) -> tuple[float]:
    return (headers.number(token),)
