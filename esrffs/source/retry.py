"""Trying again what was caught by a change of its file."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from esrffs.errors import StaleError

T = TypeVar("T")

ATTEMPTS = 5
_PAUSE_SECONDS = 0.05  # after the first attempt, longer each time


async def retry_while_changing(
    attempt: Callable[[], Awaitable[T]],
    *,
    attempts: int = ATTEMPTS,
    pause: float = _PAUSE_SECONDS,
) -> T:
    """Call `attempt` again, after growing pauses (seconds), as long as it raises StaleError.

    StaleError of the last attempt where none succeeds; other errors at once.
    """
    for number in range(1, attempts):
        try:
            return await attempt()
        except StaleError:
            await trio.sleep(pause * number)
    return await attempt()
