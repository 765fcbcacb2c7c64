"""Trying again: how often, after which pauses, for which errors."""

import pytest
import trio
import trio.testing

from esrffs.errors import DamagedError, StaleError
from esrffs.source.retry import ATTEMPTS, retry_while_changing


class Attempts:
    """Fails so many times, then answers with the time that has passed."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.made = 0
        self._failures = failures
        self._error = error

    async def __call__(self) -> float:
        self.made += 1
        if self.made <= self._failures:
            raise self._error
        return trio.current_time()


def run(attempt: Attempts, **options: float) -> float:
    async def main() -> float:
        began = trio.current_time()
        return await retry_while_changing(attempt, **options) - began

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0.05), (2, 0.15), (4, 0.5)])
def test_pauses_grow(failures: int, seconds: float) -> None:
    attempts = Attempts(failures, StaleError("changed"))
    assert run(attempts) == pytest.approx(seconds)
    assert attempts.made == failures + 1


def test_the_last_error_is_raised() -> None:
    attempts = Attempts(ATTEMPTS, StaleError("changed"))
    with pytest.raises(StaleError, match="changed"):
        run(attempts)
    assert attempts.made == ATTEMPTS


def test_once_only() -> None:
    attempts = Attempts(1, StaleError("changed"))
    with pytest.raises(StaleError):
        run(attempts, attempts=1)
    assert attempts.made == 1


def test_other_errors_are_raised_at_once() -> None:
    attempts = Attempts(1, DamagedError("broken"))
    with pytest.raises(DamagedError):
        run(attempts)
    assert attempts.made == 1
