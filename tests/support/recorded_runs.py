"""Runs with owners that come and go, recorded as a fleet records them: real loops over a list of entries."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from playhead.runtime import (
    AfterToolCallEvent,
    Agent,
    BeforeModelCallEvent,
    ContextWindowOverflowException,
    ModelThrottledException,
    RetryPolicy,
    SlidingWindowConversationManager,
    SummarizingConversationManager,
    ToolContext,
    tool,
)
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    Record,
    RunClaimed,
    RunFailed,
    RunHandedOver,
    RunPaused,
    RunSubmitted,
    SignalReceived,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.log.endings import cancel_ending, deadline_failure
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import chunks as c
from playhead.runtime.models import text_call
from playhead.runtime.replay import EntriesRecording
from tests.support.deciding_hooks import Deciding

__all__ = ["TOOLS", "Call", "Plan", "Play", "agent_of", "played"]

RUN = "0-run"
PROMPT = "Be brief."
TOOLS = ("look", "steps", "broken", "pay", "once", "asks", "flaky", "hang", "note", "stops", "flags", "keeps")

Fault = Literal["", "busy", "bug", "busy half-way", "bug half-way", "too long"]


@dataclass(frozen=True)
class Call:
    """What the model does in one call: it says some words, calls tools, and perhaps fails."""

    words: int = 2
    tools: tuple[str, ...] = ()
    fault: Fault = ""
    stop_reason: str = "end_turn"
    cancel_at: int | None = None  # a cancel comes before this chunk
    says_object: bool = False  # in place of the words

    def chunks(self) -> list[Chunk]:
        text = "{}" if self.says_object else " ".join(["word"] * self.words)
        said = text_call(text)[1:-2] if text else []
        calls = [
            chunk
            for number, name in enumerate(self.tools)
            for chunk in (c.tool_start(f"t{number}", name), c.tool_delta("{}"), c.block_stop())
        ]
        ends = [
            c.message_stop("tool_use" if self.tools else self.stop_reason),
            c.metadata(input_tokens=1, output_tokens=2, latency_ms=3),
        ]
        return [c.message_start(), *said, *calls, *ends]


@dataclass(frozen=True)
class Plan:
    """A run: what its model does, how its owners end, what is sent to it, and what ends it from outside."""

    calls: tuple[Call, ...] = (Call(),)
    owners: tuple[tuple[int, bool], ...] = ()  # (records after which it leaves, whether it hands over)
    steers: frozenset[int] = frozenset()  # records after which a steer comes
    cancel: int | None = None  # the record after which a cancel comes
    end: Literal["", "deadline", "crashes", "cancel"] = ""  # at the end of the last of `owners`, from outside
    tool_executor: Literal["concurrent", "sequential"] = "concurrent"
    on_partial: Literal["retract", "continue"] = "retract"
    attempts: int = 3
    turns: int | None = None  # the limit of its cycles
    output: bool = False  # the run is to give a structured output, whose tool is called note
    window: int = 40
    summarizes: bool = False
    hooks: bool = False  # that decide something at each event
    keeps: bool = False  # the agent has a state, and hooks that change it


class PlannedModel:
    """Does what the plan says, call by call, and then only speaks."""

    continues_partial = True

    def __init__(self, play: Play) -> None:
        self.play = play
        self.made = 0

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        calls = self.play.plan.calls
        call = calls[self.made] if self.made < len(calls) else Call()
        self.made += 1
        await anyio.lowlevel.checkpoint()
        if system_prompt != PROMPT:
            call = Call()  # a summary
            self.made -= 1
        chunks = call.chunks()
        if call.fault in ("busy", "bug", "too long"):
            chunks = []
        for number, chunk in enumerate(chunks):
            if number == call.cancel_at:
                self.play.cancel()
            if call.fault and number == 2:
                break
            yield chunk
        if call.fault == "too long":
            raise ContextWindowOverflowException("too long")
        if call.fault.startswith("busy"):
            raise ModelThrottledException("too many requests")
        if call.fault:
            raise KeyError("no such key")


class Play:
    """One run by a plan; `entries` is its log."""

    def __init__(self, plan: Plan, *, agent: Agent | None = None) -> None:
        self.plan = plan
        self.entries: list[Entry] = []
        self.epoch = 0
        self.control = Control()
        self.received: set[str] = set()
        self.cancelled = False
        self.flaked: set[str] = set()  # the calls of `flaky` that ran
        self.hooks = Deciding()
        self.agent = agent or agent_of(self)

    @property
    def recording(self) -> EntriesRecording:
        """What is kept of the run."""
        stored = self.agent.definition.stored()
        return EntriesRecording(self.entries, {stored.digest: AgentDefinition.of(stored.data)}, run_id=RUN)

    @property
    def records(self) -> list[Record]:
        return [entry.record for entry in self.entries]

    @property
    def ended(self) -> bool:
        return self.entries[-1].record.type in TERMINAL_TYPES

    def cancel(self) -> None:
        """A cancel arrives."""
        self.cancelled = True
        self.control.deliver([Signal("cancel", "cancel")])

    def append(self, record: Record) -> None:
        self.entries.append(Entry(len(self.entries) + 1, self.epoch, decode_record(encode_record(record))))
        if isinstance(record, SignalReceived):
            self.received.add(record.signal_id)

    def deliver(self) -> None:
        """Deliver what was sent by now and is not taken in."""
        head = len(self.entries)
        signals = [Signal(f"steer {at}", "steer", f"And {at}?") for at in sorted(self.plan.steers) if at <= head]
        if self.cancelled or (self.plan.cancel is not None and self.plan.cancel <= head):
            signals.append(Signal("cancel", "cancel"))
        for entry in self.entries:
            if isinstance(entry.record, RunPaused):
                answers = {one["id"]: "retry" for one in entry.record.interrupts}
                given = {"answered": entry.seq} if entry.seq % 2 else None
                signals.append(Signal(f"answers {entry.seq}", "respond", answers, given))
        self.control.deliver(signal for signal in signals if signal.signal_id not in self.received)

    async def own(self, *, leaves: int | None = None) -> None:
        """An owner: it runs to the end or a pause, or leaves after so many records."""
        self.epoch += 1
        self.append(RunClaimed(at=0, worker=f"w{self.epoch}", definition=self.agent.definition.stored().digest))
        self.control = Control()
        state = fold(self.entries, history=self.agent.messages)
        loop = Loop(
            self.agent.spec,
            run_id=RUN,
            state=state,
            head=len(self.entries),
            epoch=self.epoch,
            control=self.control,
            partial=open_chunks(state, self.entries),
        )
        upto = None if leaves is None else len(self.entries) + leaves
        self.deliver()
        async with aclosing(loop.records()) as items:
            async for item in items:
                if isinstance(item, Flush):
                    continue
                self.append(record_of(item))
                if len(self.entries) == upto and not self.ended:
                    return
                self.deliver()

    def end(self) -> None:
        """What a script of the log writes in the place of an owner."""
        match self.plan.end:
            case "deadline":
                self.append(decode_record(deadline_failure()))
            case "crashes":
                self.append(
                    RunFailed(at=0, error_type="CrashLimitExceeded", message="its process was killed by SIGKILL")
                )
            case "cancel":
                for data in cancel_ending(Signal("from outside", "cancel")):
                    self.append(decode_record(data))
            case "":
                pass

    async def to_its_end(self) -> None:
        if not self.entries:
            self.append(RunSubmitted(at=0, agent=self.agent.name, prompt="go"))
        for leaves, hands_over in self.plan.owners:
            await self.own(leaves=leaves)
            if self.ended:
                return
            if hands_over:
                self.append(RunHandedOver(at=0, worker=f"w{self.epoch}"))
        self.end()
        for _ in range(30):
            if self.ended:
                return
            await self.own()
        raise AssertionError("the run goes round in circles")


async def counted_model(event: BeforeModelCallEvent) -> None:
    """Count the calls of the model in the agent's state."""
    event.agent.state.set("models", (event.agent.state.get("models") or 0) + 1)


