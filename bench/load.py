"""A fleet under load: worker processes, a client process that tails all runs, and their costs between two moments.

An event is one `model.chunk` record, from the model's yield to the client's `data`; its raw event is not
counted separately. Each process is measured with its own clock and its own CPU.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

import anyio

from bench.children import Child, child
from bench.fleet import worker
from bench.server import Bench, Counters
from bench.viewer import viewer

__all__ = ["Fleet", "Moment", "Window", "between", "running_fleet"]

_START_S: Final = 90.0
_SETTLE_S: Final = 30.0
_LOOK_S: Final = 0.1


class Moment(NamedTuple):
    """The counters of the workers (summed), the client and the server at one moment."""

    fleet: dict[str, Any]
    view: dict[str, Any]
    server: Counters


class Window(NamedTuple):
    """The figures between two moments."""

    seconds: float
    received: float
    """Events a second that the client yielded."""
    worker_s: float
    client_s: float
    server_s: float
    """CPU seconds of each."""
    worker_us: float
    client_us: float
    server_us: float
    """CPU of each per event: the client's per yielded event, the others' per stored event."""
    commands: float
    """Commands sent to the server, per event."""
    records_per_append: float
    records_per_message: float
    delay_p50_ms: float
    delay_p99_ms: float


def between(a: Moment, b: Moment) -> Window:
    """The window from `a` to `b`. Without any event, the costs are those of one."""
    seconds = b.view["at"] - a.view["at"]
    events = max(1, b.view["events"] - a.view["events"])
    records = max(1, b.fleet["records"] - a.fleet["records"])
    worker_s, client_s = b.fleet["cpu"] - a.fleet["cpu"], b.view["cpu"] - a.view["cpu"]
    server_s = b.server.cpu - a.server.cpu
    return Window(
        seconds=seconds,
        received=events / seconds,
        worker_s=worker_s,
        client_s=client_s,
        server_s=server_s,
        worker_us=worker_s / records * 1e6,
        client_us=client_s / events * 1e6,
        server_us=server_s / records * 1e6,
        commands=(b.server.commands - a.server.commands) / records,
        records_per_append=records / max(1, b.fleet["appends"] - a.fleet["appends"]),
        records_per_message=events / max(1, b.view["messages"] - a.view["messages"]),
        delay_p50_ms=b.view["delay_p50_ms"],
        delay_p99_ms=b.view["delay_p99_ms"],
    )


class Fleet:
    """Workers and a client whose runs have started and stream nothing until `speak`.

    Attributes:
        idle: The counters before the first run.
    """

    def __init__(self, bench: Bench, workers: Sequence[Child], view: Child, *, idle: Moment) -> None:
        self._bench = bench
        self._workers = workers
        self._view = view
        self.idle = idle

    async def moment(self) -> Moment:
        """The current counters."""
        return await _moment(self._bench, self._workers, self._view)

    async def window(self, seconds: float) -> Window:
        """The window of the next `seconds`, with models streaming or not."""
        before = await self.moment()
        await anyio.sleep(seconds)
        return between(before, await self.moment())

    async def speak(self, seconds: float, *, warm_s: float) -> Window:
        """Let the models stream: first for `warm_s` until the rate is steady, then for a window. Then hold them, and
        wait until all their chunks have arrived.

        Raises:
            TimeoutError: If their chunks did not arrive.
        """
        await _ask(self._workers, "go")
        await anyio.sleep(warm_s)
        window = await self.window(seconds)
        await _ask(self._workers, "hold")
        with anyio.fail_after(_SETTLE_S):
            await self._settled()
        return window

    async def _settled(self) -> None:
        before, now = -1, (await self._view.ask("snapshot"))["events"]
        while now != before:
            await anyio.sleep(_LOOK_S)
            before, now = now, (await self._view.ask("snapshot"))["events"]


@asynccontextmanager
async def running_fleet(
    bench: Bench, *, prefix: str, runs: int, rate: float, readers: int = 1, workers: int = 1
) -> AsyncGenerator[Fleet, None]:
    """`runs` runs of `rate` events a second, each tailed `readers` times, during the block.

    Each of the `workers` owns the same number of them.

    Raises:
        TimeoutError: If they did not all start within a minute and a half.
    """
    config = {"url": bench.url, "prefix": prefix, "runs": runs, "rate": rate, "readers": readers}
    held = {**config, "concurrency": runs // workers, "held": True}
    async with AsyncExitStack() as stack:
        view = await stack.enter_async_context(child(viewer, config, uvloop=False))
        fleet = [await stack.enter_async_context(child(worker, held, uvloop=True)) for _ in range(workers)]
        idle = await _moment(bench, fleet, view)
        with anyio.fail_after(_START_S):
            await view.ask("start")
        yield Fleet(bench, fleet, view, idle=idle)


async def _ask(workers: Sequence[Child], question: str) -> dict[str, Any]:
    """The sum of all their answers."""
    answers = [await worker.ask(question) for worker in workers]
    return {key: sum(answer[key] for answer in answers) for key in answers[0]}


async def _moment(bench: Bench, workers: Sequence[Child], view: Child) -> Moment:
    return Moment(await _ask(workers, "snapshot"), await view.ask("snapshot"), await bench.counters())
