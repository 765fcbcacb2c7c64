"""Limits the time for one object in a call, so that a slow object never costs its siblings.

A call that takes longer than `time_limit` is killed (`workers/pool`).  Before that, each object of
the call may take half of the time that is left, and has its own error if it needs more: so time is
left for the objects after it.
"""

import errno
import math
import time
from dataclasses import dataclass

from esrffs.errors import EsrffsError

_CALL = 0.7  # of the time after which a call is killed
_OBJECT = 0.5  # of what is left of the call


class TooSlowError(EsrffsError):
    """The object needs more time than a call has for it."""

    errno = errno.ETIMEDOUT


class NotNowError(EsrffsError):
    """Nobody asked for it yet, and it would take long: to be asked for by itself."""


@dataclass(slots=True)
class _Clock:
    call: float = math.inf  # when the call is over, by `time.monotonic`
    object: float = math.inf  # when its present object is
    prefetching: bool = False


_clock = _Clock()


def begin(seconds: float, *, prefetching: bool = False) -> None:
    """A call begins that is killed after so many seconds.

    `prefetching`: it had better end early.
    """
    _clock.call = time.monotonic() + (seconds if prefetching else seconds * _CALL)
    _clock.object = _clock.call
    _clock.prefetching = prefetching


class one_object:  # noqa: N801  # used like contextlib.suppress
    """A context for the work on one object of the call: it gets half of the time that is left.

    A class, because a generator takes three times as long, and a listing enters it often.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _clock.object
        now = time.monotonic()
        _clock.object = min(self._before, now + max(0.0, _clock.call - now) * _OBJECT)

    def __exit__(self, *_: object) -> None:
        _clock.object = self._before


def check(what: str) -> None:
    """TooSlowError, or NotNowError, where the time of the present object is over."""
    if time.monotonic() > _clock.object:
        if _clock.prefetching:
            raise NotNowError(f"{what}: takes long, and nobody has asked for it")
        raise TooSlowError(
            f"{what}: needs more time than there is for one object (time_limit); read it with h5py,"
            " or mount with a larger time_limit"
        )
