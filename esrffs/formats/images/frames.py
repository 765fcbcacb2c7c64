"""The protocol of frame sources, and the translation of errors of FabIO and other libraries.

FabIO writes some errors only to its log and goes on with zeros: these are errors here.  Their texts
are made in `error_sentences`.
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

_LONGEST = 1 << 40  # pixels on one axis that are believed


class FrameSource(Protocol):
    """Frames of one shape and dtype, in order: of one file, or of a series of files."""

    @property
    def is_edf(self) -> bool:
        """Whether motors, counters, MCA and UB matrix are looked for, as silx does for EDF only."""

    @property
    def reserved(self) -> Sequence[str]:
        """Header keys that describe the storage of the frame; their case does not matter."""

    @property
    def headers(self) -> Sequence[Header]:
        """The header of each frame."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one frame: (y, x), or (y, x, samples) for colour."""

    @property
    def colour(self) -> bool:
        """Whether the last axis of a frame holds the samples of each pixel."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The dtype of the values that `rows` returns, in native byte order."""

    @property
    def layout(self) -> Layout:
        """The layout of all frames."""

    @property
    def first_frame_error(self) -> str:
        """Why the first frame cannot be read; "" if it can, as far as is known."""

    @property
    def end_reason(self) -> str:
        """Why the frames end before the file does; "" if they do not."""

    def rows(self, index: int, start: int, stop: int) -> Array:
        """These rows (the first axis) of one frame, C order; DamagedError, AccessDeniedError."""

    def sound_rows(self, index: int, start: int, stop: int, missing: Missing) -> Array:
        """These rows without those that cannot be read, which are zero.

        `missing` is called for each part that cannot be read, with slices of these rows and the
        error.
        """

    def close(self) -> None:
        """Close all files."""


def all_or_nothing(
    read: Callable[[], Array],
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    missing: Missing,
) -> Array:
    """`sound_rows` of a source that reads these rows as a whole: `read` gives all of them or
    raises.
    """
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
    """A context for calls of foreign libraries: they are silent, and raise only EsrffsError.

    The text of the error begins with `what`.  `strict`: an error in FabIO's log is raised, too.
    """
    overheard = _LogCapture()
    loggers = [logging.getLogger(name) for name in ("fabio", "silx", "PIL", "tifffile")]
    before = [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(overheard)
        logger.propagate = False
        if not logger.isEnabledFor(logging.ERROR):  # asked first because setLevel is slow
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
    """The EsrffsError for an exception of a foreign library."""
    text = sentence(error, tuple(heard))
    if isinstance(error, MemoryError):
        return TooLargeError(f"{what}: needs more memory than a reader may use (memory_limit)")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{what}: {text}")
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{what}: {text}")
    return DamagedError(f"{what}: {text}")


def open_binary(path: str) -> BinaryFile:
    """Open a file for reading; decompressed while it is read if its name ends in `.gz` or
    `.bz2`.
    """
    return open_packed(path) if is_packed(path) else open(path, "rb", buffering=0)


def check_shape(what: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """The shape of a frame as a tuple of int; DamagedError if it cannot be one."""
    numbers = tuple(int(length) for length in shape)
    if not numbers or min(numbers) <= 0 or max(numbers) > _LONGEST:
        raise DamagedError(f"{what}: {numbers} is not the shape of an image")
    return numbers
