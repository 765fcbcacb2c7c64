"""The tables of the benchmarks, as Markdown.

A ratio is the rival's median time over that of esrffs: above 1 where esrffs is faster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.rows import Rival, Row
from benchmarks.timing import READ_AHEADS, Times, least, middle


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison; `wall`, `cpu` (processor time) and `best` are ratios by kind of mount.

    `seconds`: the rival's median, then ours.
    """

    name: str
    rival: str
    goals: dict[str, float | None]
    wall: dict[str, float]
    best: dict[str, float]
    cpu: dict[str, float]
    seconds: tuple[float, ...]


def lines(rows: Sequence[Row], times: Times) -> Iterator[Line]:
    for row in rows:
        for rival in row.rivals:
            yield _line(row.name, rival, times, row.name, "first")
        if row.again is not None:
            yield _line(f"{row.name}, again", row.again, times, row.name, "again")


def _line(name: str, rival: Rival, times: Times, row: str, which: str) -> Line:
    theirs = times[row, rival.name, which]
    ours = {kind: times[row, kind, which] for kind in READ_AHEADS}
    return Line(
        name,
        rival.name,
        {"ordinary": rival.goal, "root": rival.root if rival.root is not None else rival.goal},
        {kind: middle(theirs).wall / middle(taken).wall for kind, taken in ours.items()},
        {kind: least(theirs).wall / least(taken).wall for kind, taken in ours.items()},
        {kind: middle(theirs).cpu / max(middle(taken).cpu, 1e-2) for kind, taken in ours.items()},
        (middle(theirs).wall, *(middle(taken).wall for taken in ours.values())),
    )


def table(found: Sequence[Line]) -> str:
    """Markdown: for each comparison the ratios of medians, of minima and of processor time."""
    head = [
        "| read | against | goal | ordinary | root | best of, ordinary / root | cpu | ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(head + [_markdown(line) for line in found])


def _markdown(line: Line) -> str:
    goals = line.goals
    goal = (
        ""
        if goals["ordinary"] is None
        else " / ".join(dict.fromkeys(f"{g:g}" for g in goals.values() if g is not None))
    )
    cells = [_verdict(line.wall[kind], goals[kind]) for kind in READ_AHEADS]
    best = " / ".join(f"{line.best[kind]:.2f}" for kind in READ_AHEADS)
    cpu = " / ".join(f"{line.cpu[kind]:.2f}" for kind in READ_AHEADS)
    took = " : ".join(f"{1e3 * s:.0f}" if s >= 0.01 else f"{1e3 * s:.1f}" for s in line.seconds)
    return "| " + " | ".join([line.name, line.rival, goal, *cells, best, cpu, took]) + " |"


def _verdict(ratio: float, goal: float | None) -> str:
    mark = "" if goal is None or ratio >= goal else " ✗"
    return f"{ratio:.2f}{mark}"


FLOOR_GOAL = 1.4  # times the floor of FUSE and the decoding, at most


def floor_table(rows: Sequence[Row], times: Times) -> str:
    """Markdown: first reads as multiples of the floor of FUSE, with decoding on all cores."""
    head = [
        "\n| first read | floor, ms | decoding, ms | esrffs, ms | times floor + decoding |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(head + [_floor_line(row, times) for row in rows if row.nbytes])


def _floor_line(row: Row, times: Times) -> str:
    decoding = times.get((row.name, "decoding", "first"))
    seconds = middle(decoding).wall if decoding else 0.0
    floors = {kind: middle(times[row.name, f"floor, {kind}", "first"]).wall for kind in READ_AHEADS}
    ours = {kind: middle(times[row.name, kind, "first"]).wall for kind in READ_AHEADS}
    multiples = {kind: ours[kind] / (floors[kind] + seconds) for kind in READ_AHEADS}
    cells = [
        row.name,
        " / ".join(f"{1e3 * floors[kind]:.0f}" for kind in READ_AHEADS),
        f"{1e3 * seconds:.0f}",
        " / ".join(f"{1e3 * ours[kind]:.0f}" for kind in READ_AHEADS),
        " / ".join(
            f"{multiples[kind]:.2f}{'' if multiples[kind] <= FLOOR_GOAL else ' ✗'}"
            for kind in READ_AHEADS
        ),
    ]
    return "| " + " | ".join(cells) + " |"
