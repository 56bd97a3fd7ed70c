"""A run with every kind of record, cut after each of them: a new owner brings it to the same end.

The run has parallel tools, a tool that asks a human, a steer, text that dies half-way, and tool use ids that repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pytest

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Chunk, Message, Messages
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.records import (
    RECORD_TYPES,
    Entry,
    MessageAdded,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunPaused,
    RunResumed,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
    UnknownRecord,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import ScriptedModel, text_call
from playhead.runtime.models import chunks as c
from playhead.runtime.testing import folded_text
from tests.support.sweeps import places_of_each_kind

__all__: list[str] = []

pytestmark = pytest.mark.anyio

OnPartial = Literal["retract", "continue"]
RUN = "0-run"


def said(messages: Messages) -> str:
    """The last thing the model is told, as one text."""
    blocks = messages[-1].get("content", [])
    results = [block["toolResult"]["content"][0]["text"] for block in blocks if "toolResult" in block]
    return " ".join([*results, *(block["text"] for block in blocks if "text" in block)])


def calls(text: str, *names: str, after: str) -> list[Chunk]:
    """A message with text and calls of tools, whose ids are the same in each message."""
    spoken = text_call(text.removeprefix(after))[1:-2]
    middle = [
        chunk
        for number, name in enumerate(names)
        for chunk in (c.tool_start(f"t{number}", name), c.tool_delta("{}"), c.block_stop())
    ]
    return [c.message_start(), *spoken, *middle, c.message_stop("tool_use")]


def speak(messages: Messages) -> str | list[Chunk]:
    """What the model says, by what it is told: no position, so that any owner's model goes on."""
    goes_on = messages[-1].get("role") == "assistant"
    partial = said(messages[-1:]) if goes_on else ""
    told = said(messages[:-1] if goes_on else messages)
    if told == "go":
        return calls("Let me look and pay.", "look", "pay", "slow", after=partial)
    if told in ("seen slow paid: yes", "seen paid: yes slow"):  # together, or in turn
        return calls("Once more.", "look", "slow", after=partial)
    if told == "seen slow":
        return "That is all there is to say."
    if told == "And the weather?":
        return "It rains in the north, and the sun shines elsewhere."
    raise AssertionError(f"the model was told {told!r}")


@dataclass
class World:
    """What is outside the log: the tools' effects, by effect key."""

    on_partial: OnPartial = "continue"
    tool_executor: Literal["concurrent", "sequential"] = "concurrent"
    effects: Counter[str] = field(default_factory=Counter[str])
    moods: list[str] = field(default_factory=list[str])

    @cached_property
    def agent(self) -> Agent:
        """The agent of all owners: it keeps nothing of a run."""
        effects, moods = self.effects, self.moods

        @tool
        async def look(context: ToolContext) -> str:
            effects[context.effect_key] += 1
            return "seen"

        @tool
        async def pay(context: ToolContext) -> str:
            given = context.interrupt("approve", {"euros": 5})
            moods.append(context.invocation_state["mood"])
            effects[context.effect_key] += 1
            return f"paid: {given}"

        @tool
        def slow(context: ToolContext) -> str:
            effects[context.effect_key] += 1
            return "slow"

        return Agent(
            ScriptedModel([speak], repeat=True, continues_partial=True),
            tools=[look, pay, slow],
            tool_executor=self.tool_executor,
            on_partial=self.on_partial,
            callback_handler=None,
        )


@dataclass
class Fleet:
    """Owners of one run, one after the other, and the user and the client beside it."""

    world: World
    log: list[Entry] = field(default_factory=list[Entry])
    epoch: int = 0
    cancelled: bool = False
    received: set[str] = field(default_factory=set[str])
    pauses: list[Entry] = field(default_factory=list[Entry])
    cycles: int = 0

    def __post_init__(self) -> None:
        for entry in self.log:
            self.note(entry)

    def append(self, record: Record) -> None:
        """Store it, as bytes do."""
        entry = Entry(len(self.log) + 1, self.epoch, decode_record(encode_record(record)))
        self.log.append(entry)
        self.note(entry)

    def note(self, entry: Entry) -> None:
        """Keep what `inbox` asks of the log."""
        if isinstance(entry.record, SignalReceived):
            self.received.add(entry.record.signal_id)
        elif isinstance(entry.record, RunPaused):
            self.pauses.append(entry)
        self.cycles += entry.record.type == "cycle.started"

    def inbox(self) -> Iterator[Signal]:
        """What was sent and is not taken in: the steer comes during the last message, the responses at each pause."""
        if self.cancelled and "cancel" not in self.received:
            yield Signal("cancel", "cancel")
        if self.cycles >= 3 and "steer" not in self.received:
            yield Signal("steer", "steer", "And the weather?")
        for entry in self.pauses:
            if isinstance(entry.record, RunPaused) and f"response {entry.seq}" not in self.received:
                body = {interrupt["id"]: "yes" for interrupt in entry.record.interrupts}
                yield Signal(f"response {entry.seq}", "respond", body, {"mood": "better"})

    async def own(self, *, upto: int | None = None) -> None:
        """Claim the run and run it to its end or its pause; die after record `upto`."""
        self.epoch += 1
        self.append(RunClaimed(at=0, worker=f"w{self.epoch}"))
        state = fold(self.log)
        control = Control()
        loop = Loop(
            self.world.agent.spec,
            run_id=RUN,
            state=state,
            head=len(self.log),
            epoch=self.epoch,
            control=control,
            partial=open_chunks(state, self.log),
        )
        control.deliver(self.inbox())
        async with aclosing(loop.records()) as items:
            async for item in items:
                if isinstance(item, Flush):
                    continue
                self.append(record_of(item))
                assert len(self.log) == loop.head
                if len(self.log) == upto:
                    return
                control.deliver(self.inbox())

    async def to_its_end(self) -> None:
        """One owner after the other, until the run has ended."""
        for _ in range(20):
            if self.ended:
                return
            await self.own()
        raise AssertionError("the run goes round in circles")

    @property
    def ended(self) -> bool:
        return bool(self.log) and self.log[-1].record.type == "run.completed"

    @property
    def records(self) -> list[Record]:
        return [entry.record for entry in self.log]

    def events(self) -> list[Event]:
        """What a client sees."""
        projection = Projection(RUN)
        return [event for entry in self.log for event in projection.feed(entry)]


