"""What the figures look like: a table of ratios against the goals, and a plot.

Decided here: a ratio is the rival's median over ours, above 1 where esrffs is the faster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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


def plot(found: Sequence[Line], path: Path) -> None:
    """Bars of ratios, on a logarithmic axis, the goals as marks."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.34 * len(found) + 1.2))
    places = range(len(found))
    for kind, shift, colour in (("ordinary", 0.2, "#7fa6d6"), ("root", -0.2, "#1f4e8c")):
        axes.barh(
            [-k + shift for k in places],
            [line.wall[kind] - 1 for line in found],
            0.38,
            left=1,
            color=colour,
            label=f"{kind} ({READ_AHEADS[kind]} KiB read-ahead)",
        )
        marks = [(line.goals[kind], -k + shift) for k, line in enumerate(found)]
        marks = [mark for mark in marks if mark[0] is not None]
        axes.plot([m[0] for m in marks], [m[1] for m in marks], "|", color="#c0392b", ms=9, mew=2)
    axes.plot([], [], "|", color="#c0392b", ms=9, mew=2, label="goal")
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xscale("log")
    axes.set_yticks([-k for k in places], [f"{line.name}  vs  {line.rival}" for line in found])
    axes.tick_params(labelsize=7)
    axes.set_xlabel("how many times as fast as the other")
    axes.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")
