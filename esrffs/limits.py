"""Size limits of a mount.  What exceeds one is a TooLargeError (EFBIG) that names the option.

The limits are options of the mount.  Each process has one set of them, like resource limits, which
is set when it starts: in the daemon by `cli/daemon`, in each worker process by `workers/server`.
Does not: limit the time and memory of workers (`workers/pool`).
"""

from dataclasses import dataclass

from esrffs.errors import TooLargeError

_MIB = 1 << 20
# At most so many times the largest chunk are unpacked to get a part of one: by default 4 GiB, the
# largest chunk of HDF5 1.
PASSED_OVER = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one mount."""

    chunk: int = 256 * _MIB  # bytes, stored or decoded, of a chunk, or of one element
    json: int = 64 * _MIB  # bytes of a JSON file
    children: int = 1_000_000  # entries of a directory
    parallel: int = 32  # simultaneous calls to a file server for one request


_sizes = Limits()


def configure(sizes: Limits) -> None:
    """Set the limits of this process."""
    global _sizes  # one set for the whole process
    _sizes = sizes


def parallel() -> int:
    """How many calls to a file server may be made at the same time for one request."""
    return _sizes.parallel


def check_chunk(what: str, nbytes: int) -> None:
    """TooLargeError if a chunk (a frame, an element) has more bytes than `chunk_limit`."""
    if nbytes > _sizes.chunk:
        limit = f"chunk_limit={_sizes.chunk // _MIB}"
        raise TooLargeError(f"{what}: a chunk of {_shown(nbytes)} is not decoded ({limit})")


def chunk_fits(nbytes: int) -> bool:
    """Whether a chunk of this size is within `chunk_limit`."""
    return nbytes <= _sizes.chunk


def check_passed_over(nbytes: int) -> None:
    """TooLargeError if more than `PASSED_OVER` chunks must be unpacked to get a part of one."""
    if nbytes > PASSED_OVER * _sizes.chunk:
        limit = f"chunk_limit={_sizes.chunk // _MIB}"
        raise TooLargeError(
            f"{_shown(nbytes)} would have to be unpacked for what is needed of it, and more than"
            f" {_shown(PASSED_OVER * _sizes.chunk)} are not ({PASSED_OVER} times {limit})"
        )


def check_json(what: str, nbytes: int) -> None:
    """TooLargeError if a JSON text, or the values for it, have more bytes than `json_limit`."""
    if nbytes > _sizes.json:
        limit = f"json_limit={_sizes.json // _MIB}"
        raise TooLargeError(f"{what}: {_shown(nbytes)} are too much for JSON ({limit})")


def check_children(what: str, count: int) -> None:
    """TooLargeError if a directory has more entries than `children_limit`."""
    if count > _sizes.children:
        limit = f"children_limit={_sizes.children}"
        raise TooLargeError(f"{what}: {count} entries are too many for a directory ({limit})")


def _shown(nbytes: int) -> str:
    return f"{nbytes / _MIB:.1f} MiB"
