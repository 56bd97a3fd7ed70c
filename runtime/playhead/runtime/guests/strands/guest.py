"""`StrandsGuest`: a whole agent of the Strands Agents SDK as a TARGET, with its own loop, hooks, plugins and managers."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final, cast

import anyio
from strands import Agent
from strands.multiagent.base import MultiAgentBase

from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.context import in_context
from playhead.runtime.core.errors import OverrideRefusedError
from playhead.runtime.core.failures import failure
from playhead.runtime.core.limits import is_limit_reason
from playhead.runtime.core.overrides import overrides_of, refuse_overrides
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import Record, RunCancelled, RunCompleted, RunSubmitted, now_ms
from playhead.runtime.core.terms import TERM_OPTIONS
from playhead.runtime.guests.sources import Kinds, Make, made_by, making
from playhead.runtime.guests.strands.answers import responses_to, state_of
from playhead.runtime.guests.strands.events import EventRecorder
from playhead.runtime.guests.strands.forms import steady
from playhead.runtime.guests.strands.hosted import HOSTED, HostedRun
from playhead.runtime.guests.strands.kept_state import KeptState
from playhead.runtime.guests.strands.many import Invocations, agents_of
from playhead.runtime.guests.strands.results import result_of
from playhead.runtime.guests.strands.seams import put_seams
from playhead.runtime.guests.strands.terms import call_terms
from playhead.runtime.host.guest import Guest, Visit
from playhead.runtime.host.model_calls import ModelCalls
from playhead.runtime.host.versions import framework_of, note_version
from playhead.runtime.tools.hints import checked_outcomes
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["StrandsGuest"]

_DEFAULT_NAME: Final = "Strands Agents"
_KINDS: Final = Kinds(
    lambda value: isinstance(value, Agent),
    lambda value: isinstance(value, Agent | MultiAgentBase),
    "not a strands.Agent, a Graph or a Swarm",
)
_MANY: Final = Kinds(_KINDS.is_source, lambda value: isinstance(value, MultiAgentBase), "not a Graph or a Swarm")
_TURN_S: Final = 0.02  # between two looks whether the agent object is free


class StrandsGuest(Guest):
    """Runs each run by a Strands agent, a graph or a swarm as it is.

    A worker makes the agent after each claim of a run. After a takeover the agent runs again from its top: its model calls and
    tool calls get from the log what they gave. So hooks and plugins run again, too; `replaying()` tells them.

    Args:
        source: An agent, or a function without arguments that makes an agent, a graph or a swarm for each run. It may be async, or
            a context manager, async or not, that gives one. An agent object runs one run at a time, from the messages and the
            state that it has now.
        name: The name that clients use; None for the function's, or the agent's own.
        on_unknown_outcome: By the names of tools, what to do with a call that a worker began and did not finish because it
            died. For other tools what their MCP annotations say, else `retry`.
        rerun: The names of tools whose calls are made again in each execution, because they change the agent and nothing else:
            for example those that register tools.
        max_record_bytes: The size limit of one record.
        own_loop: Give each run a thread and an event loop of its own, because parts of Strands block their loop, such as a
            `SummarizingConversationManager` for a whole model call. Without, its runs share one loop in the process with those
            of other guests: no thread is made for a run, and one that blocks its loop stalls the others.

    Raises:
        TypeError: If `source` is neither, or the function returns something else.
        ValueError: If the agent has a session manager or background tasks, or the name or an outcome is invalid.
        AgentFactoryError: If the function raises.
    """

    def __init__(
        self,
        source: Agent | Make[Agent | MultiAgentBase],
        *,
        name: str | None = None,
        on_unknown_outcome: Mapping[str, OnUnknownOutcome] | None = None,
        rerun: Collection[str] = (),
        max_record_bytes: int = MAX_RECORD_BYTES,
        own_loop: bool = True,
    ) -> None:
        self._source = source
        made = made_by(source, _KINDS)
        super().__init__(name or _name_of(source), max_record_bytes=max_record_bytes, shares_loop=not own_loop)
        for agent in (made, *(agent for _, agent in agents_of(made))):
            _check(agent, self.name)
        self._policies: Mapping[str, OnUnknownOutcome] = checked_outcomes(on_unknown_outcome)
        self._rerun = frozenset(rerun)
        self._terms = TERM_OPTIONS if isinstance(made, Agent) else ()
        self._sources = _sources_of(made)
        self._free = threading.Lock()
        self._as_new = source.take_snapshot(preset="session") if isinstance(source, Agent) else None

    def __repr__(self) -> str:
        return f"StrandsGuest(name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StrandsGuest) and (self.name, self._source) == (other.name, other._source)

    def __hash__(self) -> int:
        return hash((self.name, id(self._source)))

    def check_options(self, first: Record) -> None:
        """Refuse what the run with this record 1 is to have instead of the agent's own; an agent knows limits and structured outputs, a graph not.

        Raises:
            OverrideRefusedError: The message names it.
        """
        refuse_overrides(self.name, overrides_of(first), allowed={})
        options = first.options if isinstance(first, RunSubmitted) else {}
        for name in TERM_OPTIONS:
            if name in options and name not in self._terms:
                raise OverrideRefusedError(self.name, f"{name}=", allowed=[f"{one}=" for one in self._terms])

    @property
    def framework(self) -> str:
        """Strands with its version."""
        return framework_of("strands-agents")

    @property
    def sources(self) -> dict[str, object]:
        """The function that makes the agent, and those of the agent's tools, also of the agents within it."""
        return {"": self._source, **self._sources}

    def steady(self, value: Any) -> Any:
        """Plain data without random ids, clocks and metrics."""
        return steady(value)

    async def drive(self, visit: Visit) -> Record:
        """Run an agent to its end."""
        note_version(visit.recorder, self.framework)
        if not isinstance(self._source, Agent):
            return await self._run_made(self._source, visit)
        while not self._free.acquire(blocking=False):  # noqa: ASYNC110 - it is released in another thread
            await anyio.sleep(_TURN_S)
        try:
            assert self._as_new is not None
            self._source.load_snapshot(self._as_new)
            return await self._run(self._source, visit)
        finally:
            self._free.release()

    async def _run_made(self, make: Make[Agent | MultiAgentBase], visit: Visit) -> Record:
        invocations: Invocations | None = None
        while True:
            async with making(make, _KINDS if invocations is None else _MANY) as made:
                if isinstance(made, Agent):
                    return await self._run(made, visit)
                invocations = invocations or Invocations(visit, policies=self._policies, rerun=self._rerun)
                if (end := await invocations.next(made)) is not None:
                    return end

    async def _run(self, agent: Agent, visit: Visit) -> Record:
        recorder = visit.recorder
        put_seams(agent)
        agent.messages = cast("Any", in_context(cast("Any", [*agent.messages, *visit.said.messages])))
        state = KeptState(agent, visit.said.agent_state, kept=visit.submitted.session is not None)
        events = EventRecorder(recorder, agent, state)
        run = HostedRun(recorder, agent, events, self._policies, self._rerun, ModelCalls(recorder))
        visit.cancel = lambda cancel: agent.cancel(**asdict(cancel))
        recorder.ends_after_tools = True
        token = HOSTED.set(run)
        try:
            return await self._invoke(agent, visit, events)
        finally:
            HOSTED.reset(token)

    async def _invoke(self, agent: Agent, visit: Visit, events: EventRecorder) -> Record:
        prompt, resumed = visit.submitted.prompt, False
        while True:
            try:
                result = await _invoked(agent, visit, prompt, events)
            except Exception as error:
                visit.error = error
                return await _failed(error, events)
            given = result_of(result, resumed=resumed)
            if is_limit_reason(result.stop_reason) and not events.drop_begun():
                given["begun"] = False
            await events.flush()
            await events.kept()
            if result.stop_reason == "cancelled":
                return RunCancelled(at=now_ms(), result=given)
            if result.stop_reason != "interrupt":
                if (steer := visit.recorder.next_prompt()) is None:
                    return RunCompleted(at=now_ms(), result=given)
                prompt = prompt_messages(steer)
                continue
            visit.recorder.pause_result = given
            prompt = await responses_to(visit, given["interrupts"])
            events.resumed = resumed = True


