"""The programs of the injured processes: a worker as the command runs it, and a viewer that leaves and rejoins.

Both write their evidence to files, one line at a time, because they may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import random
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, Final, Literal

import anyio

from chaos.agents import AGENTS, TRACES
from chaos.check_views import left_standing, seen_event, seen_record
from chaos.provider_agents import provider_agents
from playhead.client import Client
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RewindError, RunFailedError
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import WriteResult, WriteStatus
from playhead.workers import WorkerOptions
from playhead.workers.exit import take_over_stdin
from playhead.workers.process import run_worker

__all__ = ["append_line", "viewer", "worker"]

_LONGEST_STAY: Final = 80
_AWAY_S: Final = 0.7


def append_line(file: Path, value: Any) -> None:
    """Append one line of JSON, in one write: the line is written completely or not at all."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(value).encode() + b"\n")
    finally:
        os.close(descriptor)


def worker(config: dict[str, Any]) -> None:
    """Run a worker. Its configuration: `url`, `ports`, `durability`, `prefix`, `options`, `traces`, `refused`,
    `provider` (the fake provider's base URL, or empty).
    """
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    TRACES.folder, TRACES.ports, TRACES.keys = Path(config["traces"]), config["ports"], Keys(config["prefix"])
    _note_refusals(Path(config["refused"]))
    options = WorkerOptions(**config["options"])
    agents = provider_agents(config["provider"]) if config["provider"] else AGENTS
    parent = take_over_stdin()
    while True:
        try:
            run_worker(
                agents,
                url=config["url"],
                prefix=config["prefix"],
                options=options,
                durability=config["durability"],
                parent=parent,
            )
        except (
            LogUnavailableError
        ) as error:  # the server cannot be reached: a service manager would start the worker again
            logging.warning("not started: %s", error)
            time.sleep(0.2)
        else:
            return


def _note_refusals(file: Path) -> None:
    """Record in `file` every write of this process that the log refuses."""

    def noted(name: str) -> None:
        write: Callable[..., Awaitable[Any]] = getattr(RedisLog, name)

        @functools.wraps(write)
        async def call(self: RedisLog, *args: Any, **kwargs: Any) -> Any:
            result = await write(self, *args, **kwargs)
            results: Sequence[WriteResult] = result if isinstance(result, list) else [result]
            for one in results:
                if one.status in (WriteStatus.FENCED, WriteStatus.CONFLICT, WriteStatus.GONE):
                    append_line(file, [name, one.status.name, os.getpid()])
            return result

        setattr(RedisLog, name, call)

    for name in ("append", "finish", "release"):
        noted(name)


def viewer(config: dict[str, Any]) -> None:
    """Run a viewer. Its configuration: `url`, `prefix`, `views` (a folder), `may_rewind`; then a line for each view.

    With `may_rewind` a view that gets a `RewindError` continues after the record that this names; without it, the error
    ends the view.
    """
    anyio.run(_view_all, config)


async def _view_all(config: dict[str, Any]) -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with AsyncExitStack() as stack:
        clients = [await _client(config, stack) for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            while line := await reader.readline():
                order = json.loads(line)
                file = Path(config["views"]) / order["view"]
                tasks.start_soon(_watch, clients, order, file, config["may_rewind"])
            tasks.cancel_scope.cancel()


async def _client(config: dict[str, Any], stack: AsyncExitStack) -> Client:
    while True:
        try:
            return await stack.enter_async_context(
                Client(config["url"], prefix=config["prefix"], on_notice=lambda notice: None)
            )
        except LogUnavailableError:
            await anyio.sleep(0.1)


async def _watch(clients: Sequence[Client], order: dict[str, Any], file: Path, may_rewind: bool) -> None:
    """Watch one run to its end, leaving and rejoining at random; starts at the position in the last line of `file`."""
    lines = _lines(file)
    if lines and lines[-1][0] == "end":  # killed between writing the note and reporting it
        print(json.dumps(order["view"]), flush=True)
        return
    place, waits = _place(lines)
    dice = random.Random(f"{order['view']} {len(lines)}")
    ended, failed, error = False, None, None
    while not ended and error is None:
        append_line(file, ["join", place])
        try:
            source = _shown(dice.choice(clients), order, place, on_pause=dice.choice(["end", "wait"]))
            async with aclosing(source) as items:
                stay = dice.randint(1, _LONGEST_STAY)
                async for place, digest, waits in items:
                    append_line(file, ["saw", place, digest, waits])
                    stay -= 1
                    if not stay:
                        break
                else:
                    ended = not waits  # the events of a paused run end, and continue after the response
        except RunFailedError as failure:
            ended, failed = True, failure.error_type
        except LogUnavailableError:
            await anyio.sleep(0.1)
        except PlayheadError as problem:
            if may_rewind and isinstance(problem, RewindError):
                append_line(file, ["rewind", problem.common])
                place, waits = _place(_lines(file))
            else:
                error = f"{type(problem).__name__}: {problem}"
        if not ended and (waits or dice.random() < 0.3):
            await anyio.sleep(dice.uniform(0, _AWAY_S))
    append_line(file, ["end", error, failed])
    print(json.dumps(order["view"]), flush=True)


def _lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def _place(lines: Sequence[Any]) -> tuple[str | None, bool]:
    """The position where a view continues, and whether the run is paused there."""
    kept, _ = left_standing(lines)
    return (kept[-1][1], kept[-1][3]) if kept else (None, False)


async def _shown(
    client: Client, order: dict[str, Any], place: str | None, *, on_pause: Literal["end", "wait"]
) -> AsyncGenerator[tuple[str, str, bool], None]:
    """(position, digest, whether the run is paused there) of each record or event after `place`."""
    run = client.run(order["run"])
    if order["what"] == "records":
        async with aclosing(run.records(after=place or 0)) as entries:
            async for entry in entries:
                yield *seen_record(entry), False
    else:
        async with aclosing(run.stream_async(after=place, on_pause=on_pause)) as events:
            async for event in events:
                result = event.get("result")
                yield *seen_event(event), result is not None and result.stop_reason == "interrupt"
