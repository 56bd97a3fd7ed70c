"""What every log backend promises of its lists: which runs are in them, in which order, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.listing import EVERY_RUN, ListedRun, Place, RunFilter, RunPage, merged, place_of
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import EncodedEntry, ImportedRun, NewRun, RunEnd, RunInfo
from tests.contract.contract_calls import COMPLETED, FAILED, MINUTE, after, claimed, known, tick

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def submitted(log: Log, *, agent: str = "echo", session: str | None = None, **metadata: Any) -> str:
    run_id = new_run_id()
    record = RunSubmitted(at=0, agent=agent, session=session, metadata=metadata)
    assert await log.submit(NewRun(run_id, agent, record, session))
    return run_id


async def listed(log: Log, **filters: Any) -> list[str]:
    return [info.run_id for info in await log.runs(RunFilter(**filters))]


async def paged(log: Log, filters: RunFilter = EVERY_RUN, *, limit: int) -> list[str]:
    """All runs that fit, read page by page."""
    found: list[str] = []
    page = await log.runs(filters, limit=limit)
    while True:
        found += [info.run_id for info in page]
        if page.cursor is None:
            return found
        page = await log.runs(filters, limit=limit, after=place_of(page.cursor))


async def ended(log: Log, *, state: Any = "completed", agent: str = "echo", retention_ms: int = MINUTE) -> str:
    claim = await claimed(log, agent)
    end = RunEnd(after(claim, [COMPLETED if state == "completed" else FAILED]), state, claim.session, (), retention_ms)
    assert (await log.finish(end)).stored
    return claim.run_id


# ---------------------------------------------------------------- filters


async def test_a_run_has_the_metadata_it_was_submitted_with(log: Log) -> None:
    metadata: dict[str, Any] = {"customer": "ada & söhne", "attempt": 2, "share": 0.5, "nightly": True}
    run_id = await submitted(log, **metadata)
    assert (await known(log, run_id)).metadata == metadata
    assert [info.metadata for info in await log.runs()] == [metadata]
    assert (await known(log, await submitted(log))).metadata == {}


async def test_runs_are_found_by_each_of_their_tags(log: Log) -> None:
    ada = await submitted(log, customer="ada", attempt=2)
    both = await submitted(log, customer="ada", nightly=True)
    bob = await submitted(log, customer="bob", nightly=True)
    assert await listed(log, tags=["customer=ada"]) == [both, ada]
    assert await listed(log, tags=["attempt=2"]) == [ada]
    assert await listed(log, tags=["nightly"]) == [bob, both], "a tag without a value is `true`"
    assert await listed(log, tags=["nightly", "customer=ada"]) == [both]
    assert await listed(log, tags=["customer=eve"]) == []
    assert await listed(log, tags=["customer=ada", "customer=bob"]) == []


async def test_runs_are_found_by_agent_and_by_session(log: Log) -> None:
    first = await submitted(log, agent="a", session="ada")
    second = await submitted(log, agent="b", session="ada")
    third = await submitted(log, agent="b")
    assert await listed(log, agent="b") == [third, second]
    assert await listed(log, session="ada") == [second, first]
    assert await listed(log, session="ada", agent="b") == [second]
    assert await listed(log, agent="c") == []


async def test_a_run_is_found_by_the_state_that_it_has_now(log: Log) -> None:
    run_id = await submitted(log)

    async def places() -> list[str]:
        states: Sequence[Any] = ("queued", "running", "paused", "completed", "failed", "cancelled")
        return [state for state in states if await listed(log, state=state) == [run_id]]

    assert await places() == ["queued"]
    claim = await claimed(log)
    assert await places() == ["running"]
    await log.pause(after(claim, [COMPLETED]), interrupts=["i"])
    assert await places() == ["paused"]
    await log.signal(run_id, Signal("s", "respond", {"i": "yes"}))
    assert await places() == ["queued"]
    claim = await claimed(log)
    await log.release(after(claim, [COMPLETED]))
    assert await places() == ["queued"]
    await log.signal(run_id, Signal("c", "cancel"))
    assert await places() == ["cancelled"]


async def test_runs_are_found_by_the_time_of_their_submission(log: Log) -> None:
    runs = [await submitted(log)]
    await tick(log)
    runs.append(await submitted(log))
    times = [(await known(log, run_id)).created for run_id in runs]
    assert await listed(log, agent="echo", since=times[1]) == [runs[1]]
    assert await listed(log, agent="echo", until=times[1]) == [runs[0]]
    assert await listed(log, agent="echo", since=times[0], until=times[1] + 1) == runs[::-1]
    assert await listed(log, agent="echo", since=times[1] + 60_000) == []


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"state": "done"}, "state must be 'queued' or"),
        ({"agent": "a b"}, "cannot name an agent"),
        ({"session": ""}, "session_id must be"),
        ({"tags": ["=x"]}, "a key of metadata must be"),
        ({"tags": [f"key={'x' * 300}"]}, "at most 256"),
        ({"since": 5, "until": 5}, "is not before until"),
        ({"since": -1}, "since must be a whole number"),
    ],
)
def test_a_filter_that_fits_no_run_is_refused(filters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        RunFilter(**filters)


@pytest.mark.parametrize(
    "metadata",
    [
        {f"key{number}": 1 for number in range(17)},
        {"key": "x" * 257},
        {"a key": 1},
        {"k" * 65: 1},
        {"key": "two\nlines"},
        {"key": float("nan")},
    ],
)
def test_metadata_that_cannot_be_indexed_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        NewRun("r", "a", RunSubmitted(at=0, agent="a", metadata=metadata))


# ---------------------------------------------------------------- pages


async def test_pages_have_every_run_once_while_runs_are_added(log: Log) -> None:
    runs = [await submitted(log, of="ada", even=number % 2 == 0) for number in range(7)]
    first = await log.runs(limit=3)
    assert [info.run_id for info in first] == runs[:3:-1]
    await submitted(log, of="ada")
    assert first.cursor is not None
    second = await log.runs(limit=3, after=place_of(first.cursor))
    assert [info.run_id for info in second] == runs[3:0:-1]
    assert second.cursor is not None
    last = await log.runs(limit=3, after=place_of(second.cursor))
    assert ([info.run_id for info in last], last.cursor) == ([runs[0]], None)
    assert await paged(log, RunFilter(tags=["even", "of=ada"]), limit=2) == runs[::2][::-1]


async def test_a_page_that_is_exactly_full_has_no_next_one(log: Log) -> None:
    for _ in range(2):
        await submitted(log)
    assert (await log.runs(limit=2)).cursor is None
    assert (await log.runs(limit=1)).cursor is not None
    assert (await log.runs(RunFilter(agent="none"), limit=1)).cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "Zm9v", "🙂"])
def test_what_is_not_a_cursor_of_a_page_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError, match="is not one of a page of runs"):
        place_of(cursor)


async def test_imported_runs_are_listed_where_they_were_submitted(log: Log) -> None:
    newest = await submitted(log)
    info = RunInfo("", "failed", "echo", None, 2, 0, 0, created=1000, updated=2000, metadata={"of": "ada"})

    async def records() -> AsyncIterator[list[EncodedEntry]]:
        yield [EncodedEntry(seq, 0, FAILED) for seq in (1, 2)]

    names = ["first", "second", "third"]
    for name, created in zip(names, (1000, 1000, 500), strict=True):
        run = ImportedRun(replace(info, run_id=name, created=created), retention_ms=MINUTE)
        assert await log.import_run(run, records())
    assert await paged(log, limit=2) == [newest, "second", "first", "third"]
    assert await listed(log, until=1000) == ["third"]
    assert await listed(log, tags=["of=ada"], state="failed") == ["second", "first", "third"]


def test_pages_of_several_lists_are_one_as_far_as_all_of_them_are_known() -> None:
    info = RunInfo("r", "queued", "a", None, 1, 0, 0, created=0, updated=0)

    def page(*positions: int, more: bool) -> RunPage:
        return RunPage([ListedRun(Place(one, "r"), info) for one in positions], more=more)

    found = merged([page(9, 8, more=True), page(7, 2, more=False)], limit=2)
    assert ([one.position for one in found.places], found.more) == ([9, 8], True)
    found = merged([page(9, 5, more=True), page(7, 6, more=True)], limit=2)
    assert ([one.position for one in found.places], found.more) == ([9, 7], True)
    found = merged([page(9, 5, more=False), page(more=False)], limit=2)
    assert ([one.position for one in found.places], found.more) == ([9, 5], False)


# ---------------------------------------------------------------- ids and deletion


async def test_ids_are_found_by_their_beginning(log: Log) -> None:
    for run_id in ("order-2", "order-1", "invoice-1", "ordex"):
        await log.submit(NewRun(run_id, "echo", RunSubmitted(at=0, agent="echo")))
    assert await log.find_ids("order-") == ["order-1", "order-2"]
    assert await log.find_ids("invoice-1") == ["invoice-1"]
    assert await log.find_ids("", limit=2) == ["invoice-1", "order-1"]
    assert await log.find_ids("order-11") == []


async def test_a_run_that_has_ended_can_be_deleted_and_leaves_nothing(log: Log) -> None:
    run_id = await submitted(log, session="ada", of="ada")
    claim = await claimed(log)
    message: Any = {"role": "user", "content": [{"text": "Hi"}]}
    await log.finish(RunEnd(after(claim, [COMPLETED]), "completed", "ada", [message], MINUTE))
    other = await submitted(log, session="ada", of="ada")
    assert await log.delete_run(run_id) == "completed"
    assert (await log.info(run_id), await log.read(run_id)) == (None, [])
    assert await listed(log) == await listed(log, tags=["of=ada"]) == await listed(log, session="ada") == [other]
    assert await listed(log, state="completed") == await log.find_ids(run_id) == []
    assert await log.messages("ada") == [message], "what the session has said is kept"
    assert await log.delete_run(run_id) is None


async def test_a_run_that_has_not_ended_is_not_deleted(log: Log) -> None:
    run_id = await submitted(log)
    assert await log.delete_run(run_id) == "queued"
    await claimed(log)
    assert await log.delete_run(run_id) == "running"
    assert await listed(log) == [run_id]


async def test_the_indexes_give_up_runs_whose_retention_has_ended(log: Log) -> None:
    if not isinstance(log, RedisLog):
        return
    for number in range(8):
        await submitted(log, session=f"s{number}", of="ada", number=number)
        await ended(log, retention_ms=1)
    with anyio.fail_after(10):
        while any(await log.runs()):
            await anyio.lowlevel.checkpoint()
    await submitted(log, agent="other")
    await submitted(log, agent="other")
    left: list[Any] = await log.client.keys(log.keys.index("*"))
    assert sorted(key.decode().partition("index:")[2] for key in left) == ["agent:other", "state:queued"]
    assert await log.client.exists(log.keys.expiring) == 0
    assert await log.client.zcard(log.keys.ids) == await log.client.zcard(log.keys.runs) == 2
