"""Background tasks: work that nobody waits for."""

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)


StartTask = Callable[..., None]  # starts a task: an async function and its arguments


def task_starter(nursery: trio.Nursery) -> StartTask:
    """Starts tasks that nobody waits for: one that fails is logged, and ends nothing else."""

    async def run(task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            await task(*arguments)
        except Exception:
            log.exception("internal error in %s", task.__qualname__)

    def start(task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        nursery.start_soon(run, task, *arguments)

    return start