async def _failed(error: Exception, events: EventRecorder) -> Record:
    """The end of a run whose agent raised; it tells what forced the agent to stop, unless the agent told it otherwise."""
    record, forced = failure(error, force_stop=events.forced is not None), events.forced
    if forced is not None and forced.get("force_stop_reason") != record.message:
        record = failure(error, force_stop=False)
    else:
        events.forced = None
    await events.flush()
    await events.kept()
    return record


async def _invoked(agent: Agent, visit: Visit, prompt: Any, events: EventRecorder) -> Any:
    """One invocation of the agent; its result."""
    result: Any = None
    state, terms = state_of(visit), call_terms(agent, visit.submitted.options)
    async with aclosing(cast("Any", agent.stream_async(prompt, invocation_state=state, **terms))) as stream:
        async for event in stream:
            if "result" in event:
                result = event["result"]
            else:
                await events.take(event)
    return result


def _sources_of(made: Agent | MultiAgentBase) -> dict[str, object]:
    found: dict[str, object] = {}
    for _, agent in agents_of(made):
        for name, tool in agent.tool_registry.registry.items():
            found.setdefault(name, getattr(tool, "_tool_func", None))
    return found


def _name_of(source: object) -> str:
    if not isinstance(source, Agent):
        return getattr(source, "__name__", "agent")
    name = source.name if source.name != _DEFAULT_NAME else source.agent_id
    try:
        check_agent(name)
    except ValueError:
        raise ValueError(f"the agent is named {name!r}: give StrandsGuest a name=, or the agent one") from None
    return name


def _check(agent: Agent | MultiAgentBase, name: str) -> None:
    """Refuse what would be restored or run beside the log.

    Raises:
        ValueError: The message says what to do instead.
    """
    inside = vars(agent)
    if (inside.get("_session_manager") or inside.get("session_manager")) is not None:
        raise ValueError(
            f"{name} has a session manager, which would restore a part of what the log restores: remove it, and pass "
            "session_id= to the run"
        )
    if inside.get("_background_tasks") is not None:
        raise ValueError(f"{name} has background_tasks, whose order is not the same in each execution: remove them")
