"""A run that ended elsewhere is stored whole: readers find it as it was, and no worker can claim it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.context import Reduction, marker
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunCompleted, RunHandedOver, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.redis.inspection import faults_of
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Batch, Claim, EncodedEntry, ImportedRun, NewRun, RunEnd, RunInfo

__all__: list[str] = []

pytestmark = pytest.mark.anyio

MINUTE = 60_000
DEFINITION = AgentDefinition("echo", {"model_id": "m"}, "Be brief.").stored()
SAID: list[Message] = [{"role": "user", "content": [{"text": "Hi"}]}, {"role": "assistant", "content": []}]
FROM_A_NEWER_VERSION = b"\x83\xa1v\x01\xa4type\xa8run.flew\xa2at\x05"


def entries(cycles: int = 3) -> list[EncodedEntry]:
    """The records of a run with two owners, one of them of a type that this version does not know."""
    claimed = encode_record(RunClaimed(at=2, worker="w", definition=DEFINITION.digest))
    records = [(0, encode_record(RunSubmitted(at=1, agent="echo"))), (1, claimed), (1, FROM_A_NEWER_VERSION)]
    records += [
        (2, claimed),
        *((2, encode_record(CycleStarted(at=3, cycle=one, session_messages=len(SAID)))) for one in range(cycles)),
    ]
    records += [(2, encode_record(RunCompleted(at=4, result={"stop_reason": "end_turn"})))]
    return [EncodedEntry(seq, epoch, data) for seq, (epoch, data) in enumerate(records, start=1)]


def ended_run(run_id: str, *, head: int = 8, said: Sequence[Message] = (), retention_ms: int = MINUTE) -> ImportedRun:
    session = f"imported-{run_id}" if said else None
    info = RunInfo(run_id, "completed", "echo", session, head, 2, crashes=1, created=5, updated=9, worker="w", errors=0)
    return ImportedRun(info, [DEFINITION], said, retention_ms)


async def listed(log: Log, *, limit: int) -> list[str]:
    return [info.run_id for info in await log.runs(limit=limit)]


async def pages(found: Sequence[EncodedEntry], size: int = 3) -> AsyncIterator[Sequence[EncodedEntry]]:
    for start in range(0, len(found), size):
        await anyio.lowlevel.checkpoint()
        yield found[start : start + size]


async def test_an_imported_run_is_read_as_it_was_byte_for_byte(log: Log) -> None:
    run = ended_run(new_run_id(), said=SAID)
    assert await log.import_run(run, pages(entries()))
    assert await log.info(run.info.run_id) == run.info
    assert await log.read_encoded(run.info.run_id) == entries()
    assert await log.read_encoded(run.info.run_id, after=2, limit=3) == entries()[2:5]
    assert await log.messages(run.info.session or "") == SAID
    assert await log.stored_definition(run.info.run_id, DEFINITION.digest) == DEFINITION
    assert [info.run_id for info in await log.runs()] == [run.info.run_id]
    read = await log.read(run.info.run_id)
    assert [(entry.seq, entry.epoch, entry.record.type) for entry in read[1:4]] == [
        (2, 1, "run.claimed"),
        (3, 1, "run.flew"),
        (4, 2, "run.claimed"),
    ]


async def test_an_import_of_thousands_of_records_is_whole(log: Log) -> None:
    many = entries(3000)
    run = ended_run(new_run_id(), head=len(many))
    assert await log.import_run(run, pages(many, 700))
    assert await log.read_encoded(run.info.run_id, limit=len(many) + 1) == many
    if isinstance(log, RedisLog):
        assert faults_of(await log.stored(run.info.run_id)) == []


async def test_an_imported_run_is_never_claimed_reaped_or_signalled(log: Log) -> None:
    run = ended_run(new_run_id())
    assert await log.import_run(run, pages(entries()))
    claimed = encode_record(RunClaimed(at=1, worker="w"))
    assert await log.claim({"echo": claimed}, worker="w", token=new_token(), lease_ms=MINUTE) is None
    assert await log.signal(run.info.run_id, Signal("s", "cancel")) == "completed"
    assert await log.reap() == []
    assert await log.adopt([run.info.run_id]) == []
    assert await log.read_encoded(run.info.run_id) == entries()


async def test_a_run_that_exists_is_not_replaced_by_an_import(log: Log) -> None:
    run_id = new_run_id()
    await log.submit(NewRun(run_id, "other", RunSubmitted(at=0, agent="other")))
    before = await log.info(run_id), await log.read_encoded(run_id)
    assert not await log.import_run(ended_run(run_id), pages(entries()))
    assert (await log.info(run_id), await log.read_encoded(run_id)) == before
    imported = ended_run(new_run_id(), said=SAID)
    assert await log.import_run(imported, pages(entries()))
    assert not await log.import_run(replace(imported, messages=SAID * 2), pages(entries(9)))
    assert await log.read_encoded(imported.info.run_id) == entries()
    assert await log.messages(imported.info.session or "") == SAID


async def test_an_import_that_broke_off_is_not_seen_and_the_next_one_is_whole(log: Log) -> None:
    run = ended_run(new_run_id(), said=SAID)

    async def breaking_off() -> AsyncIterator[Sequence[EncodedEntry]]:
        yield [EncodedEntry(1, 0, entries()[2].data)] * 600
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await log.import_run(run, breaking_off())
    assert await log.info(run.info.run_id) is None
    assert await log.runs() == []
    assert await log.import_run(run, pages(entries()))
    assert await log.read_encoded(run.info.run_id) == entries()
    assert await log.messages(run.info.session or "") == SAID


async def test_of_two_imports_of_one_run_at_once_only_one_is_stored_and_it_is_whole(log: Log) -> None:
    run = ended_run(new_run_id(), head=1205)
    many = entries(1200)
    stored: list[bool] = []

    async def store() -> None:
        stored.append(await log.import_run(run, pages(many, 100)))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(store)
    assert sorted(stored) == [False, False, True]
    assert await log.read_encoded(run.info.run_id, limit=2000) == many


async def test_an_imported_run_its_definitions_and_its_session_go_when_its_retention_ends(log: Log) -> None:
    brief, lasting = ended_run(new_run_id(), said=SAID, retention_ms=1), ended_run(new_run_id())
    for run in (brief, lasting):
        assert await log.import_run(run, pages(entries()))
    with anyio.fail_after(10):
        while await log.info(brief.info.run_id) is not None:
            await anyio.lowlevel.checkpoint()
    assert await log.read_encoded(brief.info.run_id) == []
    assert await log.messages(brief.info.session or "") == []
    assert await log.stored_definition(lasting.info.run_id, DEFINITION.digest) == DEFINITION
    assert len(await log.read_encoded(lasting.info.run_id)) == 8


def fork_of(run_id: str, *, said: Sequence[Message] = (), session: str | None = None) -> ImportedRun:
    """A fork that begins with the first 6 of `entries`, by two owners."""
    info = RunInfo(run_id, "queued", "echo", session, 6, 2, crashes=0, created=5, updated=9)
    return ImportedRun(info, [DEFINITION], said)


async def claimed_by(log: Log, *, worker: str = "w") -> Claim | None:
    record = encode_record(RunClaimed(at=7, worker=worker, definition=DEFINITION.digest))
    return await log.claim(
        {"echo": record}, worker=worker, token=new_token(), lease_ms=MINUTE, definitions={"echo": DEFINITION}
    )


async def test_a_fork_is_queued_when_it_is_whole_and_goes_on_as_any_run(log: Log) -> None:
    fork = fork_of(new_run_id(), said=SAID, session="own")
    run_id = fork.info.run_id

    async def looked_at() -> AsyncIterator[Sequence[EncodedEntry]]:
        for entry in entries()[:6]:
            assert await log.info(run_id) is None
            assert await claimed_by(log) is None, "nothing can be claimed before it is whole"
            yield [entry]

    assert await log.import_run(fork, looked_at())
    info = await log.info(run_id)
    assert info is not None
    assert info.created == info.updated > 9, "the log's own time"
    assert replace(info, created=5, updated=9) == fork.info
    assert await log.holder("own") == run_id
    claim = await claimed_by(log)
    assert claim is not None
    assert (claim.run_id, claim.epoch, claim.head, claim.session, claim.crashes) == (run_id, 3, 7, "own", 0)
    more = encode_record(CycleStarted(at=8, cycle=9))
    assert (await log.append([Batch(run_id, claim.token, 7, [more])]))[0].stored
    assert [entry.data for entry in (await log.read_encoded(run_id))[:6]] == [entry.data for entry in entries()[:6]]
    last = Batch(run_id, claim.token, 8, [encode_record(RunCompleted(at=9, result={}))])
    assert (await log.finish(RunEnd(last, "completed", "own", SAID))).stored
    assert await log.messages("own") == [*SAID, *SAID]
    assert await claimed_by(log) is None
    if isinstance(log, RedisLog):
        assert faults_of(await log.stored(run_id)) == []


async def test_the_session_of_a_fork_counts_its_messages_without_the_reductions(log: Log) -> None:
    fork = fork_of(new_run_id(), said=[*SAID, marker(Reduction(cut=1)), *SAID], session="own")
    assert await log.import_run(fork, pages(entries()[:6]))
    info = await log.session_info("own")
    assert info is not None
    assert info.messages == 2 * len(SAID)


async def test_a_run_of_a_forks_session_waits_for_the_fork(log: Log) -> None:
    fork = fork_of(new_run_id(), session="own")
    assert await log.import_run(fork, pages(entries()[:6]))
    await log.submit(NewRun("next", "echo", RunSubmitted(at=0, agent="echo", session="own"), "own"))
    claim = await claimed_by(log)
    assert claim is not None
    assert claim.run_id == fork.info.run_id
    assert await claimed_by(log) is None
    assert await log.signal(fork.info.run_id, Signal("s", "cancel")) == "running"
    await log.release(Batch(claim.run_id, claim.token, claim.head, [encode_record(RunHandedOver(at=8, worker="w"))]))
    after = await claimed_by(log)
    assert after is not None
    assert after.run_id == "next"


async def test_a_fork_keeps_its_definitions_though_the_run_it_is_of_goes(log: Log) -> None:
    parent = ended_run(new_run_id(), retention_ms=1)
    assert await log.import_run(parent, pages(entries()))
    fork = fork_of(new_run_id(), said=SAID, session="own")
    assert await log.import_run(fork, pages(entries()[:6]))
    with anyio.fail_after(10):
        while await log.info(parent.info.run_id) is not None:
            await anyio.lowlevel.checkpoint()
    assert await log.stored_definition(fork.info.run_id, DEFINITION.digest) == DEFINITION
    assert await log.messages("own") == SAID
    assert len(await log.read_encoded(fork.info.run_id)) == 6


async def test_of_two_forks_with_one_id_the_second_changes_nothing(log: Log) -> None:
    fork = fork_of(new_run_id())
    assert await log.import_run(fork, pages(entries()[:6]))
    assert not await log.import_run(fork, pages(entries()[:6]))
    assert await claimed_by(log) is not None
    assert not await log.import_run(fork, pages(entries()[:6]))
    assert await claimed_by(log) is None
    assert len(await log.runs()) == 1


def test_a_run_that_has_not_ended_cannot_be_imported() -> None:
    info = ended_run("r").info
    with pytest.raises(
        ValueError, match="only a run that has ended or is queued can be imported, and this one is running"
    ):
        ImportedRun(replace(info, state="running"))
    with pytest.raises(ValueError, match="messages need a session"):
        ImportedRun(info, messages=SAID)


async def test_a_list_is_whole_though_newer_runs_were_removed_before_older_ones(log: Log) -> None:
    order = ["kept-0", *(f"brief-{number}" for number in range(5)), "kept-1"]
    for run_id in order:
        run = ended_run(run_id, retention_ms=MINUTE if run_id.startswith("kept") else 1)
        assert await log.import_run(run, pages(entries()))
    with anyio.fail_after(10):
        while any([await log.info(run_id) for run_id in order[1:-1]]):
            await anyio.lowlevel.checkpoint()
    assert await listed(log, limit=2) == ["kept-1", "kept-0"]
    assert await listed(log, limit=1) == ["kept-1"]
    assert [info.run_id async for page in log.run_pages() for info in page] == ["kept-1", "kept-0"]


async def test_the_index_gives_up_removed_runs_though_older_ones_are_kept(log: Log) -> None:
    if not isinstance(log, RedisLog):
        return
    for number in range(64):
        run = ended_run(f"r-{number}", retention_ms=MINUTE if number < 4 else 1)
        assert await log.import_run(run, pages(entries()))
    with anyio.fail_after(10):
        while await log.info("r-63") is not None:
            await anyio.lowlevel.checkpoint()
    new = 100
    for number in range(new):
        await log.submit(NewRun(f"new-{number}", "other", RunSubmitted(at=0, agent="other")))
    index: Any = await log.client.zrange(log.keys.runs, 0, -1)
    assert len(index) < 4 + new + 30, "each submission looks at some runs of the index, anywhere in it"
    assert await listed(log, limit=1000) == [
        *(f"new-{number}" for number in reversed(range(new))),
        *(f"r-{number}" for number in reversed(range(4))),
    ]
