"""Verifies many runs in separate processes, each of which loads the agents."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import anyio
from anyio import CapacityLimiter, to_process

from playhead.client.cli.reach import opened
from playhead.client.cli.render import agents_print_to_stderr
from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.as_tool import agent_within
from playhead.runtime.agent.of_run import agent_of_today
from playhead.runtime.agent.serving import Served
from playhead.runtime.core.errors import BadTargetError, PlayheadError
from playhead.runtime.host.guest import Guest
from playhead.runtime.replay.differences import Difference
from playhead.runtime.replay.verify import Half, verify
from playhead.runtime.targets import load_served, load_tools
from playhead.runtime.tools.decorator import as_tool

__all__ = ["Job", "Outcome", "agent_for", "verified", "verify_many"]

_BATCH: Final = 8  # runs of one call of a process


@dataclass(frozen=True, slots=True)
class Job:
    """A job of verification: runs of a deployment against the agents of a target.

    Attributes:
        url, prefix: The deployment; no URL if all runs are in files.
        target: The target that holds the agents.
        tools: `recorded`, `live`, or a Python file with tools that run in place of the agent's.
        model, hooks: `recorded` or `live`.
        ignore: Kinds of changes that are not reported.
    """

    url: str | None
    prefix: str
    target: str
    tools: str = "recorded"
    model: Half = "recorded"
    hooks: Half = "live"
    ignore: tuple[str, ...] = ()

    @property
    def stubs(self) -> list[object]:
        """The tools in the file, if there is one."""
        return load_tools(self.tools) if self.tools.endswith(".py") else []


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of verifying one run.

    Attributes:
        run_id, agent: The run, and the agent that it was submitted to.
        records: How many of its records were compared.
        difference: The first difference; None if there is none, or if it is not known.
        notes: What could not be compared.
        error: Why the run could not be verified; None if it was.
        took_s: How long it took.
    """

    run_id: str
    agent: str = ""
    records: int = 0
    difference: Difference | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    took_s: float = 0.0

    @property
    def text(self) -> str:
        """The outcome as lines of text."""
        if self.error is not None:
            return f"run {self.run_id} could not be verified: {self.error}"
        found = f"run {self.run_id}: nothing differs in {self.records:,} records"
        lines = [found if self.difference is None else self.difference.text]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """The outcome for programs."""
        found = self.difference
        changes = [
            {"kind": one.kind, "what": one.what, "where": one.where, "recorded": one.recorded, "now": one.now}
            for one in (found.changes if found else ())
        ]
        place = found and {"seq": found.seq, "epoch": found.epoch, "record": found.record, "changes": changes}
        told = {"run": self.run_id, "agent": self.agent, "records": self.records}
        return {**told, "difference": place, "notes": list(self.notes), "error": self.error}


def agent_for(name: str, agents: dict[str, Served], *, target: str) -> Served:
    """The agent for a run; for a run of an agent that is a tool, the one that has the tool.

    If the target has only one agent, it is used even if its name has changed.

    Raises:
        BadTargetError: If the target has several agents and none with this name.
    """
    above = [one for one in agents if name.startswith(f"{one}.")]
    if name not in agents and above:
        owner = agents[max(above, key=len)]
        return cast("Agent", agent_within(owner, owner.name, name)) if isinstance(owner, Agent) else owner
    if name not in agents and len(agents) > 1:
        raise BadTargetError(f"{target} has the agents {', '.join(agents)}, and the run is of {name!r}")
    return agents.get(name) or next(iter(agents.values()))


async def verified(run: str, job: Job, agents: dict[str, Served]) -> Outcome:
    """Verify one run, which may be in a file. An error that prevents it is an outcome too."""
    began = time.monotonic()
    try:
        async with opened(run, job.url, job.prefix) as found:
            name = (await found.info()).agent
            (first,) = await found.log.read(found.id, limit=1)
            agent, stubs = agent_for(name, agents, target=job.target), job.stubs
            if not isinstance(agent, Guest):
                agent = await agent_of_today(agent, found.id, first.record)
                stubs = [stub for stub in stubs if as_tool(stub).name in agent.tools]
            tools: Half = "live" if job.tools == "live" else "recorded"
            told = await verify(
                found, agent, tools=tools, model=job.model, hooks=job.hooks, stubs=stubs, ignore=job.ignore
            )
    except (PlayheadError, ValueError) as error:
        return Outcome(run, error=str(error), took_s=time.monotonic() - began)
    took = time.monotonic() - began
    return Outcome(run, name, told.records, told.difference, told.notes, took_s=took)


def _verify_batch(job: Job, runs: Sequence[str]) -> list[Outcome]:
    """Verify runs in this process."""

    async def main(agents: dict[str, Served]) -> list[Outcome]:
        return [await verified(run, job, agents) for run in runs]

    with agents_print_to_stderr():
        return anyio.run(main, load_served([job.target]))


async def verify_many(
    job: Job, run_ids: Sequence[str], *, processes: int, done: Callable[[int], None]
) -> list[Outcome]:
    """Verify many runs and return their outcomes in order. `processes` work at once, and `done` gets the number of new outcomes."""
    batches = [run_ids[start : start + _BATCH] for start in range(0, len(run_ids), _BATCH)]
    found: list[list[Outcome]] = [[] for _ in batches]
    limiter = CapacityLimiter(processes)

    async def one(number: int) -> None:
        found[number] = await to_process.run_sync(
            _verify_batch, job, batches[number], cancellable=True, limiter=limiter
        )
        done(len(found[number]))

    async with anyio.create_task_group() as tasks:
        for number in range(len(batches)):
            tasks.start_soon(one, number)
    return [outcome for batch in found for outcome in batch]
