"""One worker process: its signals, its event loop, its end."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import anyio
from anyio import RunFinishedError, from_thread
from anyio.lowlevel import current_token

from playhead.runtime import Agent
from playhead.runtime.log.durability import Durability
from playhead.runtime.log.redis import RedisLog, check_server, connect, redact
from playhead.workers.options import WorkerOptions
from playhead.workers.worker import Worker

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)


def run_worker(
    agents: Sequence[Agent],
    *,
    url: str,
    prefix: str,
    durability: Durability,
    options: WorkerOptions,
    stop_with_stdin: bool,
    quiet: bool,
) -> None:
    """Run a worker until SIGTERM, SIGINT or, if wanted, the end of standard input; then drain it.

    Raises:
        LogUnavailableError, RedisAuthError, RedisTooOldError: The server cannot be used, found out at the start.
        ModelConfigurationError: An agent's model has no known form, found out at the start.
    """
    uvloop = importlib.util.find_spec("uvloop") is not None
    anyio.run(
        _main, agents, url, prefix, durability, options, stop_with_stdin, quiet, backend_options={"use_uvloop": uvloop}
    )
    _leave_stuck_threads()


def _leave_stuck_threads() -> None:
    """End the process now if a tool's thread would hold it: threads cannot be stopped, and every run is let go of."""
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


async def _main(
    agents: Sequence[Agent],
    url: str,
    prefix: str,
    durability: Durability,
    options: WorkerOptions,
    stop_with_stdin: bool,
    quiet: bool,
) -> None:
    for agent in agents:
        _ = agent.model  # a name of no known form is told now, not by the first run
    client = connect(url)
    log = RedisLog(client, prefix=prefix, durability=durability)
    try:
        for warning in await check_server(client, durability=durability):
            if not quiet:
                logger.warning("%s: %s", redact(url), warning)
        worker = Worker(agents, log=log, options=options)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_drain_on_signal, worker, tasks.cancel_scope, quiet)
            if stop_with_stdin:
                _drain_at_end_of_stdin(worker)
            if not quiet:
                names = ", ".join(worker.agents)
                logger.warning("worker %s serves %s from %s", worker.name, names, redact(url))
            await worker.run()
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()


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
    """The parent holds the other end: its death, however sudden, ends this process too.

    In a daemon thread, since a blocked read cannot be cancelled and must not hold the process.
    """
    token = current_token()

    def read() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        with suppress(RunFinishedError):  # the loop ended first
            from_thread.run_sync(worker.drain, token=token)

    threading.Thread(target=read, name="stdin", daemon=True).start()
