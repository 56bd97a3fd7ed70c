"""Run by path: a worker that hosts the agents of scenario folders until its stdin ends.

    python conformance_worker.py --url URL --prefix PREFIX --name NAME --requests DIR FOLDER...

Where a scenario's consumer cancels after the n-th event of a kind, the worker holds the run at the record that gives
that event until the cancel has arrived. In process the consumer's iteration is what drives the loop; here a scripted
model would be done long before a cancel could come back.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import anyio
from conformance_agents import Request, build_agent
from conformance_scenarios import Folder, Scenario

from playhead.runtime import Agent
from playhead.runtime.core.events import Projection
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import record_of
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.loop.control import breaking_off
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import AgentSpec, Flush, LoopOutput
from playhead.workers import Worker, WorkerOptions, execution

__all__ = ["main"]

_CANCELS: Final[dict[str, list[dict[str, Any] | None]]] = {}
"""By agent, what each turn's consumer cancels after."""

_RUNS: Final[dict[str, list[str]]] = {}
"""By agent, the runs in the order in which they were first claimed: the turns."""


class _HoldingLoop(Loop):
    """A loop that waits, where the scenario's consumer cancels, for that cancel; else as the real one."""

    def __init__(self, spec: AgentSpec, *, run_id: str, epoch: int, **options: Any) -> None:
        super().__init__(spec, run_id=run_id, epoch=epoch, **options)
        runs = _RUNS.setdefault(spec.name, [])
        if run_id not in runs:
            runs.append(run_id)
        turn, cancels = runs.index(run_id), _CANCELS[spec.name]
        self._rule = cancels[turn] if turn < len(cancels) else None

    async def records(self) -> AsyncGenerator[LoopOutput, None]:
        projection = Projection(self.run_id)
        left: int = self._rule["count"] if self._rule else 0
        async with aclosing(super().records()) as items:
            async for item in items:
                yield item
                if self._rule and left > 0 and not isinstance(item, Flush):
                    events = projection.feed(Entry(self.head, self.epoch, record_of(item)))
                    left -= sum(self._rule["key"] in event for event in events)
                    if left <= 0:
                        async with breaking_off(self.control):
                            await anyio.sleep_forever()


def _agents(scenarios: Sequence[Scenario], requests: Path) -> list[Agent]:
    """The agents that can be built; a scenario whose agent needs what playhead lacks has none."""
    agents: list[Agent] = []
    for scenario in scenarios:
        try:
            agents.append(build_agent(scenario, note=_writer(requests / f"{scenario['id']}.jsonl")))
        except NotImplementedError:
            continue
        _CANCELS[scenario["id"]] = [turn.get("cancel_after") for turn in scenario["turns"]]
    return agents


def _writer(path: Path) -> Callable[[Request], None]:
    def write(request: Request) -> None:
        with path.open("a") as file:
            file.write(json.dumps(request) + "\n")

    return write


async def main(arguments: Sequence[str]) -> None:
    """Run the worker until stdin ends, then drain it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--requests", required=True, type=Path)
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    scenarios = [scenario for path in options.folders for scenario in Folder(path, ours=False).scenarios()]
    log = RedisLog(connect(options.url), prefix=options.prefix)
    try:
        with patch.object(execution, "Loop", _HoldingLoop):
            host = Worker(
                _agents(scenarios, options.requests), log=log, options=WorkerOptions(grace_s=0), name=options.name
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(host.run)
                await anyio.wait_readable(sys.stdin.fileno())  # no process writes to it: only its end can be read
                host.drain()
    finally:
        await log.aclose()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