async def whole_run(world: World) -> Fleet:
    fleet = Fleet(world)
    fleet.append(RunSubmitted(at=0, agent="agent", prompt="go", invocation_state={"mood": "fine"}))
    await fleet.to_its_end()
    return fleet


def history(fleet: Fleet) -> list[Any]:
    """The messages, without what is made up anew each time."""
    return [(message.get("role"), message.get("content")) for message in fold(fleet.log).messages]


def shown(fleet: Fleet) -> str:
    """The text of a client that folds the events."""
    pieces: list[tuple[int, str]] = []
    for event in fleet.events():
        if "data" in event:
            pieces.append((event.seq, event["data"]))
        elif "retracted" in event:
            withdrawn = [piece for piece in pieces if event["from_seq"] <= piece[0] <= event["to_seq"]]
            assert "".join(text for _, text in withdrawn) == event["text"]
            pieces = [piece for piece in pieces if piece not in withdrawn]
    text = "".join(text for _, text in pieces)
    assert folded_text(fleet.events()) == text
    resumed = next((entry.seq for entry in fleet.log if entry.record.type == "run.resumed"), len(fleet.log))
    moods = {(event.seq > resumed, event["mood"]) for event in fleet.events() if "data" in event}
    assert moods <= {(False, "fine"), (True, "better")}, "a response came with other values of the caller"
    return text


SHOWN = "Let me look and pay.Once more.That is all there is to say.It rains in the north, and the sun shines elsewhere."


@pytest.fixture(params=["concurrent", "sequential"])
def tool_executor(request: pytest.FixtureRequest) -> Literal["concurrent", "sequential"]:
    return request.param


async def test_the_run_has_every_kind_of_record() -> None:
    fleet = await whole_run(World())
    types = {entry.record.type for entry in fleet.log}
    assert types >= {"tool.interrupted", "run.paused", "run.resumed", "signal.received", "tool.finished"}
    assert [record.origin for record in fleet.records if isinstance(record, MessageAdded)].count("steer") == 1
    assert shown(fleet) == SHOWN
    assert all(count == 1 for count in fleet.world.effects.values())
    assert fleet.world.moods == ["better"]
    assert len(fleet.world.effects) == 5, "calls whose ids repeat have keys of their own"
    (asked,) = [record for record in fleet.records if isinstance(record, ToolInterrupted)]
    begun = [record.effect_key for record in fleet.records if isinstance(record, ToolStarted) and record.index == 1]
    assert asked.index == 1
    assert begun[:2] == [f"{RUN}/t1"] * 2, "the call that asked is begun again under the same key"


@pytest.mark.exhaustive
@pytest.mark.parametrize("on_partial", ["retract", "continue"])
async def test_cut_after_any_record_it_comes_to_the_same_end(
    on_partial: OnPartial, tool_executor: Literal["concurrent", "sequential"]
) -> None:
    whole = await whole_run(World(on_partial, tool_executor))
    for cut in places_of_each_kind(whole.log):
        world = World(on_partial, tool_executor)
        fleet = Fleet(world, list(whole.log[:cut]), epoch=whole.log[cut - 1].epoch)
        await fleet.to_its_end()
        check_end(fleet, whole, cut=cut)


