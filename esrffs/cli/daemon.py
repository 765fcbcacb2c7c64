"""The process that serves a mount, from start to unmount.

Makes all objects of a mount in the right order (limits, worker processes, cache, tree, FUSE
session), serves until the mount is unmounted or a signal comes, and unmounts.  Does not: detach
from the terminal (`cli/background`) or look at the mount point (`cli/mountpoint`).
"""

import contextlib
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from typing import cast
from urllib.parse import quote

import trio

from esrffs.background import DecodeThreads, ReadAheadBudget, StartTask, task_starter
from esrffs.cache import ByteCache
from esrffs.cli.daemon_processes import mark
from esrffs.cli.mountpoint import set_read_ahead
from esrffs.cli.options import MountOptions
from esrffs.cli.unmounting import clean_up_aborted_mount
from esrffs.errors import EsrffsError, MountError
from esrffs.flatfield.formula import Method
from esrffs.flatfield.plan import CorrectionOptions
from esrffs.flatfield.service import CorrectionService
from esrffs.fuse.attributes import AttributeOptions
from esrffs.fuse.filesystem import Filesystem
from esrffs.fuse.pyfuse3_session import Session
from esrffs.limits import Limits, configure
from esrffs.linux.buffers import configure_malloc, trim
from esrffs.linux.systemd import notify, watchdog_period
from esrffs.source.context import READ_AHEAD_NBYTES, DataContext
from esrffs.source.data_file import DataFiles
from esrffs.source.executor import SourceExecutor, is_remote
from esrffs.source.index import Index
from esrffs.source.presence import Presence
from esrffs.source.root import SourceRoot
from esrffs.tree import folder
from esrffs.tree.context import MountContext, ViewOptions
from esrffs.tree.nodes import Node
from esrffs.workers.pool import PoolConfig, WorkerPool, open_pool

log = logging.getLogger(__name__)

_MIB = 1 << 20
_MIN_OPEN_FILES = 64  # 28 are open before any file of the source is
TRIM_PERIOD_SECONDS = 60.0


async def serve(
    source: str, mountpoint: str, options: MountOptions, ready: Callable[[], None]
) -> None:
    """Mount, call `ready` when the mount answers, serve until it is unmounted or a signal comes.

    MountError, UsageError, NotFoundError or AccessDeniedError where the source cannot be mounted.
    """
    started = time.monotonic()
    gc.freeze()  # a pass over all that was imported takes 15 ms, in the middle of a request
    limits = _limits(options)
    configure(limits)
    configure_malloc()
    _limit_open_files(options.open_files)
    folders = _source_root(source, mountpoint, options)
    pool = PoolConfig(options.workers, options.time_limit, options.memory_limit * _MIB, limits)
    async with open_pool(pool, folders.boundary) as workers, trio.open_nursery() as background:
        data = _data_context(folders, workers, task_starter(background), options)
        presence = Presence(folders)
        background.start_soon(folders.index.run)

        async def status() -> dict[str, object]:
            return {
                "version": metadata.version("esrffs"),
                "source": source,
                "source_error": await presence.error_text(),
                "pid": os.getpid(),
                "uptime": round(time.monotonic() - started, 1),
                **_counts(data, workers),
                "index": await folders.index.status(),
            }

        root = await _root(data, options)
        session = Session(
            Filesystem(root, _attribute_options(options), folders.statvfs, status),
            mountpoint,
            _fuse_options(source, options),
            lambda: data.threads.busy or workers.busy,
        )
        try:
            await _answer_requests(session, source, mountpoint, options, ready)
        finally:
            notify("STOPPING=1")
            background.cancel_scope.cancel()
            session.close()
            clean_up_aborted_mount(mountpoint)
            log.info("unmounted %s", mountpoint)


