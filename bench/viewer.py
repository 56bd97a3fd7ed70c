"""The client's side of the bench: a process that starts runs and tails them all."""

from __future__ import annotations

import time
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import anyio

from bench.children import Talk, cpu_seconds, rss_bytes
from bench.figures import percentile
from bench.fleet import AGENT, clock_ns, prompt
from playhead.client import Client, Run

__all__ = ["CLIENT_NAME", "viewer"]

CLIENT_NAME: Final = "bench-viewer"
"""The name of its connections, for `CLIENT LIST`."""
_MANY: Final = 5000.0
_SAMPLE: Final = 64
"""At high rates only every 64th delay is stored."""


class _Viewer:
    """Tails runs and counts their events."""

    def __init__(self, client: Client, *, tails: int, rate: float) -> None:
        self._client = client
        self._waited_for = tails
        self._sample = _SAMPLE if tails * rate > _MANY else 1
        self.all_begun = anyio.Event()
        self.events = 0
        self.delays_ms: list[float] = []

    async def watch(self, run: Run) -> None:
        async with aclosing(run.stream_async()) as events:
            async for event in events:
                if "data" in event:
                    self.events += 1
                    if self.events % self._sample == 0:
                        self.delays_ms.append((clock_ns() - int(event["data"])) / 1e6)
                elif "messageStart" in event.get("event", ()):
                    self._waited_for -= 1
                    if not self._waited_for:
                        self.all_begun.set()

    def snapshot(self) -> dict[str, Any]:
        """Counters; the delays are those since the last snapshot."""
        delays, self.delays_ms = self.delays_ms, []
        return {
            "at": time.monotonic(),
            "cpu": cpu_seconds(),
            "rss": rss_bytes(),
            "events": self.events,
            "messages": self._client.statistics().messages,
            "delay_p50_ms": percentile(delays, 50) if delays else 0.0,
            "delay_p99_ms": percentile(delays, 99) if delays else 0.0,
        }


async def viewer(config: dict[str, Any], talk: Talk) -> None:
    """Role: a client that starts `runs` runs at `rate` and opens `readers` tails on each.

    Asks: `start`, answered when each tail has seen the start of its message, and `snapshot`.
    """
    url = f"{config['url']}?client_name={CLIENT_NAME}"
    async with Client(url, prefix=config["prefix"]) as client, anyio.create_task_group() as tasks:
        view = _Viewer(client, tails=config["runs"] * config["readers"], rate=config["rate"])
        async for question in talk.questions():
            if question["ask"] == "start":
                for _ in range(config["runs"]):
                    run = await client.start(AGENT, prompt(rate=config["rate"]))
                    for _ in range(config["readers"]):
                        tasks.start_soon(partial(view.watch, run))
                await view.all_begun.wait()
            talk.answer(view.snapshot())
        tasks.cancel_scope.cancel()
