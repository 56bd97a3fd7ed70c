"""Runs a fork in this process: its log is in memory, and the agent given is its owner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from playhead.client.forking import new_fork
from playhead.client.validation import checked_fork
from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.serving import Servable, Served, served_of
from playhead.runtime.core.events import Projection
from playhead.runtime.core.fork import Fork
from playhead.runtime.core.records import Entry
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.replay.here import OwnerHere

__all__ = ["run_here"]


async def run_here(
    log: LogReader,
    parent_id: str,
    fork: Fork,
    agent: Servable,
    *,
    run_id: str,
    on_entry: Callable[[Entry], object] | None = None,
) -> MemoryLog:
    """Run a fork to its end or its next pause; returns the log that has it.

    Args:
        log: The log of the parent.
        parent_id: The run to fork.
        fork: What the fork is to be. The agent given runs it, whatever its name is.
        agent: The agent, the factory that makes it, a function too, or the guest or what stands for it.
        run_id: The id of the fork.
        on_entry: Called with each record, those of the parent first; None to give the events of the fork's own records to
            the agent's callback handler.

    Raises:
        ModelConfigurationError: If the agent's model cannot be used.
        AgentFactoryError: If the factory raises, takes too long, or returns no Agent.
        Exception: As `new_fork`, and as `checked_fork`.
    """
    source = served_of(agent)
    change = checked_fork(replace(fork, agent=source.name), limit=source.max_record_bytes)
    here = MemoryLog()
    made = await new_fork(log, parent_id, change, run_id=run_id, session=f"forked-{run_id}")
    await here.import_run(made.run, made.pages())
    await OwnerHere(here, source, on_entry or _events(run_id, source, after=fork.at)).own()
    return here


def _events(run_id: str, agent: Served, *, after: int) -> Callable[[Entry], None]:
    """Gives the events after a record to the agent's callback handler."""
    projection, handler = Projection(run_id, after=after), agent.callback_handler if isinstance(agent, Agent) else None

    def feed(entry: Entry) -> None:
        for event in projection.feed(entry):
            if handler is not None:
                handler(**event)

    return feed
