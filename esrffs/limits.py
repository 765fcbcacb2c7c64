"""How much may be made on request: what is larger is EFBIG, in words that name the option.

Decided here: those words.  The numbers are options of a mount; each process has one set of them, as
it has resource limits, which it is given when it begins: the daemon (`cli/daemon`) and every
reader process (`workers/server`).  Time and memory of a reader are the affair of `workers/pool`.
"""

from dataclasses import dataclass

from esrffs.errors import TooLargeError

_MIB = 1 << 20
PASSED_OVER = 16  # times the largest chunk: by default 4 GiB, the largest chunk of HDF5 1


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest of each kind that is made."""

    chunk: int = 256 * _MIB  # bytes, stored or decoded, of a chunk, or of one element
    json: int = 64 * _MIB  # bytes of a JSON file
    children: int = 1_000_000  # entries of a directory
    parallel: int = 32  # calls on a file server at the same time, for one request


_sizes = Limits()


def configure(sizes: Limits) -> None:
    """From now on, in this process."""
    global _sizes  # what a process may is one thing for all of it
    _sizes = sizes


def parallel() -> int:
    """How many calls on a file server may wait at the same time for one request."""
    return _sizes.parallel


def check_chunk(what: str, nbytes: int) -> None:
    """TooLargeError where a chunk (a frame, an element) has more bytes than are decoded."""
    if nbytes > _sizes.chunk:
        limit = f"chunk_limit={_sizes.chunk // _MIB}"
        raise TooLargeError(f"{what}: a chunk of {_shown(nbytes)} is not decoded ({limit})")


def chunk_fits(nbytes: int) -> bool:
    """Whether `check_chunk` passes."""
    return nbytes <= _sizes.chunk


def check_passed_over(nbytes: int) -> None:
    """TooLargeError where more of a chunk would have to be unpacked than is, to have a part."""
    if nbytes > PASSED_OVER * _sizes.chunk:
        limit = f"chunk_limit={_sizes.chunk // _MIB}"
        raise TooLargeError(
            f"{_shown(nbytes)} would have to be unpacked for what is needed of it, and more than"
            f" {_shown(PASSED_OVER * _sizes.chunk)} are not ({PASSED_OVER} times {limit})"
        )


def check_json(what: str, nbytes: int) -> None:
    """TooLargeError where JSON text, or the values for it, have more bytes than are made."""
    if nbytes > _sizes.json:
        limit = f"json_limit={_sizes.json // _MIB}"
        raise TooLargeError(f"{what}: {_shown(nbytes)} are too much for JSON ({limit})")


def check_children(what: str, count: int) -> None:
    """TooLargeError where a directory would have more entries than may be listed."""
    if count > _sizes.children:
        limit = f"children_limit={_sizes.children}"
        raise TooLargeError(f"{what}: {count} entries are too many for a directory ({limit})")


def _shown(nbytes: int) -> str:
    return f"{nbytes / _MIB:.1f} MiB"
