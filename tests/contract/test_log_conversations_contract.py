"""What every log backend promises of the list of sessions, and of what changes a session besides its runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.context import Reduction, marker
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import SessionHeldError
from playhead.runtime.core.records import CycleStarted, RunCompleted, RunPaused
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, RunEnd
from tests.contract.contract_calls import claimed, submitted, texts

__all__: list[str] = []

pytestmark = pytest.mark.anyio

COMPLETED = encode_record(RunCompleted(at=2, result={}))
PAUSED = encode_record(RunPaused(at=2, interrupts=[], result={}))


def said(*texts: str) -> list[Message]:
    return [{"role": "user", "content": [{"text": text}]} for text in texts]


async def ran(log: Log, session: str, *texts: str) -> tuple[str, BeganFrom]:
    """Run a run that adds these messages; returns its id and what it began from, as its worker notes it."""
    await submitted(log, session=session)
    claim = await claimed(log)
    began = (await log.stored_messages(session)).began_from
    cycle = CycleStarted(at=1, cycle=1, session_messages=began.count, session_cut=began.cut)
    records = [encode_record(cycle), COMPLETED]
    await log.finish(RunEnd(Batch(claim.run_id, claim.token, claim.head, records), "completed", session, said(*texts)))
    return claim.run_id, began


async def listed(log: Log, **page: object) -> list[str]:
    return [info.session for info in await log.sessions(**page)]  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------- the list


async def test_sessions_are_listed_the_last_used_first_with_their_messages_and_their_run(log: Log) -> None:
    assert await log.sessions() == []
    await ran(log, "ada", "one", "two")
    await ran(log, "bob", "one")
    assert await listed(log) == ["bob", "ada"]
    run_id = await submitted(log, session="ada")
    await submitted(log, session=None)
    ada, bob = await log.sessions()
    assert (ada.session, ada.messages, ada.run) == ("ada", 2, run_id)
    assert (bob.session, bob.messages, bob.run) == ("bob", 1, None)
    assert ada.created is not None
    assert ada.created <= ada.used
    assert await log.session_info("ada") == ada
    assert await log.session_info("eve") is None


async def test_the_end_of_a_run_is_a_use_of_its_session(log: Log) -> None:
    for name in ("ada", "bob"):
        await submitted(log, session=name)
    claim = await claimed(log)
    await log.finish(RunEnd(Batch(claim.run_id, claim.token, claim.head, [COMPLETED]), "completed", "ada", said("one")))
    assert await listed(log) == ["ada", "bob"]


async def test_the_list_is_read_page_by_page(log: Log) -> None:
    names = [f"session {number}" for number in range(7)]
    for name in names:
        await ran(log, name, "one")
    found: list[str] = []
    before: tuple[int, str] | None = None
    while page := await log.sessions(limit=3, before=before):
        assert len(page) <= 3
        found += [info.session for info in page]
        before = page[-1].position, page[-1].session
    assert found == names[::-1]


async def test_a_session_whose_runs_left_no_message_is_not_listed(log: Log) -> None:
    run_id = await submitted(log, session="ada")
    assert await listed(log) == ["ada"]
    await log.signal(run_id, Signal("s", "cancel"))
    assert await listed(log) == []
    assert await log.session_info("ada") is None


async def test_the_reductions_of_a_session_are_not_counted_as_messages(log: Log) -> None:
    await submitted(log, session="ada")
    claim = await claimed(log)
    every = [*said("1", "2"), marker(Reduction(cut=1)), *said("3"), marker(Reduction(cut=1))]
    await log.finish(RunEnd(Batch(claim.run_id, claim.token, claim.head, [COMPLETED]), "completed", "ada", every))
    assert (await log.messages("ada"), await counted(log, "ada")) == (every, 3)
    await ran(log, "ada", "4")
    assert await counted(log, "ada") == 4
    assert await log.store_session("copy", every)
    assert await counted(log, "copy") == 3
    assert await log.cut_session("ada", upto=2)
    assert await counted(log, "ada") == 2


async def counted(log: Log, session: str) -> int:
    info = await log.session_info(session)
    assert info is not None
    return info.messages


# ---------------------------------------------------------------- cuts


async def test_the_oldest_messages_of_a_session_are_cut_and_the_numbers_of_the_others_stay(log: Log) -> None:
    await ran(log, "ada", "1", "2", "3", "4")
    assert await log.cut_session("ada", upto=2)
    assert await texts(log, "ada") == ["3", "4"]
    await ran(log, "ada", "5")
    assert await log.cut_session("ada", upto=3)
    assert await texts(log, "ada") == ["4", "5"]
    assert (await log.stored_messages("ada")).cut == 3
    info = await log.session_info("ada")
    assert info is not None
    assert info.messages == 2


async def test_a_cut_made_again_cuts_nothing_more(log: Log) -> None:
    await ran(log, "ada", "1", "2", "3")
    for upto in (2, 2, 1, 0):
        assert await log.cut_session("ada", upto=upto)
        assert await texts(log, "ada") == ["3"]


async def test_a_run_has_the_history_that_it_began_from_or_it_is_known_to_be_gone(log: Log) -> None:
    first, _ = await ran(log, "ada", "1", "2")
    second, began = await ran(log, "ada", "3", "4")
    assert await log.history(second, began) == said("1", "2")
    await log.cut_session("ada", upto=2)
    third, later = await ran(log, "ada", "5", "6")
    assert (began, later) == (BeganFrom(0, 2), BeganFrom(2, 2))
    assert await log.history(third, later) == said("3", "4")
    assert await log.history(second, began) == []
    assert await log.history(first, BeganFrom()) == []
    await log.cut_session("ada", upto=3)
    assert await log.history(third, later) == said("4")
    assert await log.history("none", later) == []


async def test_a_deleted_session_is_gone_and_a_new_one_of_its_name_has_other_messages(log: Log) -> None:
    await ran(log, "ada", "1", "2")
    second, began = await ran(log, "ada", "3")
    assert await log.cut_session("ada", upto=None)
    assert (await log.messages("ada"), await listed(log), await log.session_info("ada")) == ([], [], None)
    assert not await log.cut_session("ada", upto=None)
    third, empty = await ran(log, "ada", "new", "newer")
    assert empty.count == 0
    assert await texts(log, "ada") == ["new", "newer"]
    assert await listed(log) == ["ada"]
    assert await log.history(second, began) == [], "the new messages are not those that an old run began from"
    assert await log.history(third, empty) == []
    fourth, later = await ran(log, "ada", "newest")
    assert await log.history(fourth, later) == said("new", "newer")


async def test_a_deleted_session_keeps_its_numbers_over_runs_that_add_nothing(log: Log) -> None:
    await ran(log, "ada", "1", "2")
    second, began = await ran(log, "ada", "3")
    await log.cut_session("ada", upto=None)
    await log.signal(await submitted(log, session="ada"), Signal("s", "cancel"))
    await ran(log, "ada", "new", "newer")
    assert await log.history(second, began) == []


async def queued(log: Log) -> str:
    return await submitted(log, session="ada")


async def running(log: Log) -> str:
    await submitted(log, session="ada")
    return (await claimed(log)).run_id


async def paused(log: Log) -> str:
    await submitted(log, session="ada")
    claim = await claimed(log)
    await log.pause(Batch(claim.run_id, claim.token, claim.head, [PAUSED]), interrupts=["i1"])
    return claim.run_id


@pytest.mark.parametrize("state", [queued, running, paused], ids=lambda state: state.__name__)
async def test_a_session_that_a_run_holds_is_not_changed_and_the_run_is_named(
    log: Log, state: Callable[[Log], object]
) -> None:
    await ran(log, "ada", "1", "2")
    run_id = await state(log)  # pyright: ignore[reportGeneralTypeIssues]
    for upto in (1, None):
        with pytest.raises(SessionHeldError, match=rf"run {run_id} \({state.__name__}\) holds the session 'ada'"):
            await log.cut_session("ada", upto=upto)
    assert await texts(log, "ada") == ["1", "2"]
    await log.signal(str(run_id), Signal("s", "cancel"))


async def test_to_cut_what_is_not_there_changes_nothing(log: Log) -> None:
    assert not await log.cut_session("ada", upto=3)
    assert not await log.cut_session("ada", upto=None)
    assert await log.sessions() == []


# ---------------------------------------------------------------- copies


async def test_a_session_is_made_of_messages_and_its_runs_begin_from_them(log: Log) -> None:
    assert await log.store_session("copy", said("1", "2"))
    assert await texts(log, "copy") == ["1", "2"]
    assert await listed(log) == ["copy"]
    run_id, began = await ran(log, "copy", "3")
    assert await log.history(run_id, began) == said("1", "2")
    assert await texts(log, "copy") == ["1", "2", "3"]


async def test_a_session_that_has_messages_or_a_run_is_not_replaced(log: Log) -> None:
    await ran(log, "ada", "1")
    run_id = await submitted(log, session="bob")
    for name in ("ada", "bob"):
        assert not await log.store_session(name, said("other"))
    assert await texts(log, "ada") == ["1"]
    assert (await log.messages("bob"), await log.holder("bob")) == ([], run_id)


async def test_a_copy_under_the_name_of_a_deleted_session_does_not_get_its_numbers(log: Log) -> None:
    await ran(log, "ada", "1", "2")
    second, began = await ran(log, "ada", "3")
    await log.cut_session("ada", upto=None)
    assert await log.store_session("ada", said("other", "others"))
    assert await log.history(second, began) == []
    assert (await log.stored_messages("ada")).cut == 3
