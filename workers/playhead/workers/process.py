"""One worker process: its OS signals, its event loop, its exit."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final
from uuid import uuid4

import anyio

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.serving import Served
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.redis.connection import connect, redact
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.shards import settle
from playhead.workers.exit import ProcessExit, reset_signals_in_forked_children
from playhead.workers.options import WorkerOptions, worker_name
from playhead.workers.worker import Worker

__all__ = ["bury", "run_worker"]

logger: logging.Logger = logging.getLogger(__name__)

_DISCONNECT_S: Final = 5.0
"""How long the worker may take to withdraw and to disconnect after its runs are drained."""


def run_worker(
    agents: Sequence[Served],
    *,
    url: str,
    prefix: str,
    durability: Durability,
    options: WorkerOptions,
    parent: int | None,
    shards: int | None = None,
    mark: str | None = None,
    archive: str | None = None,
    health_file: str | None = None,
) -> None:
    """Run a worker until SIGTERM, SIGINT or the end of the pipe `parent`, if it has one; then drain it.

    Call it last: the process ends within two seconds of the worker's end, whatever threads, tasks and children its
    tools have left running. A drain takes at most its grace, a lease and five seconds.

    Raises:
        LogUnavailableError, RedisAuthError, RedisTooOldError: If the server cannot be used; raised at the start.
        RedisAuthError: If the server refuses the credentials, or a right that the worker needs.
        LeaseTooShortError: If a round trip to the server takes too long for the lease.
        ShardsError: If the deployment has another number of shards than `shards`.
        ModelConfigurationError: If an agent's model cannot be used; raised at the start.
        ArchiveError, ValueError: The archive or the health file cannot be used, or a retention is too short for an archive;
            raised at the start.
    """
    reset_signals_in_forked_children()
    uvloop = importlib.util.find_spec("uvloop") is not None
    make = partial(_shard, url, prefix=prefix, durability=durability)
    end = ProcessExit(drain_s=options.grace_s + options.lease_ms / 1000 + _DISCONNECT_S)
    name = worker_name(os.getpid(), mark or uuid4().hex[:6])
    serve = partial(Worker, agents, options=options, name=name, archive=archive, health_file=health_file)
    main = partial(_main, agents, serve, make, shards, redact(url), end=end, parent=parent)
    anyio.run(main, backend_options={"use_uvloop": uvloop})


async def bury(worker: str, ended: str, *, url: str, prefix: str) -> None:
    """Take the runs from a worker whose process has ended, on every shard, without waiting for its leases.

    An unreachable server is not an error, because the leases decide then.
    """
    with suppress(PlayheadError):
        async with AsyncExitStack() as stack:
            number, shard = 1, 0
            while shard < number:
                log = _shard(url, shard, prefix=prefix, durability="memory")
                stack.push_async_callback(_close, log)
                number = await log.settled_shards() or 1 if shard == 0 else number
                await log.bury(worker, ended=ended)
                shard += 1


def _shard(url: str, shard: int, *, prefix: str, durability: Durability) -> RedisLog:
    return RedisLog(connect(url), prefix=prefix, shard=shard, durability=durability)


async def _main(
    agents: Sequence[Served],
    serve: Callable[..., Worker],
    make: Callable[[int], RedisLog],
    shards: int | None,
    where: str,
    *,
    end: ProcessExit,
    parent: int | None,
) -> None:
    for agent in agents:
        if isinstance(agent, Agent):
            agent.check_ready()  # before anything is claimed that no model could run
    async with AsyncExitStack() as stack:
        logs, warnings = await _open_shards(make, shards, stack)
        for warning in warnings:
            logger.warning("%s: %s", where, warning)
        worker = serve(log=logs[0], more=logs[1:])
        with (
            anyio.CancelScope() as now,
            end.serving(partial(_drain, worker), stop_now=now.cancel, parent=parent),
        ):
            logger.info("worker %s serves %s from %s", worker.name, ", ".join(worker.agents), where)
            await worker.run()
        logger.info("worker %s has drained: %s", worker.name, _ended(worker))


def _drain(worker: Worker) -> None:
    held = worker.statistics().running
    logger.info("draining: %d run%s held; a second signal stops at once", held, "" if held == 1 else "s")
    worker.drain()


def _ended(worker: Worker) -> str:
    """How many runs of the worker ended in which way."""
    ended = worker.statistics().ended
    return ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(ended.items())) or "no runs"


async def _open_shards(
    make: Callable[[int], RedisLog], shards: int | None, stack: AsyncExitStack
) -> tuple[list[RedisLog], list[str]]:
    """Open the logs of all shards, which `stack` closes. Also returns the warnings about their servers, without duplicates."""
    logs: list[RedisLog] = []
    warnings: dict[str, None] = {}
    number = 1
    while len(logs) < number:
        log = make(len(logs))
        stack.push_async_callback(_close, log)
        warnings |= dict.fromkeys(await log.check())
        if not logs:
            number = await settle(log, shards)
        logs.append(log)
    return logs, list(warnings)


async def _close(log: RedisLog) -> None:
    with anyio.CancelScope(shield=True):
        await log.aclose()