@pytest.mark.exhaustive
@pytest.mark.parametrize("on_partial", ["retract", "continue"])
async def test_owners_that_die_again_and_again_lose_nothing(on_partial: OnPartial) -> None:
    whole = await whole_run(World(on_partial))
    for records in range(2, 9):  # so many an owner writes before it dies
        fleet = Fleet(World(on_partial), list(whole.log[:1]))
        for _ in range(30):
            if not fleet.ended:
                await fleet.own(upto=len(fleet.log) + records)
        await fleet.to_its_end()
        assert shown(fleet) == SHOWN
        assert history(fleet) == history(whole)


def check_end(fleet: Fleet, whole: Fleet, *, cut: int) -> None:
    where = f"cut after record {cut}, {whole.log[cut - 1].record.type}"
    assert [entry.seq for entry in fleet.log] == list(range(1, len(fleet.log) + 1)), where
    assert history(fleet) == history(whole), where
    assert dict(fleet.log[-1].record)["result"]["stop_reason"] == "end_turn", where
    assert shown(fleet) == SHOWN, where
    before = whole.records[:cut]
    done = {(record.index, record.result["toolUseId"]) for record in before if isinstance(record, ToolFinished)}
    keys = [record.effect_key for record in whole.records if isinstance(record, ToolStarted)]
    finished = len([record for record in before if isinstance(record, ToolFinished)])
    assert sum(fleet.world.effects.values()) == 5 - finished, f"{where}: {done} are not run again, the rest once"
    assert set(fleet.world.effects) <= set(keys), f"{where}: keys are the same for each owner that runs the call"
    assert set(fleet.world.moods) <= {"better"}, where
    retracted = any(isinstance(record, ModelRetried) for record in fleet.records)
    went_on = any(isinstance(record, ModelStarted) and record.continues for record in fleet.records)
    assert not (retracted and went_on), where
    if fleet.world.on_partial == "retract":
        assert not went_on, where


@pytest.mark.exhaustive
async def test_text_is_kept_where_a_model_can_continue_it_and_withdrawn_elsewhere() -> None:
    whole = await whole_run(World("continue"))
    kept = withdrawn = 0
    for cut in range(1, len(whole.log)):
        fleet = Fleet(World("continue"), list(whole.log[:cut]), epoch=whole.log[cut - 1].epoch)
        await fleet.own(upto=cut + 2)
        state = fold(whole.log[:cut])
        if state.call_open is None:
            continue
        kinds = [kind for chunk in open_chunks(state, whole.log[:cut]) for kind in chunk]
        decided = fleet.records[-1]
        if "contentBlockDelta" in kinds and "contentBlockStop" not in kinds:
            assert isinstance(decided, ModelStarted)
            assert decided.continues
            kept += 1
        elif "metadata" in kinds:
            assert isinstance(decided, MessageAdded), "it is whole"
        else:
            assert isinstance(decided, ModelRetried)
            withdrawn += 1
    assert kept > 15
    assert withdrawn > 15


@pytest.mark.exhaustive
@pytest.mark.parametrize("on_partial", ["retract", "continue"])
async def test_cancelled_after_any_record_it_ends_and_begins_nothing_more(on_partial: OnPartial) -> None:
    whole = await whole_run(World(on_partial))
    ends: Counter[str] = Counter()
    for cut in range(1, len(whole.log)):
        fleet = Fleet(World(on_partial), list(whole.log[:cut]), epoch=whole.log[cut - 1].epoch, cancelled=True)
        await fleet.own()
        end = fleet.log[-1].record
        ends[end.type] += 1
        assert end.type in ("run.cancelled", "run.completed"), cut
        state = fold(whole.log[:cut])
        answered = state.phase == "answered" or whole_answer(open_chunks(state, whole.log[:cut])) is not None
        assert end.type == "run.cancelled" or answered, cut
        assert not fleet.world.effects, cut
        assert not any(isinstance(record, ModelStarted | ToolStarted) for record in fleet.records[cut:]), cut
        used = [block["toolUse"] for message in fold(fleet.log).messages for block in blocks(message, "toolUse")]
        results = [block for message in fold(fleet.log).messages for block in blocks(message, "toolResult")]
        assert len(used) == len(results), "every call is answered, so that the session can go on"
    assert ends["run.cancelled"] > 50
    assert ends["run.completed"] >= 1


def blocks(message: Message, kind: str) -> list[dict[str, Any]]:
    return [block for block in message.get("content", []) if kind in block]


# An older version


NEW = {ToolInterrupted, RunPaused, RunResumed}


async def test_a_version_that_does_not_know_the_new_records_folds_and_plays_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = await whole_run(World())
    data = [encode_record(record) for record in whole.records]
    for cls in NEW:
        monkeypatch.delitem(RECORD_TYPES, str(cls.model_fields["type"].default))
    older = Fleet(World(), [Entry(seq, 1, decode_record(raw)) for seq, raw in enumerate(data, 1)])
    unknown = [record for record in older.records if isinstance(record, UnknownRecord)]
    assert len(unknown) == 3
    assert [encode_record(record) for record in older.records] == data, "kept whole"
    assert fold(older.log).status == "completed"
    assert shown(older) == SHOWN
