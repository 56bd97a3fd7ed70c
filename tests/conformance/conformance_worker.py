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
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import anyio
from conformance_agents import Request, build_agent
from conformance_scenarios import Folder, Scenario

from playhead.runtime import Agent
from playhead.runtime.control import Control
from playhead.runtime.events import Projection
from playhead.runtime.log import Claim
from playhead.runtime.log.redis import RedisLog, connect
from playhead.runtime.records import Entry, Record
from playhead.workers import Worker, WorkerOptions, worker
from playhead.workers.commit import GroupCommit
from playhead.workers.execution import Execution
from playhead.workers.writer import RunWriter

__all__ = ["main"]

_CANCELS: Final[dict[str, list[dict[str, Any] | None]]] = {}
"""By agent, what each turn's consumer cancels after."""

_RUNS: Final[dict[str, list[str]]] = {}
"""By agent, the runs in the order in which they were first claimed: the turns."""


class _HoldingWriter(RunWriter):
    """Waits for a signal behind the record that gives the n-th event with a key."""

    def __init__(
        self, commit: GroupCommit, claim: Claim, *, limit: int, control: Control, rule: dict[str, Any]
    ) -> None:
        super().__init__(commit, run_id=claim.run_id, token=claim.token, head=claim.head, limit=limit)
        self._epoch = claim.epoch
        self._control = control
        self._key: str = rule["key"]
        self._left: int = rule["count"]
        self._projection = Projection(claim.run_id)

    async def put(self, record: Record) -> None:
        await super().put(record)
        if self._left <= 0:
            return
        events = self._projection.feed(Entry(self.last, self._epoch, record))
        self._left -= sum(self._key in event for event in events)
        if self._left <= 0:
            await self._control.next(_nothing())


class _HoldingExecution(Execution):
    """An execution that holds where the scenario's consumer cancels; else as the real one."""

    def __init__(self, claim: Claim, agent: Agent, *, commit: GroupCommit, **options: Any) -> None:
        super().__init__(claim, agent, commit=commit, **options)
        runs = _RUNS.setdefault(agent.name, [])
        if claim.run_id not in runs:
            runs.append(claim.run_id)
        turn = runs.index(claim.run_id)
        cancels = _CANCELS[agent.name]
        if turn < len(cancels) and (rule := cancels[turn]):
            limit = agent.max_record_bytes
            self.writer = _HoldingWriter(commit, claim, limit=limit, control=self.control, rule=rule)


async def _nothing() -> AsyncIterator[None]:
    await anyio.sleep_forever()
    yield


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
        with patch.object(worker, "Execution", _HoldingExecution):
            host = Worker(
                _agents(scenarios, options.requests), log=log, options=WorkerOptions(grace_s=0), name=options.name
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(host.run)
                await anyio.wait_readable(sys.stdin.fileno())  # nobody writes to it: its end is what can be read
                host.drain()
    finally:
        await log.aclose()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