async def counted_call(event: AfterToolCallEvent) -> None:
    """Count the calls of tools there."""
    event.agent.state.set("tools", (event.agent.state.get("tools") or 0) + 1)


@tool
async def look() -> str:
    """Look."""
    return "seen"


@tool
async def steps() -> AsyncGenerator[Any, None]:
    """Count."""
    for number in range(3):
        await anyio.lowlevel.checkpoint()
        yield number
    yield "three steps"


@tool
async def broken() -> str:
    """Fail."""
    raise ValueError("nothing works")


@tool
async def pay(context: ToolContext) -> str:
    """Pay, if a human agrees."""
    return f"paid: {context.interrupt('approve', {'euros': 5})}"


@tool(on_unknown_outcome="fail")
async def once() -> str:
    """Do it once."""
    await anyio.lowlevel.checkpoint()
    return "done"


@tool(on_unknown_outcome="ask")
async def asks() -> str:
    """Do it, and ask whether it was done."""
    return "done"


@tool
async def stops(context: ToolContext) -> str:
    """End the run, with a text."""
    context.stop_run("Enough.")
    return "stopping"


@tool
async def flags(context: ToolContext) -> str:
    """End the run, as tools of Strands do."""
    context.invocation_state["request_state"]["stop_event_loop"] = True
    return "stopping"


@tool
async def keeps(context: ToolContext) -> str:
    """Count in the agent's state."""
    await anyio.lowlevel.checkpoint()
    context.state.set("kept", (context.state.get("kept") or 0) + 1)
    context.state.delete("began")
    return f"kept {context.state.get('kept')}"


def agent_of(play: Play) -> Agent:
    """The agent of a play."""

    @tool
    async def flaky(context: ToolContext) -> str:
        """Give another result the second time."""
        again = context.effect_key in play.flaked
        play.flaked.add(context.effect_key)
        return f"flaky {1 + again}"

    @tool
    async def hang() -> str:
        """Wait for ever; a cancel arrives meanwhile."""
        play.cancel()
        await anyio.sleep_forever()
        return ""

    return Agent(
        PlannedModel(play),
        name="planned",
        tools=[look, steps, broken, pay, once, asks, flaky, hang, stops, flags, keeps],
        hooks=[*([play.hooks] if play.plan.hooks else []), *([counted_model, counted_call] if play.plan.keeps else [])],
        state={"began": 1} if play.plan.keeps else None,
        system_prompt=PROMPT,
        messages=[
            {"role": "user", "content": [{"text": "Before."}]},
            {"role": "assistant", "content": [{"text": "Yes."}]},
        ],
        tool_executor=play.plan.tool_executor,
        on_partial=play.plan.on_partial,
        conversation_manager=SummarizingConversationManager(0.5, 1)
        if play.plan.summarizes
        else SlidingWindowConversationManager(play.plan.window),
        retry=RetryPolicy(max_attempts=play.plan.attempts, initial_delay=0),
        callback_handler=None,
        limits={"turns": play.plan.turns} if play.plan.turns else None,
        structured_output_model={"title": "note", "type": "object"} if play.plan.output else None,
    )


async def played(plan: Plan) -> Play:
    """The run of a plan, at its end."""
    play = Play(plan)
    await play.to_its_end()
    return play
