"""The agent by which a run is run: a worker's own or one that a factory makes, with what the run has instead of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.as_tool import agent_within
from playhead.runtime.agent.factory import AgentSource, RunContext
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.made import MadeAgent, made_agent, made_record
from playhead.runtime.core.records import AgentMade, Entry, Record, RunSubmitted

__all__ = ["RunAgent", "agent_of_run", "agent_of_today"]


class RunAgent(NamedTuple):
    """The agent of one owner of a run.

    Attributes:
        agent: The agent, with what the run has instead of the agent's own.
        made: The record to store before all others of this owner; None if the log has that already.
        former: The definition that the log had of the agent, if this owner could not have the same.
    """

    agent: Agent
    made: AgentMade | None = None
    former: AgentDefinition | None = None


async def agent_of_run(source: AgentSource, run_id: str, entries: Sequence[Entry]) -> RunAgent:
    """The agent by which an owner runs the run with these records.

    Of an agent that a factory made for a former owner the new one has what the log has.

    Raises:
        AgentFactoryError: If the factory raises, takes too long, or returns no Agent.
        OverrideRefusedError: If the run is to have what the agent does not allow.
    """
    first = entries[0].record
    agent, record, former = await agent_of_today(source, run_id, first), None, None
    if not isinstance(source, Agent):
        recorded = made_agent(entries)
        if recorded is not None and recorded.definition.agent == source.name:
            agent = agent.as_recorded(recorded.definition, model=recorded.model_name)
        else:
            recorded = None
        made = MadeAgent(agent.definition, agent.model_name)
        if recorded is None or made.digest != recorded.digest:
            record, former = made_record(made), recorded and recorded.definition
    agent.check_overrides(entries)
    return RunAgent(agent.of_run(first), record, former)


async def agent_of_today(source: AgentSource, run_id: str, first: Record) -> Agent:
    """The agent as the code of today has it for the run with this record 1, without what the run has instead.

    For a run of an agent that is a tool of the source it is that agent.

    Raises:
        AgentFactoryError: As `agent_of_run`.
    """
    agent = source if isinstance(source, Agent) else await source.agent(RunContext.of(run_id, first))
    wanted = first.agent if isinstance(first, RunSubmitted) else source.name
    return agent if wanted == source.name else cast("Agent", agent_within(agent, source.name, wanted))
