"""How long the reads on one file system take, and how far ahead it is worth reading there.

Pure: it is told of each read, with the time.  A read from the page cache takes microseconds and a
copy, one from a file server a round trip: only what takes longer than a copy tells the latency.
"""

from dataclasses import dataclass

SLOW_SECONDS = 0.0005  # of latency: from here on it pays to have many reads in flight
# Of one read: NFS and FUSE transfer up to 1 MiB of whole pages in a request, wherever it begins.
READ_NBYTES = (1 << 20) - (4 << 10)
_CACHED_SECONDS = 0.0003  # what takes less, and …
_COPY_SECONDS = 1e-9  # … this for each byte, came from memory
_INITIAL_THROUGHPUT = 1e9  # bytes/s: believed until it is measured
_WINDOW_SECONDS = 0.02  # over which throughput is measured, at the least
_GAIN = 2  # latency × throughput, this many times: so that a faster reader can show itself
_MISSES = 0.05  # of the reads: where fewer go to the server, it is as good as local


@dataclass(slots=True)
class FileSystemSpeed:
    """What was measured of the reads on one file system, as exponential averages.

    `latency`: seconds of a read that went to the server; None: not measured yet.
    `throughput`: bytes per second of all reads together, as many as the readers took: less than
    the server could give where they were slower.
    """

    latency: float | None = None
    throughput: float = _INITIAL_THROUGHPUT
    in_flight: int = 0
    reads: int = 0
    nbytes: int = 0
    _misses: float = 1.0  # how many of the reads go to the server
    _last_end: float = -1.0
    _window_start: float = 0.0
    _window_nbytes: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether many reads in flight are worth their cost; what is not measured yet may be."""
        latency = SLOW_SECONDS if self.latency is None else self.latency
        return latency >= SLOW_SECONDS and self._misses >= _MISSES

    def begin(self, now: float) -> None:
        """A read begins; `now` in seconds."""
        idle = now - self._last_end
        if not self.in_flight and idle > max(_WINDOW_SECONDS, self.latency or 0):
            self._window_start, self._window_nbytes = now, 0
        self.in_flight += 1

    def end(self, now: float, seconds: float, nbytes: int) -> None:
        """A read ends that took so long, from its system call to the answer, for so many bytes."""
        self.in_flight -= 1
        self._last_end = now
        self.reads += 1
        self.nbytes += nbytes
        missed = seconds >= _CACHED_SECONDS + _COPY_SECONDS * nbytes
        self._misses += (missed - self._misses) / 32
        if missed:
            known = seconds if self.latency is None else self.latency
            self.latency = known + (seconds - known) / 8
        self._window_nbytes += nbytes
        elapsed = now - self._window_start
        if elapsed >= max(_WINDOW_SECONDS, 2 * (self.latency or 0)):
            self.throughput += (self._window_nbytes / elapsed - self.throughput) / 4
            self._window_start, self._window_nbytes = now, 0

    def give_up(self) -> None:
        """A read did not end in time."""
        self.in_flight -= 1

    def window_nbytes(self, parallel: int) -> int:
        """How many bytes to have in flight, in at most `parallel` reads."""
        wanted = int(_GAIN * (self.latency or 0) * self.throughput)
        return min(max(wanted, 2 * READ_NBYTES), parallel * READ_NBYTES)
