"""Which blocks of an array are worth making before they are asked for.  Pure: no I/O, no clock.

A `ReadAhead` watches the requests for one open array.  Requests that follow each other are a *run*.
A run that goes on from one block into the next (or that began at the first byte) is a reader who
will want the blocks behind it.  How far is read ahead grows with what the run has read already, so
what is made in vain is in proportion to what was asked for.  A reader who takes single frames, here
and there, gets nothing made ahead; nor does one whose last runs ended after as many blocks.
"""

from collections import deque
from dataclasses import dataclass

from esrffs.arrays.block_grid import BlockGrid

MAX_RUNS = 4  # programs that read in one array, each in its place
_SLACK_NBYTES = 1 << 20  # requests of a run overtake each other by so much at the most
_PAGES_NBYTES = 64 << 10  # from the beginning of a block: less is a request for a few elements
_LEAST = 8  # a request of less than this fraction of a block tells nothing of a reader


@dataclass(slots=True, eq=False)
class _Run:
    start: int  # byte
    stop: int  # byte
    requests: int = 1
    large: int = 0  # requests that are more than a few pages
    confirmed: bool = False  # its reader is reading on
    ahead: int = 0  # the block up to which others were named


class ReadAhead:
    """The requests for one array that is cut by `grid`.

    `gain`: blocks that are made ahead for each one that was read.  `eager`: two requests in a row
    are a run that is worth reading ahead for, wherever in a block they lie (for small blocks).
    """

    def __init__(self, grid: BlockGrid, *, gain: int = 1, eager: bool = False) -> None:
        self._grid = grid
        self._nbytes = grid.nbytes
        self._gain = gain
        self._eager = eager
        self._runs: list[_Run] = []  # the one of the last request at the end
        self._lengths: deque[int] = deque(maxlen=3)  # bytes of runs that ended

    def observe(self, start: int, stop: int, depth: int) -> range:
        """Take note of a request for bytes [start, stop), 0 ≤ start < stop ≤ nbytes.

        The blocks behind it that are worth making now, at most `depth` blocks ahead of it, each
        named once.
        """
        run = self._run_of(start, stop)
        run.large += stop - start >= _PAGES_NBYTES
        block = self._grid.block_at(run.stop - 1)
        first, last = self._grid.byte_range(block)
        if not run.confirmed:
            run.confirmed = self._reads_on(run, first, last)
        if not run.confirmed:
            return range(0)
        covered = block - self._grid.block_at(run.start) + 1
        until = block + 1 + min(depth, self._gain * covered)
        end = self._likely_end(run)
        until = min(until, self._grid.block_at(end - 1) + 1)
        begin = max(run.ahead, block + 1)
        run.ahead = max(until, run.ahead)
        return range(begin, until)

    def postpone(self, block: int) -> None:
        """This block, and those behind it, could not be begun: name them again."""
        if self._runs:
            self._runs[-1].ahead = min(self._runs[-1].ahead, block)

    @property
    def confirmed(self) -> bool:
        """Whether the reader of the last request reads on."""
        return bool(self._runs) and self._runs[-1].confirmed

    def wants_block(self, block: int, asked: int, *, after_whole: bool = False) -> bool:
        """Whether the whole block will be wanted, of which some bytes were just observed.

        `asked` bytes of it were asked for in all; `after_whole`: the block before it is there.
        False for what looks like the edge of a neighbour, which a page fault reads with a frame,
        for a few elements here and there, and for the header of the file.
        """
        first, last = self._grid.byte_range(block)
        size, run = last - first, self._runs[-1]
        if run.confirmed or self._eager:
            return run.confirmed
        if 4 * asked > size:
            return True
        if run.start > first or run.stop - first < min(_PAGES_NBYTES, size // _LEAST):
            return False  # from its middle, or a few pages
        if run.start == 0:
            return run.large > 1
        return run.start > first - size // 2 and not after_whole  # else it is behind a frame

    def _run_of(self, start: int, stop: int) -> _Run:
        """The run that this request belongs to, made longer by it; or a new one."""
        for number in range(len(self._runs) - 1, -1, -1):
            run = self._runs[number]
            if run.start <= start <= run.stop + self._slack:
                run.stop = max(run.stop, stop)
                run.requests += 1
                self._runs.append(self._runs.pop(number))
                self._join(run)
                return run
        if self._runs:
            last = self._runs[-1]
            first, end = self._grid.byte_range(self._grid.block_at(last.start))
            if last.stop - last.start > (end - first) // _LEAST:
                self._lengths.append(last.stop - last.start)
        run = _Run(start, stop)
        self._runs.append(run)
        del self._runs[:-MAX_RUNS]
        return run

    def _join(self, run: _Run) -> None:
        """Runs that this one has reached were requests of it that overtook others."""
        for other in self._runs[:-1]:
            if run.start <= other.start <= run.stop + self._slack:
                run.stop = max(run.stop, other.stop)
                run.requests += other.requests
                run.large += other.large
                run.confirmed |= other.confirmed
                run.ahead = max(run.ahead, other.ahead)
                self._runs.remove(other)

    @property
    def _slack(self) -> int:
        first, last = self._grid.byte_range(0)
        return min((last - first) // 4, _SLACK_NBYTES)

    def _reads_on(self, run: _Run, first: int, last: int) -> bool:
        """Whether a run that ends in the block [first, last) goes on from one to the next."""
        size = last - first
        if self._eager:
            return run.requests > 1 or run.stop - run.start > size
        into = run.stop - first > size // _LEAST and run.requests > 1
        return into and (run.start == 0 or run.start <= first - size // 2)

    def _likely_end(self, run: _Run) -> int:
        """Where this run will end, if it is like the ones before it; else the end of the data."""
        usual = max(self._lengths) if len(self._lengths) > 1 else 0
        if run.stop - run.start <= usual and min(self._lengths) > usual // 2:
            return min(run.start + usual, self._nbytes)
        return self._nbytes
