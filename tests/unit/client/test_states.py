"""The state of a run at any of its records, with the history it began from and the next step of its owner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from playhead.client.states import StateAt
from playhead.runtime.core.converse import Message
from playhead.runtime.core.decide import decide
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import GapError, RecordNotFoundError, RunNotFoundError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import CycleStarted, Entry, RunClaimed, RunHandedOver
from playhead.runtime.core.steps import CallModel, RunTools
from tests.support.eventful import eventful
from tests.support.readers import KeptLog, reader_of

__all__: list[str] = []

pytestmark = pytest.mark.anyio

OWN: list[Message] = [{"role": "user", "content": [{"text": "You know Paris."}]}]
SESSION: list[Message] = [
    {"role": "user", "content": [{"text": "Hello."}]},
    {"role": "assistant", "content": [{"text": "Yes?"}]},
    {"role": "user", "content": [{"text": "of a later run"}]},
]
DEFINITION = AgentDefinition("assistant", {}, messages=OWN)
LONG = eventful(words=700, answer="word " * 1500)


def log_of(entries: list[Entry], definition: AgentDefinition = DEFINITION, *, session: int = 3) -> KeptLog:
    return KeptLog(entries, definitions={"d1": definition}, session=SESSION[:session])


def expected(entries: list[Entry], seq: int) -> object:
    history = [*OWN, *SESSION[:2]] if seq > 1 else []
    state = fold(entries[:seq], history=history)
    return entries[seq - 1], state, decide(state)


def found(place: StateAt) -> object:
    return place.entry, place.state, place.step


@pytest.mark.exhaustive
async def test_the_state_at_every_record_is_what_its_owner_has_there() -> None:
    entries = eventful()
    states = reader_of(log_of(entries), "r").states()
    for seq in [*range(1, len(entries) + 1), *range(len(entries), 0, -1)]:
        assert found(await states.at(seq)) == expected(entries, seq)


@pytest.mark.parametrize("seq", [1, 511, 512, 513, 700, 1024, 1025, len(LONG) - 1, len(LONG)])
async def test_a_place_in_a_long_run_is_found_directly(seq: int) -> None:
    assert found(await reader_of(log_of(LONG), "r").states().at(seq)) == expected(LONG, seq)


async def test_stepping_back_reads_the_records_around_the_place_only_once() -> None:
    log = log_of(LONG)
    states = reader_of(log, "r").states()
    await states.at(2040)
    assert log.read_count <= len(LONG) + 512
    log.read_count = 0
    for seq in range(2040, 1600, -11):
        assert (await states.at(seq)).entry.seq == seq
    assert log.read_count <= 512, "at most one more block is read"


async def test_a_run_that_goes_on_is_read_on() -> None:
    entries = eventful()
    log = log_of(entries[:20])
    states = reader_of(log, "r").states()
    assert (await states.at(20)).head == 20
    log.entries.append(entries[20])
    place = await states.at(21)
    assert (place.head, found(place)) == (21, expected(entries, 21))


async def test_the_history_is_that_of_the_owner_at_the_place() -> None:
    entries = [
        entry._replace(record=RunClaimed(at=0, worker="w", definition=f"d{entry.epoch}"))
        if isinstance(entry.record, RunClaimed)
        else entry
        for entry in eventful()
    ]
    other = replace(DEFINITION, messages=[*OWN, *OWN])
    log = KeptLog(entries, definitions={"d1": DEFINITION, "d2": other}, session=SESSION)
    claims = [entry.seq for entry in entries if isinstance(entry.record, RunClaimed)]
    states = reader_of(log, "r").states()
    assert [(await states.at(seq)).state.history for seq in claims] == [3, 4, 0, 0]
    assert [(await states.at(seq)).history_known for seq in claims] == [True, True, False, False]
    assert (await states.at(claims[1] - 1)).state.history == 3


async def test_a_session_that_has_lost_messages_is_not_taken_for_the_whole_history() -> None:
    place = await reader_of(log_of(eventful(), session=1), "r").states().at(9)
    assert not place.history_known
    assert place.state.history == 0
    assert place.state.messages[0].get("content") == [{"text": "How is Paris?"}]


async def test_the_next_step_knows_how_the_agent_runs_tools_and_continues_messages() -> None:
    entries = eventful()
    retried = next(entry.seq for entry in entries if entry.record.type == "model.retried")
    goes_on = replace(DEFINITION, on_partial="continue")
    place = await reader_of(log_of(entries, goes_on), "r").states().at(retried - 1)
    assert isinstance(place.step, CallModel)
    assert place.step.partial == " word 0 word 1 word 2 word 3 word 4"
    paused = next(entry.seq for entry in entries if entry.record.type == "tool.interrupted")
    in_turn = replace(DEFINITION, tool_executor="sequential")
    place = await reader_of(log_of(entries, in_turn), "r").states().at(paused)
    assert isinstance(place.step, RunTools)
    assert [call["name"] for _, call in place.step.calls] == ["weather", "traffic"]


async def test_a_run_without_a_definition_shows_its_own_messages() -> None:
    entries = [
        entry._replace(record=RunHandedOver(at=0, worker="w")) if isinstance(entry.record, RunClaimed) else entry
        for entry in eventful()
        if not isinstance(entry.record, CycleStarted)
    ]
    entries = [entry._replace(seq=seq) for seq, entry in enumerate(entries, 1)]
    place = await reader_of(KeptLog(entries), "r").states().at(5)
    assert (place.history_known, place.state.history) == (False, 0)


@pytest.mark.parametrize("seq", [53, 10**12])
async def test_a_record_beyond_the_end_is_one_clear_error(seq: int) -> None:
    entries = eventful()[:52]
    with pytest.raises(RecordNotFoundError, match=f"run r has 52 records so far, and no record {seq}"):
        await reader_of(log_of(entries), "r").states().at(seq)


@pytest.mark.parametrize(("seq", "error"), [(0, ValueError), (-1, ValueError), ("9", TypeError), (True, TypeError)])
async def test_what_is_not_a_record_number_is_refused(seq: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="seq must be"):
        await reader_of(log_of(eventful()), "r").states().at(seq)


async def test_a_run_that_does_not_exist_and_one_with_a_hole_are_told_apart() -> None:
    with pytest.raises(RunNotFoundError):
        await reader_of(KeptLog([]), "r").states().at(1)
    entries = eventful()
    del entries[7]
    with pytest.raises(GapError, match="record 8 is missing"):
        await reader_of(log_of(entries), "r").states().at(20)
