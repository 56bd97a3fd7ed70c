"""`verify` finds each change of an agent, and names the record where it first matters."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from playhead.runtime import Agent, RetryPolicy, RunNotFoundError, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.errors import GapError
from playhead.runtime.core.records import Entry, RunSubmitted, UnknownRecord
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.replay import EntriesRecording, LogRecording, verify
from playhead.runtime.replay.rerun import rerun
from tests.support.recorded_runs import Call, Plan, Play, played

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Configured(ScriptedModel):
    """A model that tells a parameter."""

    temperature = 0.2

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature}


class Warmer(Configured):
    """The same model with another parameter."""

    temperature = 0.7


def script() -> list[Any]:
    both = [*tool_call("weather", {"city": "Bern"}, "t1")[:-2], *tool_call("cost", {"euros": 5}, "t2")[1:]]
    busy = ScriptedCall(text_call("Let me")[:3], error=ConnectionError("reset"))
    return [both, busy, "It is fine."]


@tool
async def weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return f"sun in {city}, {'and sun the whole day ' * 20}"


@tool
async def cost(euros: int) -> str:
    """Tell the cost."""
    if euros == 5:
        raise ValueError("too dear")
    return "cheap"


def agent(**changes: Any) -> Agent:
    """The agent, as it was or with changes."""
    options: dict[str, Any] = {
        "name": "planned",
        "model": Configured(script()),
        "tools": [weather, cost],
        "system_prompt": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"text": "Hello."}]},
            {"role": "assistant", "content": [{"text": "Yes?"}]},
        ],
        "retry": RetryPolicy(initial_delay=0),
        "callback_handler": None,
    }
    return Agent(**(options | changes))


@pytest.fixture
async def run() -> EntriesRecording:
    """The recorded run of the agent: two calls of tools side by side, a call that failed, a message."""
    play = Play(Plan(), agent=agent())
    await play.to_its_end()
    assert play.records[-1].type == "run.completed"
    return play.recording


def seq_of(run: EntriesRecording, kind: str, nth: int = 1) -> int:
    return [entry.seq for entry in run.entries if entry.record.type == kind][nth - 1]


def renamed(name: str, fn: Callable[..., Any], description: str) -> Any:
    return tool(name=name, description=description)(fn)


async def other_city(city: str, days: int = 1) -> str:
    return f"rain in {city}"


async def same_city(city: str, days: int = 1) -> str:
    return await weather(city, days)


async def number_of_days(city: str, days: str = "1") -> str:
    return f"sun in {city}"


async def two_days(city: str, days: int = 2) -> str:
    return f"sun in {city}"


async def other_error(euros: int) -> str:
    raise KeyError("euros")


TELL = "Tell the weather."
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, int]] = {
    # what changed: (the agent's options, those of verify, the kind, the type of the record, which of this type)
    "the system prompt": ({"system_prompt": "Be kind."}, {}, "system_prompt", "model.started", 1),
    "a cache point in the system prompt": (
        {"system_prompt": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]},
        {},
        "system_prompt",
        "model.started",
        1,
    ),
    "the order of the tools": ({"tools": [cost, weather]}, {}, "tool_order", "model.started", 1),
    "a tool that is missing": ({"tools": [weather]}, {}, "tools", "model.started", 1),
    "the schema of a tool": (
        {"tools": [renamed("weather", number_of_days, TELL), cost]},
        {},
        "tool_schema",
        "model.started",
        1,
    ),
    "the description of a tool": (
        {"tools": [renamed("weather", same_city, "Tell the weather of a city."), cost]},
        {},
        "tool_description",
        "model.started",
        1,
    ),
    "a default of a tool": (
        {"tools": [renamed("weather", two_days, TELL), cost]},
        {},
        "tool_default",
        "model.started",
        1,
    ),
    "the limit of a record": ({"max_record_bytes": 300}, {}, "limit", "tool.finished", 1),
    "how often a call is made": ({"retry": None}, {}, "retry", "model.retried", 1),
    "how long a call waits": ({"retry": RetryPolicy(initial_delay=9)}, {}, "retry", "model.failed", 1),
    "a parameter of the model": ({"model": Warmer([])}, {}, "model", "model.started", 1),
    "the executor": ({"tool_executor": "sequential"}, {}, "executor", "tool.started", 2),
    "the agent's own messages": ({"messages": []}, {}, "history", "model.started", 1),
    "the result of a tool": (
        {"tools": [renamed("weather", other_city, TELL), cost]},
        {"tools": "live"},
        "tool_result",
        "tool.finished",
        1,
    ),
    "the exception of a tool": (
        {"tools": [weather, renamed("cost", other_error, "Tell the cost.")]},
        {"tools": "live"},
        "exception",
        "tool.finished",
        2,
    ),
    "the stop reason": (
        {"model": Configured([script()[0], text_call("It is fine.", stop_reason="stop_sequence")])},
        {"model": "live"},
        "stop_reason",
        "message.added",
        4,
    ),
    "what the model says": ({"model": Configured(["It is bad."])}, {"model": "live"}, "message", "message.added", 2),
    "the name of the agent": ({"name": "other"}, {}, "agent", "model.started", 1),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_found_at_its_first_record(run: EntriesRecording, change: str) -> None:
    options, how, kind, record, nth = CHANGES[change]
    found = await verify(run, agent(**options), **how)
    assert found.difference is not None
    place = (found.difference.kind, found.difference.record, found.difference.seq)
    assert place == (kind, record, seq_of(run, record, nth)), found.text


async def test_nothing_differs_for_the_same_agent_and_nothing_of_it_runs(run: EntriesRecording) -> None:
    model = Configured([])
    found = await verify(run, agent(model=model))
    assert found.same
    assert found.text == f"run 0-run: nothing differs in {len(run.entries)} records"
    assert model.requests == []


async def test_the_live_halves_of_an_unchanged_agent_do_what_was_recorded(run: EntriesRecording) -> None:
    model = Configured([script()[0], "It is fine."])
    assert (await verify(run, agent(model=model), tools="live", model="live")).same
    assert len(model.requests) == 2


async def test_a_difference_is_told_as_a_diff_with_the_place_of_the_tool(run: EntriesRecording) -> None:
    found = await verify(run, agent(tools=[renamed("weather", two_days, TELL), cost], system_prompt="Be kind."))
    assert found.difference is not None
    prompt, default = found.difference.changes
    assert prompt.text.splitlines()[1:] == ["  -Be brief.", "  +Be kind."]
    line = two_days.__code__.co_firstlineno
    assert default.where == f"{__file__}:{line}"
    assert '-    "default": 1,' in default.text
    assert '+    "default": 2,' in default.text
    assert found.text.splitlines()[0].startswith(
        f"record {found.difference.seq}-1 of run 0-run, model.started, differs"
    )


async def test_a_kind_that_is_ignored_is_not_reported(run: EntriesRecording) -> None:
    assert (await verify(run, agent(name="other", model=Warmer([])), ignore=["agent", "model"])).same
    assert not (await verify(run, agent(name="other", system_prompt="Be kind."), ignore=["agent"])).same
    with pytest.raises(ValueError, match="ignore"):
        await verify(run, agent(), ignore=["weather"])


async def test_a_stub_runs_in_place_of_a_tool_and_the_others_are_played(run: EntriesRecording) -> None:
    ran: list[str] = []

    async def weather(city: str, days: int = 1) -> str:
        ran.append(city)
        return "hail"

    found = await verify(run, agent(), stubs=[weather])
    assert ran == ["Bern"]
    assert found.difference is not None
    assert (found.difference.kind, found.difference.seq) == ("tool_result", seq_of(run, "tool.finished"))
    with pytest.raises(ValueError, match="a stub is named 'other_error'; the agent has the tools weather, cost"):
        await verify(run, agent(), stubs=[other_error])


async def test_another_check_of_the_structured_output_is_found_at_its_call() -> None:
    class Person(BaseModel):
        name: str

    class Strict(Person):
        @field_validator("name")
        @classmethod
        def _is_short(cls, name: str) -> str:
            raise ValueError("too long")

    Strict.__name__ = "Person"
    play = Play(
        Plan(), agent=agent(model=Configured([tool_call("Person", {"name": "Ada"})]), structured_output_model=Person)
    )
    await play.to_its_end()
    assert (await verify(play.recording, agent(structured_output_model=Person))).same
    found = (await verify(play.recording, agent(structured_output_model=Strict))).difference
    assert found is not None
    assert (found.kind, found.record) == ("exception", "tool.finished")
    assert "too long" in found.text
    found = (await verify(play.recording, agent())).difference
    assert found is not None
    assert (found.kind, found.record) == ("tools", "model.started")


async def test_what_an_unknown_outcome_leads_to_is_compared() -> None:
    def served(declared: Any) -> Agent:
        @tool(on_unknown_outcome=declared)
        async def order() -> str:
            """Order."""
            return "ordered"

        return agent(model=Configured([tool_call("order", {}), "Done."]), tools=[order])

    play = Play(Plan(owners=((12, False),)), agent=served("retry"))
    await play.to_its_end()
    assert [entry.record.type for entry in play.entries].count("tool.started") == 2
    assert (await verify(play.recording, served("retry"))).same
    for declared in ("fail", "ask"):
        found = (await verify(play.recording, served(declared))).difference
        assert found is not None
        assert (found.kind, found.seq) == ("unknown_outcome", seq_of(play.recording, "tool.started", 2))


async def test_another_answer_to_a_call_that_was_cut_off_is_found_after_the_takeover() -> None:
    model = Configured(["One two three", "One two three"], continues_partial=True)
    play = Play(Plan(owners=((7, False),)), agent=agent(model=model))
    await play.to_its_end()
    assert (await verify(play.recording, agent(model=model))).same
    found = (await verify(play.recording, agent(model=model, on_partial="continue"))).difference
    assert found is not None
    assert (found.kind, found.seq) == ("on_partial", seq_of(play.recording, "model.retried"))


async def test_owners_with_other_definitions_are_compared_with_their_own() -> None:
    play = Play(Plan(owners=((9, False),)), agent=agent(model=Configured(["One two three", "One two three"])))
    await play.to_its_end()
    first = play.recording.definitions
    claims = [entry for entry in play.entries if entry.record.type == "run.claimed"]
    kind = agent(model=Configured([]), system_prompt="Be kind.").definition.stored()
    later = claims[1].record.model_copy(update={"definition": kind.digest})  # pyright: ignore[reportAttributeAccessIssue]
    entries = [entry if entry.seq != claims[1].seq else entry._replace(record=later) for entry in play.entries]
    both = {**first, kind.digest: agent(model=Configured([]), system_prompt="Be kind.").definition}
    run = EntriesRecording(entries, both, run_id="0-run")
    found = (await verify(run, agent(model=Configured([])))).difference
    assert found is not None
    assert (found.kind, found.seq, found.epoch) == ("system_prompt", seq_of(run, "model.started", 2), 2)
    assert (await verify(run, agent(model=Configured([]), system_prompt="Be kind."), after=claims[0].seq)).same


async def test_a_run_without_its_definition_is_compared_as_far_as_it_can_be(run: EntriesRecording) -> None:
    found = await verify(run.entries, agent(system_prompt="Be kind."))
    assert found.same
    assert len(found.notes) == 1
    assert found.notes[0].startswith("what the model was asked is not compared, because definition ")


async def test_a_record_of_a_newer_version_is_skipped(run: EntriesRecording) -> None:
    *entries, last = run.entries
    newer = Entry(last.seq, 1, UnknownRecord(type="run.dreamt", at=0))
    found = await verify(replace(run, entries=[*entries, newer, last._replace(seq=last.seq + 1)]), agent())
    assert found.same


async def test_a_log_that_is_empty_or_lacks_a_record_is_an_error(run: EntriesRecording) -> None:
    with pytest.raises(RunNotFoundError, match="run has no records"):
        await verify([], agent())
    with pytest.raises(GapError, match="record 5 is missing"):
        await verify([*run.entries[:4], *run.entries[5:]], agent())


@pytest.mark.exhaustive
async def test_a_run_that_goes_on_is_compared_up_to_now(run: EntriesRecording) -> None:
    for head in range(1, len(run.entries)):
        found = await verify(replace(run, entries=run.entries[:head]), agent())
        assert found.same
        assert found.records == head


async def test_a_cancel_after_the_last_chunk_of_a_message_that_was_not_kept_verifies() -> None:
    """A provider may raise when its stream is broken off after its last chunk: the message is then not in the log."""
    play = await played(Plan(calls=(Call(cancel_at=6),)))
    cut = next(entry.seq for entry in play.entries if entry.record.type == "signal.received")
    assert play.entries[cut - 2].record.type == "model.chunk"
    whole = await played(Plan())
    chunks = [entry.record for entry in whole.entries if entry.record.type == "model.chunk"]
    rest = [*chunks, *(entry.record for entry in play.entries[cut - 1 :])]
    begun = play.entries[:5]  # up to the model.started
    entries = [*begun, *(Entry(len(begun) + n, 1, record) for n, record in enumerate(rest, 1))]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert (await verify(EntriesRecording(entries, play.recording.definitions, run_id="0-run"), play.agent)).same


async def test_a_run_that_got_another_id_verifies_with_its_recorded_effect_keys(run: EntriesRecording) -> None:
    assert (await verify(replace(run, run_id="last-night"), agent())).same
    play = await played(Plan(calls=(Call(tools=("pay", "look")),), owners=((20, False),)))
    assert any(entry.record.type == "tool.interrupted" for entry in play.entries)
    assert (await verify(replace(play.recording, run_id="last-night"), play.agent)).same
    assert (await verify(replace(play.recording, run_id="last-night"), play.agent, tools="live")).same


@pytest.mark.exhaustive
async def test_memory_does_not_grow_with_the_records_of_a_run() -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    def say(messages: Messages) -> Any:
        return tool_call("look", {}, f"t{len(messages)}", " ".join(["word"] * 100)) if len(messages) < 200 else "Done."

    who = Agent(ScriptedModel([say], repeat=True), name="looks", tools=[look], callback_handler=None)
    log, run_id = await rerun([Entry(1, 0, RunSubmitted(at=0, agent="looks", prompt="Look."))], who)
    tracemalloc.start()
    try:
        found = await verify(LogRecording(log, run_id), who)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.same
    assert found.records > 10_000
    assert peak < 1_000_000, "a page and the messages: all entries together are several times as much"


class Looking:
    """A model that calls a tool `cycles` times; unlike a scripted one it keeps no request."""

    def __init__(self, cycles: int) -> None:
        self.cycles = cycles

    async def stream(self, messages: Messages, *_: object, **__: object) -> AsyncGenerator[Chunk, None]:
        call = len(messages) // 2
        for chunk in tool_call("weather", {"city": "Bern"}, f"t{call}") if call < self.cycles else text_call("Fine."):
            yield chunk


async def calls_of_verify(cycles: int) -> int:
    """How many Python functions are called while a run of so many cycles is verified."""
    today = Agent(Looking(cycles), name="planned", tools=[weather], callback_handler=None)
    log, run_id = await rerun([Entry(1, 0, RunSubmitted(at=0, agent="planned", prompt="Look."))], today)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        assert (await verify(LogRecording(log, run_id), today)).same
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.exhaustive
async def test_the_time_of_a_verification_grows_with_the_records_and_not_with_their_square():
    few, many = await calls_of_verify(40), await calls_of_verify(120)
    assert many < few * 3.1
