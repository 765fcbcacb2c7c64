"""Where the frames of an image file come from, and how FabIO's failures become ours.

Decided here: what a source of frames owes to the tree that is built on it (`FrameSource`), and what
counts as a failure: an exception, or an error that FabIO only writes to its log before it goes on
with made-up zeros.  What a failure is called: `error_sentences`.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from esrffs.damage import PARTIAL
from esrffs.errors import AccessDeniedError, DamagedError, EsrffsError, NotFoundError, TooLargeError
from esrffs.formats.images.error_sentences import sentence
from esrffs.formats.images.packed import BinaryFile, is_packed, open_packed
from esrffs.model import Layout

Array = npt.NDArray[np.generic]
Header = Mapping[str, Any]
Where = tuple[slice, ...]
Missing = Callable[[Where, EsrffsError], None]

_LONGEST = 1 << 40  # pixels of an axis: more are no image


class FrameSource(Protocol):
    """Frames of one shape and dtype, in order: those of one file, or one of each file."""

    @property
    def is_edf(self) -> bool:
        """Motors, counters, MCA and UB matrix are looked for, as silx does in EDF only."""

    @property
    def reserved(self) -> Sequence[str]:
        """Header keys that describe the frame itself, whatever their case."""

    @property
    def headers(self) -> Sequence[Header]:
        """One for each frame."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame: (y, x), with colours (y, x, samples)."""

    @property
    def colour(self) -> bool:
        """The last axis of a frame holds the samples of each pixel."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """In the byte order of this machine."""

    @property
    def layout(self) -> Layout:
        """Of all frames."""

    @property
    def first_frame_error(self) -> str:
        """Why the first frame cannot be read; "" where it can, as far as is known."""

    @property
    def end_reason(self) -> str:
        """Why the frames end before the file does; "" where they do not."""

    def rows(self, index: int, start: int, stop: int) -> Array:
        """These rows (the first axis) of one frame, C order.  DamagedError, AccessDeniedError."""

    def sound_rows(self, index: int, start: int, stop: int, missing: Missing) -> Array:
        """The same, as far as it can be had.

        `missing` is told the rest: slices of these rows (whose ends are told, but for all of
        an axis), and the error.
        """

    def close(self) -> None:
        """Let go of all files."""


def all_or_nothing(
    read: Callable[[], Array],
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    missing: Missing,
) -> Array:
    """`sound_rows` of this shape where `read` gives all of them, or an error that is theirs."""
    try:
        return read()
    except PARTIAL as error:
        missing((slice(None),), error)
        return np.zeros(shape, dtype)


class _LogCapture(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def translate_errors(what: str, *, strict: bool = True) -> Iterator[None]:
    """Foreign libraries inside the block: quiet, and every failure is an `EsrffsError`.

    Its text begins with `what`.  With `strict` an error in FabIO's log is a failure too.
    """
    overheard = _LogCapture()
    loggers = [logging.getLogger(name) for name in ("fabio", "silx", "PIL", "tifffile")]
    before = [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(overheard)
        logger.propagate = False
        if not logger.isEnabledFor(logging.ERROR):  # setLevel is slow
            logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except EsrffsError as error:
        raise type(error)(f"{what}: {error}") from error
    except Exception as error:
        raise translated(what, error, overheard.texts) from error
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.removeHandler(overheard)
            logger.propagate = propagate
            if logger.level != level:
                logger.setLevel(level)
    if strict and overheard.texts:
        raise DamagedError(f"{what}: {sentence(Exception(), tuple(overheard.texts))}")


def translated(what: str, error: Exception, heard: Sequence[str] = ()) -> EsrffsError:
    """A foreign failure as one of ours."""
    text = sentence(error, tuple(heard))
    if isinstance(error, MemoryError):
        return TooLargeError(f"{what}: needs more memory than a reader may use (memory_limit)")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{what}: {text}")
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{what}: {text}")
    return DamagedError(f"{what}: {text}")


def open_binary(path: str) -> BinaryFile:
    """The file, unpacked on the fly where its name says `.gz` or `.bz2`."""
    return open_packed(path) if is_packed(path) else open(path, "rb", buffering=0)


def check_shape(what: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """The shape of a frame as plain numbers; DamagedError unless it is one."""
    numbers = tuple(int(length) for length in shape)
    if not numbers or min(numbers) <= 0 or max(numbers) > _LONGEST:
        raise DamagedError(f"{what}: {numbers} is not the shape of an image")
    return numbers