async def _answer_requests(
    session: Session,
    source: str,
    mountpoint: str,
    options: MountOptions,
    ready: Callable[[], None],
) -> None:
    """Serve until the mount is unmounted or a signal comes; call `ready` when it answers."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        nursery.start_soon(_main, nursery.cancel_scope, session)
        nursery.start_soon(_feed_watchdog)
        nursery.start_soon(_trim_memory)
        await session.wait_until_mounted()
        mark(mountpoint)
        set_read_ahead(mountpoint, options.read_ahead)  # before, FUSE would reset it
        log.info("mounted %s on %s", source, mountpoint)
        ready()
        notify(f"READY=1\nSTATUS={source} on {mountpoint}")


def _limits(options: MountOptions) -> Limits:
    return Limits(
        options.chunk_limit * _MIB,
        options.json_limit * _MIB,
        options.children_limit,
        options.parallel,
    )


def _source_root(source: str, mountpoint: str, options: MountOptions) -> SourceRoot:
    executor = SourceExecutor(
        options.time_limit, remote=is_remote(source), parallel=options.parallel
    )
    return SourceRoot(
        source,
        confined=options.shared,
        hidden=mountpoint,
        executor=executor,
        parallel=options.parallel,
        believed=options.attr_timeout,
        index=_index(options),
    )


def _data_context(
    folders: SourceRoot, workers: WorkerPool, start_task: StartTask, options: MountOptions
) -> DataContext:
    cache = ByteCache(options.cache_size * _MIB)
    budget = ReadAheadBudget(min(READ_AHEAD_NBYTES, cache.limit // 2))
    files = DataFiles(folders, workers)
    return DataContext(files, cache, start_task, threads=DecodeThreads(), read_ahead=budget)


async def _root(data: DataContext, options: MountOptions) -> Node:
    corrections = CorrectionService(data, _correction_options(options))
    return await folder.make_root(MountContext(data, corrections, _view_options(options)))


def _counts(data: DataContext, workers: WorkerPool) -> dict[str, object]:
    """What cache, worker processes and reads did so far, for `esrffs --status`."""
    cache, reads = data.cache, data.files.folders.reads()
    return {
        "cache": {"bytes": cache.size, "limit": cache.limit, **asdict(cache.counts)},
        "workers": {"count": workers.count, "lost": workers.lost},
        "reads": {**reads, "read_ahead": data.read_ahead.status()},
    }


def _index(options: MountOptions) -> Index:
    """The index, whose listings depend on these limits."""
    limits = options.chunk_limit, options.json_limit, options.children_limit, options.memory_limit
    return Index(limits, enabled=options.index != "none")


def _correction_options(options: MountOptions) -> CorrectionOptions:
    method = cast(Method, options.flat)  # the table of options knows no other words
    return CorrectionOptions(
        method, options.nan, options.norm is not None, options.dark is not None
    )


def _view_options(options: MountOptions) -> ViewOptions:
    listed = frozenset(options.views.split(":")) - {"none"}
    return ViewOptions(listed, options.view_limit * _MIB)


def _attribute_options(options: MountOptions) -> AttributeOptions:
    return AttributeOptions(
        options.entry_timeout,
        options.attr_timeout,
        options.negative_timeout,
        options.uid,
        options.gid,
        options.umask if options.fmask is None else options.fmask,
        options.umask if options.dmask is None else options.dmask,
    )


async def _main(scope: trio.CancelScope, session: Session) -> None:
    await session.main()
    scope.cancel()  # unmounted from outside


async def _feed_watchdog() -> None:
    """Tell systemd's watchdog that the daemon lives, from the loop that answers requests."""
    while True:
        await trio.sleep(watchdog_period())
        notify("WATCHDOG=1")


async def _trim_memory() -> None:
    """Give memory that is free back to the kernel, now and then."""
    while True:
        await trio.sleep(TRIM_PERIOD_SECONDS)
        await trio.to_thread.run_sync(trim)  # requests are answered meanwhile


async def _end_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
            scope.cancel()


def _fuse_options(source: str, options: MountOptions) -> set[str]:
    # libfuse splits at commas and pyfuse3 takes nothing but ASCII
    name = quote(os.fsencode(source), safe="/ :;+=@~!()[]{}#&'*<>?|^$`\"")
    chosen = {f"fsname={name}", "subtype=esrffs", "ro"}
    if options.shared or options.default_permissions:
        chosen.add("default_permissions")
    if options.allow_other:
        chosen.add("allow_other")
    elif options.allow_root:
        chosen.add("allow_root")
    if options.noexec:
        chosen.add("noexec")
    if options.max_read:
        chosen.add(f"max_read={options.max_read}")
    return chosen


def _limit_open_files(count: int) -> None:
    """Allow this process as many open files as the system lets it; `count`: at most that many.

    MountError where these are too few to start worker processes and open files.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = count if count and not 0 <= hard < count else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < _MIN_OPEN_FILES:
        raise MountError(f"only {limit} files may be open (`ulimit -n`): needs {_MIN_OPEN_FILES}")


def run(source: str, mountpoint: str, options: MountOptions, ready: Callable[[], None]) -> None:
    """Run `serve`; of a group of exceptions, raise the first one alone."""
    failed: EsrffsError | None = None
    try:
        trio.run(serve, source, mountpoint, options, ready)
    except* EsrffsError as group:
        failed = _first(group)
    if failed is not None:  # raised here: inside `except*` it would become a group again
        raise failed


def _first(group: BaseExceptionGroup[EsrffsError]) -> EsrffsError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
