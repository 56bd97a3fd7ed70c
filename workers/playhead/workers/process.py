"""One worker process: its OS signals, its event loop, its exit."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

import anyio
from anyio import RunFinishedError, from_thread
from anyio.lowlevel import current_token

from playhead.runtime.agent.agent import Agent
from playhead.runtime.log.redis.connection import connect, redact
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.server_check import check_server
from playhead.runtime.log.redis.shards import settle
from playhead.workers.options import WorkerOptions
from playhead.workers.worker import Worker

__all__ = ["run_worker"]

logger: logging.Logger = logging.getLogger(__name__)


def run_worker(
    agents: Sequence[Agent],
    *,
    url: str,
    prefix: str,
    durability: Durability,
    options: WorkerOptions,
    stop_with_stdin: bool,
    quiet: bool,
    shards: int | None = None,
) -> None:
    """Run a worker until SIGTERM, SIGINT or, if requested, the end of standard input; then drain it.

    Raises:
        LogUnavailableError, RedisAuthError, RedisTooOldError: The server cannot be used; raised at the start.
        ShardsError: The deployment has another number of shards than `shards`.
        ModelConfigurationError: An agent's model name has an unknown form; raised at the start.
    """
    uvloop = importlib.util.find_spec("uvloop") is not None
    make = partial(_shard, url, prefix=prefix, durability=durability)
    main = partial(_main, agents, make, shards, redact(url), options=options, quiet=quiet)
    anyio.run(partial(main, stop_with_stdin=stop_with_stdin), backend_options={"use_uvloop": uvloop})
    _leave_stuck_threads()


def _leave_stuck_threads() -> None:
    """End the process now if a tool's thread would delay it: threads cannot be stopped, and no run is held any more."""
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _shard(url: str, shard: int, *, prefix: str, durability: Durability) -> RedisLog:
    return RedisLog(connect(url), prefix=prefix, shard=shard, durability=durability)


async def _main(
    agents: Sequence[Agent],
    make: Callable[[int], RedisLog],
    shards: int | None,
    where: str,
    *,
    options: WorkerOptions,
    stop_with_stdin: bool,
    quiet: bool,
) -> None:
    for agent in agents:
        _ = agent.model  # a name of an unknown form raises now, not in the first run
    async with AsyncExitStack() as stack:
        logs, warnings = await _open_shards(make, shards, stack)
        if not quiet:
            for warning in warnings:
                logger.warning("%s: %s", where, warning)
        worker = Worker(agents, log=logs[0], more=logs[1:], options=options)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_drain_on_signal, worker, tasks.cancel_scope, quiet)
            if stop_with_stdin:
                _drain_at_end_of_stdin(worker)
            if not quiet:
                names = ", ".join(worker.agents)
                logger.warning("worker %s serves %s from %s", worker.name, names, where)
            await worker.run()
            tasks.cancel_scope.cancel()


async def _open_shards(
    make: Callable[[int], RedisLog], shards: int | None, stack: AsyncExitStack
) -> tuple[list[RedisLog], list[str]]:
    """The logs of all shards, which `stack` closes, and the warnings about their servers, without duplicates."""
    logs: list[RedisLog] = []
    warnings: dict[str, None] = {}
    number = 1
    while len(logs) < number:
        log = make(len(logs))
        stack.push_async_callback(_close, log)
        warnings |= dict.fromkeys(await check_server(log.client, durability=log.durability))
        if not logs:
            number = await settle(log, shards)
        logs.append(log)
    return logs, list(warnings)


async def _close(log: RedisLog) -> None:
    with anyio.CancelScope(shield=True):
        await log.aclose()


async def _drain_on_signal(worker: Worker, now: anyio.CancelScope, quiet: bool) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if not quiet:
                held = worker.statistics().running
                logger.warning("draining: %d runs held; a second signal stops at once", held)
            worker.drain()
            break
        async for _ in signals:
            now.cancel()


def _drain_at_end_of_stdin(worker: Worker) -> None:
    """Drain when standard input is closed: the parent holds the other end, so its death also ends this process.

    In a daemon thread, because a blocked read cannot be cancelled and must not delay the exit.
    """
    token = current_token()

    def read() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        with suppress(RunFinishedError):  # the loop ended first
            from_thread.run_sync(worker.drain, token=token)

    threading.Thread(target=read, name="stdin", daemon=True).start()
