"""A Spec scan as the header of an EDF file: its motors, counters and header lines.

The keys are those that SPEC itself writes into EDF headers, so that FabIO and silx find the motors
and counters: `motor_mne` and `motor_pos`, `counter_mne` and `counter_pos` are lists of names and of
numbers, divided by blanks.  A list has one number for each name, and a scan has many points: the
numbers are those of the last point, and `point_no` tells its index (from 0).  The columns of a scan
that is not too large follow as keys of their own, all points in order.  Unit cell and orientation
matrix are `sample_mne`, `sample_pos`, `UB_mne` and `UB_pos`, as silx reads them.

Does not: decide how an EDF header is spelled (`encoders/edf`).
"""

from collections.abc import Iterator

import numpy as np

from esrffs.encoders.edf import Header
from esrffs.errors import DamagedError
from esrffs.formats.spec.tree import DatasetNode, GroupNode, ScanNode
from esrffs.model import Box

MAX_COLUMN_NUMBERS = 6000  # of all columns together: more points are not written into a header
_IN_LISTS = ("#L", "#N", "#O", "#P")  # lines whose contents are in the lists of motors and counters


def edf_header(scan: GroupNode) -> Header:
    """Keys and values of the scan, as text; what of it cannot be read is left out."""
    counters = _datasets(_group(scan, "measurement"))
    motors = _datasets(_group(scan, "instrument", "positioners"))
    keys: dict[str, str] = {"title": _text(scan, "title"), "start_time": _text(scan, "start_time")}
    keys["scan_no"] = scan.name.partition(".")[0]
    points = max((one.shape[0] for one in counters.values() if one.shape), default=0)
    if points:
        keys["point_no"] = str(points - 1)
    for kind, datasets in (("motor", motors), ("counter", counters)):
        last = {name: value for name, one in datasets.items() if (value := _last(one))}
        if last:
            keys[f"{kind}_mne"] = " ".join(last)
            keys[f"{kind}_pos"] = " ".join(last.values())
    for kind, letters, dataset in (("sample", "U", "unit_cell"), ("UB", "UB", "ub_matrix")):
        if values := _values(_group(scan, "sample"), dataset):
            keys[f"{kind}_mne"] = " ".join(f"{letters}{k}" for k in range(len(values)))
            keys[f"{kind}_pos"] = " ".join(map(number, values))
    columns = {name: one for name, one in {**counters, **motors}.items() if one.shape}
    if len(columns) * points <= MAX_COLUMN_NUMBERS:
        for name, one in columns.items():
            if text := _all(one):
                keys.setdefault(name, text)
    _add_lines(keys, scan)
    return tuple(keys.items())


def _group(group: GroupNode, *path: str) -> GroupNode:
    for name in path:
        found = (one for one in group.members if isinstance(one, GroupNode) and one.name == name)
        group = next(found, GroupNode(name, ()))
    return group


def _datasets(group: GroupNode) -> dict[str, DatasetNode]:
    """Numbers, and columns of them, by the name in the file with `_` for blanks; first ones win."""
    found: dict[str, DatasetNode] = {}
    for node in group.members:
        if isinstance(node, DatasetNode) and len(node.shape) <= 1 and node.dtype.kind in "iuf":
            name = "_".join((node.label or node.name).split())
            if name:
                found.setdefault(name, node)
    return found


def _last(node: DatasetNode) -> str:
    """The number, or the last one of a column; "" where there is none.

    Of motors without a position silx says that it is infinite.
    """
    if node.shape == (0,):
        return ""
    box = Box((node.shape[0] - 1,), node.shape) if node.shape else Box((), ())
    [value] = _loaded(node, box) or [np.inf]
    return "" if np.isinf(value) else number(value)


def _all(node: DatasetNode) -> str:
    return " ".join(map(number, _loaded(node, Box((0,), node.shape))))


def _loaded(node: DatasetNode, box: Box) -> list[float]:
    """The values; [] where they cannot be read, which their own file tells."""
    try:
        values: list[float] = np.asarray(node.load(box), np.float64).reshape(-1).tolist()
    except DamagedError:
        return []
    return values


def _values(group: GroupNode, name: str) -> list[float]:
    """The numbers of this dataset, of any shape, in C order; [] where there is none."""
    for node in group.members:
        if node.name == name and isinstance(node, DatasetNode):
            return _loaded(node, Box((0,) * len(node.shape), node.shape))
    return []


def number(value: float) -> str:
    """The shortest spelling that reads back as this float64, without `.0`."""
    return repr(value).removesuffix(".0")


def _text(group: GroupNode, name: str) -> str:
    for node in group.members:
        if node.name == name and isinstance(node, DatasetNode):
            return str(node.load(Box((), ())))
    return ""


def _add_lines(keys: dict[str, str], scan: GroupNode) -> None:
    """Header lines by their own key (`#D`); where one comes again, it gets a number (`#C_2`)."""
    told = _group(scan, "instrument", "specfile")
    for name in ("scan_header", "file_header"):
        for line in _lines(told.members, name):
            key, _, value = line.partition(" ")
            if not key.startswith("#") or key[:2] in _IN_LISTS:
                continue
            used, number_ = key, 1
            while used in keys:
                number_ += 1
                used = f"{key}_{number_}"
            keys[used] = value.strip()


def _lines(members: tuple[ScanNode, ...], name: str) -> Iterator[str]:
    for node in members:
        if node.name == name and isinstance(node, DatasetNode):
            yield from map(str, node.load(Box((0,), node.shape)).tolist())
