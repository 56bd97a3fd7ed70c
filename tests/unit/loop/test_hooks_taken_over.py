"""A run whose hooks decide at every event, cut after each record: its next owner comes to the same end, and asks once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.errors import FencedError
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.hook_effects import hook_of
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    RECORD_TYPES,
    Entry,
    HookDecided,
    MessageAdded,
    Record,
    RunClaimed,
    RunSubmitted,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
    UnknownRecord,
)
from playhead.runtime.loop.loop import Loop
from tests.support.deciding_hooks import Deciding
from tests.support.recorded_runs import Call, Plan, Play, played

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CALLS = (Call(tools=("look", "steps", "broken")), Call(tools=("steps", "broken", "flaky", "look")), Call(words=1))
MORE = (Call(fault="bug half-way"), Call(), Call(tools=("pay", "asks", "flaky")), Call(), Call())
PLAN = Plan(calls=(*CALLS, *MORE), hooks=True)
IN_TURN = Plan(calls=(Call(tools=("steps", "flaky", "look", "asks")),), hooks=True, tool_executor="sequential")


def history(entries: list[Entry]) -> list[Any]:
    return [(message.get("role"), message.get("content")) for message in fold(entries).messages]


async def continued(whole: Play, *, cut: int) -> Play:
    """Another fleet that has the first records, and whose model goes on where that of the whole run was."""
    play = Play(whole.plan)
    play.entries, play.epoch = list(whole.entries[:cut]), whole.entries[cut - 1].epoch
    play.received = {record.signal_id for record in play.records if record.type == "signal.received"}  # pyright: ignore[reportAttributeAccessIssue]
    model: Any = play.agent.model
    model.made = answers(play.records)
    play.flaked |= {key for key, ended in flaked(play.records).items() if ended}
    await play.to_its_end()
    return play


def answers(records: list[Record]) -> int:
    """How many calls of the model came to an end that is kept: the next call is the next of the plan."""
    kept = [record for record in records if isinstance(record, MessageAdded) and record.origin == "model"]
    return len(kept) + sum(hook_of(record) == "AfterModelCallEvent" for record in records)


def flaked(records: list[Record]) -> dict[str, bool]:
    """The effect keys of the calls of `flaky`, and whether the body of each came to an end that is recorded."""
    keys: dict[int, str] = {}
    ended: dict[str, bool] = {}
    for record in records:
        if isinstance(record, ToolStarted) and record.tool_use["name"] == "flaky":
            keys[record.index] = record.effect_key
            ended.setdefault(record.effect_key, False)
        elif isinstance(record, ToolDecided | ToolFinished) and record.index in keys:
            ended[keys[record.index]] = True
        elif isinstance(record, MessageAdded):
            keys = {}
    return ended


async def test_the_run_has_every_verdict() -> None:
    whole = await played(PLAN)
    decided = {(one.event, one.verdict) for one in whole.records if isinstance(one, HookDecided)}
    assert decided == {
        ("BeforeInvocationEvent", "messages"),
        ("BeforeToolsEvent", "cancel"),
        ("BeforeToolsEvent", "interrupt"),
        ("AfterToolsEvent", "end_turn"),
        ("AfterInvocationEvent", "resume"),
    }
    assert {one.verdict for one in whole.records if isinstance(one, ToolDecided)} == {"cancel", "change", "retry"}
    assert sum(hook_of(one) == "AfterModelCallEvent" for one in whole.records) == 2
    assert any(hook_of(one) == "BeforeToolCallEvent" for one in whole.records if isinstance(one, ToolInterrupted))
    assert fold(whole.entries).messages[-1].get("content") == [{"text": "it is done"}]


def asked_about_calls(hooks: Deciding) -> list[str]:
    return [
        one for one in hooks.asked if one.startswith(("before ", "after ")) and not one.endswith(("model", "batch"))
    ]


def decisions(records: list[Record]) -> Counter[tuple[str, str, int]]:
    """What the hooks decided, and how often."""
    made = [(record, hook_of(record)) for record in records]
    return Counter(
        (event, getattr(record, "verdict", record.type), getattr(record, "index", 0)) for record, event in made if event
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("plan", [PLAN, IN_TURN], ids=["concurrent", "sequential"])
async def test_cut_after_any_record_it_comes_to_the_same_end(plan: Plan) -> None:
    whole = await played(plan)
    for cut in (entry.seq for entry in whole.entries[:-1] if entry.record.type != "model.chunk"):
        where = f"cut after record {cut}, {whole.records[cut - 1].type}"
        play = await continued(whole, cut=cut)
        assert history(play.entries) == history(whole.entries), where
        assert dict(play.records[-1])["result"]["stop_reason"] == "end_turn", where
        assert decisions(play.records) == decisions(whole.records), where


@pytest.mark.parametrize("kind", [ToolDecided, ToolStarted, ToolFinished])
async def test_a_hook_is_not_asked_again_for_a_call_that_is_recorded(kind: type[Record]) -> None:
    whole = await played(Plan(calls=(Call(tools=("steps", "broken")), Call()), hooks=True))
    cut = next(entry.seq for entry in reversed(whole.entries) if isinstance(entry.record, kind))
    play = await continued(whole, cut=cut)
    assert history(play.entries) == history(whole.entries)
    asked = asked_about_calls(play.hooks)
    if kind is ToolDecided:  # the tool that only the hook has is asked for again, by the owner that must run it
        assert asked == ["before steps", "after steps", "after look"]
    else:
        assert [one for one in asked if one.startswith("before")] == (["before steps"] if kind is ToolStarted else [])
    kinds = [(one.index, one.verdict) for one in play.records if isinstance(one, ToolDecided)]
    assert kinds == [(0, "change"), (1, "change")]


async def test_a_hook_of_a_run_that_is_lost_is_not_asked() -> None:
    play = Play(PLAN)
    lost = Ownership("0-run")
    lost.mark_lost("another process has it")
    state = fold(
        [Entry(1, 0, RunSubmitted(at=0, agent="planned", prompt="go")), Entry(2, 1, RunClaimed(at=0, worker="w"))]
    )
    loop = Loop(play.agent.spec, run_id="0-run", state=state, head=2, ownership=lost)
    with pytest.raises(FencedError):
        await anext(loop.records())
    assert play.hooks.asked == []


async def test_a_neutral_hook_leaves_no_record() -> None:
    quiet = Plan(calls=(Call(tools=("asks",)), Call()))
    without = [record.type for record in (await played(quiet)).records]
    play = Play(quiet)
    asked: list[str] = []

    class Quiet(Deciding):
        async def begin(self, event: Any) -> None:
            asked.append(type(event).__name__)

        before_model = after_model = before_batch = before_call = after_call = after_batch = ended = added = begin

    play.agent.hooks.add_hook(Quiet())
    await play.to_its_end()
    assert [record.type for record in play.records] == without
    assert len(set(asked)) == 9


async def test_a_version_that_does_not_know_the_verdicts_plays_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await played(PLAN)
    data = [encode_record(record) for record in whole.records]
    for cls in (HookDecided, ToolDecided):
        monkeypatch.delitem(RECORD_TYPES, str(cls.model_fields["type"].default))
    older = [Entry(seq, 1, decode_record(raw)) for seq, raw in enumerate(data, 1)]
    assert [encode_record(entry.record) for entry in older] == data, "kept whole"
    assert any(isinstance(entry.record, UnknownRecord) for entry in older)
    assert fold(older).status == "completed"
    projection = Projection("0-run")
    events = [event for entry in older for event in projection.feed(entry)]
    assert "result" in events[-1]
