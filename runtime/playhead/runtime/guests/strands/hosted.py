"""`HostedRun`: the run in which code of a Strands agent runs, for the seams that are put into the agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from strands import Agent

from playhead.runtime.guests.strands.events import EventRecorder
from playhead.runtime.host.keys import SCOPE
from playhead.runtime.host.model_calls import ModelCalls
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["HOSTED", "HostedRun", "replaying"]


@dataclass(frozen=True, slots=True)
class HostedRun:
    """One execution of a run.

    Attributes:
        recorder: What it goes through again, and records with.
        top: The agent whose events are the run's; None in a graph or a swarm.
        models: Its model calls.
        events: Where its events go.
        policies: By the names of tools, what to do with a call that was cut off.
        rerun: The names of the tools whose calls are made again each time.
        scopes: By the ids of the agents of a graph or a swarm, where their calls are in the log.
        finished: How many calls of a lane have finished.
        unknown: The lanes of calls that a human was asked about.
    """

    recorder: Recorder
    top: Agent | None
    events: EventRecorder
    policies: Mapping[str, OnUnknownOutcome]
    rerun: frozenset[str]
    models: ModelCalls
    scopes: Mapping[int, str] = field(default_factory=dict[int, str])
    finished: Counter[str] = field(default_factory=Counter[str])
    unknown: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.recorder.stops_at_cancel = True  # see `RecordedModel` and `recorded_tool_call`

    def scope_of(self, agent: object) -> str:
        """The scope of what an agent does, if it is one of a graph or a swarm."""
        return SCOPE.get() or self.scopes.get(id(agent), "")


HOSTED: ContextVar[HostedRun | None] = ContextVar("playhead_hosted_run", default=None)
"""The run of the code that runs now; None for an agent that is used outside of a host."""


def replaying() -> bool:
    """Whether what happens now has happened before, in a run that was taken over: for hooks that print, count or send."""
    run = HOSTED.get()
    return run is not None and run.recorder.course.goes_on
