"""One owner of a recorded run: the loop of today beside the records that this owner wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.conversation import recorded_manager
from playhead.runtime.core.codec import encode_chunk, encode_record, limit_of
from playhead.runtime.core.context import KEEP_ALL
from playhead.runtime.core.converse import Message, ToolChoice, ToolSpec
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.failures import failure
from playhead.runtime.core.model_input import ModelRequest, model_request
from playhead.runtime.core.records import (
    HookDecided,
    MessageAdded,
    ModelFailed,
    ModelStarted,
    Record,
    StateChanged,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.retry_strategy import NEVER, recorded_waits
from playhead.runtime.core.segments import WHOLE, record_of
from playhead.runtime.core.terms import Terms
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.hooks import Hooks
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import AgentSpec, Flush, LoopOutput
from playhead.runtime.replay.differences import Change, Difference, decided_by, essence, record_change, request_changes
from playhead.runtime.replay.hooks import RecordedHooks, ReplayedHooks
from playhead.runtime.replay.past import Past
from playhead.runtime.replay.playback import Playback, RecordedModel, RecordedTool, RecordedWaits
from playhead.runtime.replay.tape import Spot
from playhead.runtime.tools.tool import Tool

__all__ = ["Owner", "Subject"]


_OF_CALLS: Final = (HookDecided, StateChanged, ToolDecided, ToolStarted, ToolFinished, ToolInterrupted)
"""The records with which the calls of a message may begin."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified, and how.

    Attributes:
        agent: The agent of today.
        definition: Its definition.
        places: `file:line` of each of its tools by name, of the first hook of an event under `hook of <event>`, and of itself
            under an empty name.
        runs: The tools that run instead of being played.
        live_model: Whether the agent's model is called instead of being played.
        live_hooks: Whether the agent's hooks are asked instead of being played.
        ignore: Kinds of changes that are not reported.
    """

    agent: Agent
    definition: AgentDefinition
    places: Mapping[str, str] = field(default_factory=dict[str, str])
    runs: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    live_model: bool = False
    live_hooks: bool = True
    ignore: frozenset[str] = frozenset()


class _DivergedError(Exception):
    """The request of a model call differs; the differences are kept beside it."""


class Owner:
    """The loop of one owner, from its claim on.

    Args:
        subject: What is verified.
        past: The records up to the claim.
        run_id: The run.
        claimed: The claim.
        definition: The definition that it names; None if it is not known.
    """

    def __init__(
        self, subject: Subject, past: Past, *, run_id: str, claimed: Spot, definition: AgentDefinition | None
    ) -> None:
        self._subject = subject
        self._past = past
        self._run_id = run_id
        self._definition = definition
        self._changes: list[Change] = []  # in the request of the call that is open
        self._call: Spot = claimed  # the model.started of that call
        self._own: frozenset[int] = frozenset()  # the calls of the batch that this owner began
        control = Control()
        self._playback = playback = Playback(past.tape, control, epoch=claimed.epoch)
        playback.other_policy = self._differs("retry")
        self._loop = Loop(
            self._spec(playback),
            run_id=run_id,
            state=past.state,
            head=claimed.seq,
            epoch=claimed.epoch,
            control=control,
            driver=asyncio.current_task(),
            partial=past.open_chunks,
            began_from=past.began_from,
        )

    def _differs(self, name: str) -> bool:
        """Whether a field of the definition is known to be another one than that of the agent of today."""
        recorded = getattr(self._definition, name, None)
        return bool(recorded) and recorded != getattr(self._subject.definition, name)

    @property
    def _keeps_all(self) -> bool:
        """Whether the owner was of version 0.1, which reduced no history."""
        return self._definition is not None and not self._definition.conversation_manager

    def _spec(self, playback: Playback) -> AgentSpec:
        agent, runs = self._subject.agent, self._subject.runs
        return AgentSpec(
            name=agent.name,
            model=RecordedModel(playback, asked=self._asked, live=agent.model if self._subject.live_model else None),
            tools={name: RecordedTool(tool, playback, runs=runs.get(name)) for name, tool in agent.tools.items()},
            system_prompt=agent.system_prompt,
            system_prompt_content=agent.system_prompt_content,
            tool_executor=agent.tool_executor,
            max_record_bytes=agent.max_record_bytes,
            on_partial=agent.on_partial,
            context=KEEP_ALL if self._keeps_all else recorded_manager(self._subject.definition.conversation_manager),
            retry=None if agent.retry is None else RecordedWaits(agent.retry, playback),
            terms=agent.terms,
            hooks=self._hooks(playback),
            request=self._request,
        )

    def _request(self, history: Sequence[Message], **more: Any) -> ModelRequest:
        """The request of a model call, without its messages if they are neither sent nor compared.

        To make them for every call of a run takes time that grows with the square of their number.
        """
        needed = self._subject.live_model or "messages" in self._differs_in_call
        return model_request(history if needed else (), **more)

    @property
    def _differs_in_call(self) -> Mapping[str, Any]:
        """What the call that is open sent in place of the fields of the definition."""
        return dict(self._call.record).get("differs") or {}

    def _hooks(self, playback: Playback) -> Hooks | None:
        if not self._subject.live_hooks:
            return RecordedHooks(playback)
        asked = self._subject.agent.asked_hooks
        return None if asked is None else ReplayedHooks(asked, playback, runs=self._subject.runs)

    async def difference(self) -> Difference | None:
        """Compare this owner's records, which are then in the past; the first that differs stays before the place."""
        if self._loop.answer is not None and not await self._playback.keeps_answer():
            self._loop.answer = None
        async with aclosing(self._loop.records()) as items:
            while True:
                spot = await self._playback.peek()
                if spot is None:
                    return None
                if not self._playback.in_call:
                    await self._playback.deliver()
                if isinstance(spot.stored, StateChanged):
                    self._play_state(spot.stored)
                if isinstance(spot.stored, _OF_CALLS) and not self._playback.begun:
                    self._loop.run_id = await self._playback.id_in_keys() or self._loop.run_id
                item = await self._next(items)
                if self._changes:
                    call = self._call
                    return Difference(self._run_id, call.seq, call.epoch, "model.started", tuple(self._changes))
                if isinstance(item, Flush) or self._take_chunk(item, spot):
                    continue
                if (found := await self._compare(item)) is not None:
                    return found

    def _play_state(self, record: StateChanged) -> None:
        """Have the state that the run began from; and what hooks changed, if they are played."""
        if record.begins:
            self._loop.store.load(record.values)
        elif not self._subject.live_hooks:
            self._loop.store.apply(dict(record))

    async def _pass_untold(self, now: Record | None) -> None:
        """Take a change of the state by a hook that is told of messages: such hooks are not called."""
        hooks = self._subject.agent.hooks
        if isinstance(now, StateChanged) or not hooks.callbacks_for("MessageAddedEvent"):
            return
        while (spot := await self._playback.peek()) is not None and isinstance(spot.stored, StateChanged):
            self._go_on(spot, spot.stored)
            self._loop.store.load(self._past.state.agent_state or {})

    async def _next(self, items: AsyncGenerator[LoopOutput, None]) -> LoopOutput | None:
        """What the loop yields, or the failure that a worker would store in its place; None at its end."""
        try:
            item = await anext(items, None)
            if isinstance(item, list):
                encode_chunk(item, limit=self._subject.agent.max_record_bytes)
            elif isinstance(item, Record):
                encode_record(item, limit=limit_of(item, self._subject.agent.max_record_bytes))
            return item
        except Exception as error:
            return failure(error)

    def _take_chunk(self, item: LoopOutput | None, spot: Spot) -> bool:
        """Whether the item is the recorded chunk, which is then in the past, or a chunk of a call that is made live."""
        if type(item) is not list:
            return False
        if self._playback.live_call:
            return True
        stored = spot.stored
        if type(stored) is not list or stored[0] != item[0] or stored[2:] != item[2:]:
            return False
        self._past.advance()
        if item[0] == WHOLE:  # a guardrail's redaction changes the state
            self._loop.state = self._past.state
        return True

    async def _compare(self, item: LoopOutput | None) -> Difference | None:
        """Compare what the loop yields with the next record, which is then in the past unless it differs."""
        live = self._playback.live_call
        while live and (spot := await self._playback.peek()) is not None and type(spot.stored) is list:
            self._past.advance()
        now = None if item is None or isinstance(item, Flush) else record_of(item)
        await self._pass_untold(now)
        spot = await self._playback.peek()
        if spot is None:
            return None
        recorded = spot.record
        change = self._change(recorded, now, live=live)
        if change is not None and (change.kind not in self._subject.ignore or now is None or now.type != recorded.type):
            return Difference(self._run_id, spot.seq, spot.epoch, recorded.type, (change,))
        self._go_on(spot, recorded)
        return None

    def _change(self, recorded: Record, now: Record | None, *, live: bool) -> Change | None:
        if now is not None and essence(recorded, live=live) == essence(now, live=live):
            return self._other_wait(recorded)
        state = self._past.state
        return record_change(
            recorded,
            now,
            live=live,
            executor=self._differs("tool_executor"),
            began=state.started - self._own,
            ran=[*self._subject.runs, *self._checked_by_loop()],
            where=self._place(recorded, now),
        )

    def _checked_by_loop(self) -> list[str]:
        """The tool of the structured output: its calls are checked anew, and not played."""
        output = self._past.state.terms.over(self._subject.agent.terms).output
        return [] if output is None else [output.name]

    def _other_wait(self, recorded: Record) -> Change | None:
        """The change of the wait before a call is made again, if the owner's policy is known and another."""
        agent = self._subject.agent
        if not isinstance(recorded, ModelFailed) or not self._playback.other_policy or self._definition is None:
            return None
        state = self._past.state
        policies = recorded_waits(self._definition.retry), agent.retry or NEVER
        before, after = (
            policy.delay(failures=state.failures + 1, waited=state.waited, asked=None, draw=1.0) for policy in policies
        )
        if before == after:
            return None
        what = f"seconds of the longest wait after failure {state.failures + 1} of a call"
        return Change("retry", what, before, after, self._subject.places.get("", ""))

    def _go_on(self, spot: Spot, recorded: Record) -> None:
        """Take the record, and let the loop go on from what was recorded: its times and ids too."""
        self._past.advance()
        loop, playback, state = self._loop, self._playback, self._past.state
        loop.state, loop.head = state, spot.seq
        playback.in_call = isinstance(recorded, ModelStarted)
        playback.live_call = False
        playback.keys = state.keys
        if isinstance(recorded, ModelStarted):
            self._call = spot
        elif isinstance(recorded, ToolStarted):
            self._own |= {recorded.index}
            playback.begun.add(recorded.index)
        elif isinstance(recorded, ToolFinished | ToolInterrupted | ToolDecided):
            playback.begun.discard(recorded.index)
        elif isinstance(recorded, MessageAdded):
            self._own = frozenset()

    def _asked(self, request: ModelRequest) -> None:
        """Compare the request of a model call.

        Raises:
            _DivergedError: It differs.
        """
        if self._definition is None:
            return
        changes = request_changes(
            self._definition,
            self._subject.definition,
            offered=self._offered(self._definition),
            sent=request,
            differs=self._differs_in_call,
            places=self._subject.places,
        )
        self._changes = [change for change in changes if change.kind not in self._subject.ignore]
        if self._changes:
            raise _DivergedError

    def _offered(self, definition: AgentDefinition) -> tuple[Sequence[ToolSpec], ToolChoice | None]:
        """The tools and the tool choice of the recorded call; one that summarizes has none."""
        state = self._past.state
        if dict(self._call.record).get("summarizes"):
            return (), None
        return state.terms.over(Terms.read(definition.terms)).offered(definition.tool_specs, forced=state.forced)

    def _place(self, recorded: Record, now: Record | None) -> str:
        if (event := decided_by(recorded, now)) is not None:
            return self._subject.places.get(f"hook of {event}", self._subject.places.get("", ""))
        fields = dict(now or recorded)
        name = fields.get("name") or (fields.get("tool_use") or {}).get("name")
        return self._subject.places.get(name or "", "")
