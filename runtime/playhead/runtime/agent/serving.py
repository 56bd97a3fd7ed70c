"""What a worker serves, and what runs a run for its owner: an agent by playhead's own loop, or a guest in its host."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.factory import SOURCES, AgentSource, Make, source_of
from playhead.runtime.agent.of_run import agent_of_run
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import AgentMade, Entry
from playhead.runtime.core.state import open_chunks
from playhead.runtime.guests.finding import framework_agent, framework_guest, takes_nothing
from playhead.runtime.host.function import FunctionGuest, Run
from playhead.runtime.host.guest import Guest
from playhead.runtime.host.host import GuestTarget
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.runner import Opening, Target
from playhead.runtime.loop.traced_agent import traced_agent
from playhead.runtime.tools.agent_state import AgentState

if TYPE_CHECKING:
    from strands import Agent as StrandsAgent

__all__ = ["SERVED", "AgentTarget", "RunTarget", "Servable", "Served", "served_of", "target_of_run"]

Served = AgentSource | Guest
"""What a worker serves: an agent, what makes one for each run, or a guest."""

SERVED: Final = (*SOURCES, Guest)
"""The types of what stands for it, besides the agents of frameworks: see `served_of`."""

Servable: TypeAlias = "Served | Make | Run | Callable[[], Any] | StrandsAgent"
"""What stands for it: also a function that makes an agent or runs a run itself, and an agent of a framework."""


def served_of(value: object, *, name: str | None = None) -> Served:
    """What a value stands for.

    A function of one argument becomes a factory; an async generator function, an agent of a framework, and a function without
    arguments, which makes such an agent, become guests. `name` is where one was found that has no name of its own.

    Raises:
        TypeError: If it is none of them.
        ValueError: If a name is not one that an agent can have, or the agent of a framework has what a guest cannot have.
        AgentFactoryError: If a function that makes the agent of a framework raises.
    """
    if isinstance(value, Guest):
        return value
    if takes_nothing(value) and (inspect.isasyncgenfunction(value) or inspect.isgeneratorfunction(value)):
        manager = "asynccontextmanager" if inspect.isasyncgenfunction(value) else "contextmanager"
        named = getattr(value, "__name__", "it")
        raise TypeError(f"{named} is a generator function: put @{manager} above it, if it yields an agent")
    if inspect.isasyncgenfunction(value):
        return FunctionGuest(cast("Run", value))
    if framework_agent(value) or takes_nothing(value):
        return framework_guest(value, name=name)
    return source_of(value)


@dataclass(frozen=True, slots=True)
class AgentTarget:
    """An agent whose runs playhead's own loop runs."""

    agent: Agent

    @property
    def max_record_bytes(self) -> int:
        """The size limit of one record, in bytes."""
        return self.agent.max_record_bytes

    def open(self, opening: Opening) -> Loop:
        """Make the loop that continues the run after these records."""
        state = fold(opening.entries, history=[*self.agent.messages, *opening.said.messages])
        spec = self.agent.spec
        if opening.telemetry is not None:
            opening.telemetry.describe(partial(traced_agent, spec))
        return Loop(
            spec,
            run_id=opening.run_id,
            state=state,
            head=opening.head,
            epoch=opening.epoch,
            control=opening.control,
            ownership=opening.ownership,
            driver=opening.driver,
            partial=open_chunks(state, opening.entries),
            began_from=opening.said.began_from,
            longest_wait=opening.longest_wait,
            children=opening.children,
            telemetry=opening.telemetry,
            store=AgentState.of_run(state.agent_state, opening.said.agent_state, self.agent.state.get()),
        )


class RunTarget(NamedTuple):
    """What runs the run of one owner; the other fields as in `RunAgent`."""

    target: Target
    made: AgentMade | None = None
    former: AgentDefinition | None = None


async def target_of_run(source: Served, run_id: str, entries: Sequence[Entry]) -> RunTarget:
    """What a worker's own agent, factory or guest has for the run with these records.

    Raises:
        AgentFactoryError, OverrideRefusedError: As `agent_of_run` and `Guest.check_options`.
    """
    if isinstance(source, Guest):
        source.check_options(entries[0].record)
        return RunTarget(GuestTarget(source))
    agent, made, former = await agent_of_run(source, run_id, entries)
    return RunTarget(AgentTarget(agent), made, former)
