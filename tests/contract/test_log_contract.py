"""What every log backend promises of a run: its ownership, its records and its end."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    RunStateName,
    RunSubmitted,
)
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd, WriteResult, WriteStatus
from tests.contract.contract_calls import (
    AGENT,
    COMPLETED,
    MINUTE,
    after,
    append,
    claimed,
    known,
    owned,
    reaped,
    submitted,
    tick,
    try_claim,
)

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def facts(count: int, *, first: int = 1) -> list[bytes]:
    """`count` records that differ from each other."""
    return [encode_record(CycleStarted(at=0, cycle=first + index)) for index in range(count)]


async def places(log: Log, run_id: str) -> list[tuple[int, int, str]]:
    return [(entry.seq, entry.epoch, entry.record.type) for entry in await log.read(run_id)]


async def cycles(log: Log, run_id: str) -> list[int]:
    records = [entry.record for entry in await log.read(run_id)]
    return [record.cycle for record in records if isinstance(record, CycleStarted)]


# ---------------------------------------------------------------- submit and claim


async def test_a_submitted_run_is_there_with_its_first_record(log: Log) -> None:
    run_id = await submitted(log)
    info = await known(log, run_id)
    assert (info.run_id, info.state, info.agent, info.session) == (run_id, "queued", AGENT, None)
    assert (info.head, info.epoch, info.crashes, info.worker, info.ended) == (1, 0, 0, None, False)
    assert info.created == info.updated > 0
    assert await log.read(run_id) == [Entry(1, 0, RunSubmitted(at=0, agent=AGENT, prompt=run_id))]


async def test_a_second_submit_of_one_id_changes_nothing(log: Log) -> None:
    run_id = await submitted(log)
    before = await known(log, run_id), await log.read(run_id)
    other = RunSubmitted(at=9, agent="other", prompt="something else")
    assert not await log.submit(NewRun(run_id, "other", other, "elsewhere"))
    assert (await known(log, run_id), await log.read(run_id)) == before
    assert (await claimed(log)).run_id == run_id
    assert not await log.submit(NewRun(run_id, AGENT, other))
    assert await try_claim(log, AGENT, "other") is None


async def test_a_claim_makes_the_worker_the_owner(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log, token="t1", worker="w7")
    assert claim == Claim(run_id, "t1", epoch=1, head=2, agent=AGENT, session=None, crashes=0, inbox=0)
    info = await known(log, run_id)
    assert (info.state, info.worker, info.epoch, info.head) == ("running", "w7", 1, 2)
    assert await places(log, run_id) == [(1, 0, "run.submitted"), (2, 1, "run.claimed")]


async def test_a_run_is_claimed_once(log: Log) -> None:
    assert await try_claim(log) is None
    await owned(log)
    assert await try_claim(log) is None


async def test_many_claimers_at_once_share_the_runs_out(log: Log) -> None:
    runs = {await submitted(log) for _ in range(20)}
    claims: list[Claim | None] = []

    async def claim(number: int) -> None:
        claims.append(await try_claim(log, worker=f"w{number}"))

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(claim, number)
    assert sorted(claim.run_id for claim in claims if claim) == sorted(runs)


async def test_claim_sent_twice_is_one_claim(log: Log) -> None:
    await submitted(log)
    await submitted(log)
    first = await claimed(log, token="t1")
    assert await claimed(log, token="t1") == first
    assert len(await log.read(first.run_id)) == 2
    assert (await claimed(log, token="t2")).run_id != first.run_id


async def test_a_claim_repeated_after_its_ownership_takes_nothing(log: Log) -> None:
    first = await owned(log)
    await log.release(after(first))
    assert await try_claim(log, token=first.token) is None
    second = await claimed(log)
    assert await try_claim(log, token=first.token) is None
    await log.finish(RunEnd(after(second, [COMPLETED]), "completed"))
    await submitted(log)
    assert await try_claim(log, token=second.token) is None


async def test_runs_are_claimed_in_the_order_of_their_submission_over_all_agents(log: Log) -> None:
    """Many of them are submitted within one millisecond, and their ids are random."""
    order = [await submitted(log, agent=agent) for agent in "bacbacbbca" * 5]
    assert [(await claimed(log, "a", "b", "c")).run_id for _ in order] == order


async def test_the_index_has_the_runs_in_the_order_of_their_submission(log: Log) -> None:
    order = [await submitted(log) for _ in range(20)]
    assert [info.run_id for info in await log.runs()] == order[::-1]


async def test_a_released_run_goes_to_the_end_of_the_queue(log: Log) -> None:
    order = [await submitted(log) for _ in range(10)]
    first = await claimed(log)
    await log.release(after(first))
    assert [(await claimed(log)).run_id for _ in order] == [*order[1:], order[0]]


async def test_unserved_agents_runs_are_left_alone(log: Log) -> None:
    run_id = await submitted(log, agent="other")
    assert await try_claim(log, AGENT, "more") is None
    assert (await known(log, run_id)).state == "queued"
    assert (await claimed(log, "other")).run_id == run_id


# ---------------------------------------------------------------- append


async def test_appended_records_follow_the_head(log: Log) -> None:
    claim = await owned(log)
    assert await append(log, after(claim, facts(2))) == WriteResult(WriteStatus.OK, head=4)
    assert await append(log, after(claim, facts(1, first=3), head=4)) == WriteResult(WriteStatus.OK, head=5)
    assert await places(log, claim.run_id) == [
        (1, 0, "run.submitted"),
        (2, 1, "run.claimed"),
        *((seq, 1, "cycle.started") for seq in (3, 4, 5)),
    ]
    assert await cycles(log, claim.run_id) == [1, 2, 3]
    assert (await known(log, claim.run_id)).head == 5


async def test_a_fenced_owner_cannot_append(log: Log) -> None:
    old = await owned(log, lease_ms=1)
    assert await reaped(log) == [old.run_id]
    assert (await append(log, after(old, facts(1)))).status is WriteStatus.FENCED
    assert (await log.release(after(old))).status is WriteStatus.FENCED
    assert (await log.finish(RunEnd(after(old), "completed"))).status is WriteStatus.FENCED
    new = await claimed(log)
    assert (new.run_id, new.epoch, new.head, new.crashes) == (old.run_id, 2, 3, 1)
    for head in (old.head, new.head):
        assert (await append(log, after(old, facts(1), head=head))).status is WriteStatus.FENCED
        assert (await log.release(after(old, facts(1), head=head))).status is WriteStatus.FENCED
        assert (await log.finish(RunEnd(after(old, [COMPLETED], head=head), "completed"))).status is WriteStatus.FENCED
    assert [epoch for _, epoch, _ in await places(log, old.run_id)] == [0, 1, 2]
    assert (await append(log, after(new, facts(1)))).status is WriteStatus.OK


async def test_a_run_without_an_owner_takes_no_records(log: Log) -> None:
    run_id = await submitted(log)
    for token in ("", "t1"):
        assert (await append(log, Batch(run_id, token, 1, facts(1)))).status is WriteStatus.FENCED
    assert len(await log.read(run_id)) == 1


async def test_a_batch_sent_again_because_its_reply_was_lost_gives_dup(log: Log) -> None:
    claim = await owned(log)
    batch = after(claim, facts(3))
    assert await append(log, batch) == WriteResult(WriteStatus.OK, head=5)
    again = await append(log, batch)
    assert (again, again.stored) == (WriteResult(WriteStatus.DUP, head=5), True)
    assert await cycles(log, claim.run_id) == [1, 2, 3]


@pytest.mark.parametrize(("head", "count"), [(1, 2), (3, 1), (99, 1), (99, 0), (0, 1)])
async def test_a_batch_after_another_head_is_a_conflict(log: Log, head: int, count: int) -> None:
    claim = await owned(log)
    assert await append(log, after(claim, facts(count), head=head)) == WriteResult(WriteStatus.CONFLICT, head=2)
    assert len(await log.read(claim.run_id)) == 2


async def test_a_batch_for_an_unknown_run_gives_gone(log: Log) -> None:
    batch = Batch(new_run_id(), "t1", 1, facts(1))
    assert await append(log, batch) == WriteResult(WriteStatus.GONE)
    assert (await log.release(batch)).status is WriteStatus.GONE
    assert (await log.finish(RunEnd(batch, "completed"))).status is WriteStatus.GONE
    assert (await log.info(batch.run_id), await log.read(batch.run_id)) == (None, [])


async def test_each_batch_lands_whole_or_not_at_all(log: Log) -> None:
    claims = [await owned(log) for _ in range(5)]
    batches = [
        after(claims[0], facts(3)),
        after(claims[1], facts(3), head=7),
        Batch(claims[2].run_id, "not its token", 2, facts(3)),
        Batch(new_run_id(), "t1", 2, facts(3)),
        after(claims[3], facts(2)),
        after(claims[4]),
    ]
    results = await log.append(batches)
    codes = [WriteStatus.OK, WriteStatus.CONFLICT, WriteStatus.FENCED, WriteStatus.GONE, WriteStatus.OK, WriteStatus.OK]
    assert [result.status for result in results] == codes
    assert [len(await log.read(claim.run_id)) for claim in claims] == [5, 2, 2, 4, 2]


async def test_one_call_appends_to_many_runs(log: Log) -> None:
    claims = [await owned(log) for _ in range(130)]
    results = await log.append([after(claim, facts(1, first=i)) for i, claim in enumerate(claims)])
    assert results == [WriteResult(WriteStatus.OK, head=3)] * len(claims)
    assert [await cycles(log, claim.run_id) for claim in claims] == [[i] for i in range(len(claims))]


async def test_records_are_dense_over_takeovers(log: Log) -> None:
    run_id = await submitted(log)
    for epoch in range(1, 7):
        claim = await claimed(log, lease_ms=1 if epoch % 2 else MINUTE)
        assert (claim.run_id, claim.epoch) == (run_id, epoch)
        assert (await append(log, after(claim, facts(epoch)))).stored
        if epoch % 2:
            await reaped(log)
        else:
            assert (await log.release(after(claim, facts(1), head=claim.head + epoch))).stored
    entries = await log.read(run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.epoch for entry in entries] == sorted(entry.epoch for entry in entries)
    assert (await known(log, run_id)).head == len(entries) == 1 + 6 + (1 + 2 + 3 + 4 + 5 + 6) + 3


# ---------------------------------------------------------------- leases


async def test_a_renewed_lease_outlives_the_first_one(log: Log) -> None:
    claim = await owned(log, lease_ms=1)
    (renewal,) = await log.renew([(claim.run_id, claim.token)], lease_ms=MINUTE)
    assert renewal.ours
    await tick(log)
    await tick(log)
    assert await log.reap() == []
    assert (await append(log, after(claim, facts(1)))).stored


async def test_the_lease_of_a_claim_sent_again_counts_from_then(log: Log) -> None:
    """Its worker cannot know when the server took the run: while the first try was on its way, or only now."""
    await submitted(log)
    first = await claimed(log, token="sent again", lease_ms=1)
    assert await claimed(log, token="sent again") == first
    await tick(log)
    await tick(log)
    assert await log.reap() == []
    assert (await append(log, after(first, facts(1)))).stored


async def test_a_renewed_lease_counts_from_its_renewal(log: Log) -> None:
    claim = await owned(log)
    await log.renew([(claim.run_id, claim.token)], lease_ms=1)
    assert await reaped(log) == [claim.run_id]


async def test_a_late_renewal_never_steals_a_run_back(log: Log) -> None:
    old = await owned(log, lease_ms=1)
    await reaped(log)
    pair = (old.run_id, old.token)
    assert [renewal.ours for renewal in await log.renew([pair], lease_ms=MINUTE)] == [False]
    new = await claimed(log, lease_ms=1)
    pairs = [pair, (new_run_id(), "t1"), (new.run_id, "not its token")]
    assert [renewal.ours for renewal in await log.renew(pairs, lease_ms=MINUTE)] == [False] * 3
    assert await reaped(log) == [new.run_id]
    assert await log.renew([], lease_ms=MINUTE) == []


async def test_the_reaper_queues_a_dead_owners_run_again(log: Log) -> None:
    claim = await owned(log, lease_ms=1)
    assert await reaped(log) == [claim.run_id]
    info = await known(log, claim.run_id)
    assert (info.state, info.crashes, info.worker, info.head) == ("queued", 1, None, 2)
    assert await log.reap() == []
    assert (await claimed(log)).run_id == claim.run_id


async def test_the_reaper_takes_the_longest_dead_first_and_no_more_than_asked(log: Log) -> None:
    live = await owned(log)
    dead: list[str] = []
    for _ in range(3):
        dead.append((await owned(log, lease_ms=1)).run_id)
        await tick(log)
    await tick(log)
    assert [await log.reap(limit=limit) for limit in (1, 2, 2)] == [dead[:1], dead[1:], []]
    assert (await known(log, live.run_id)).state == "running"


async def test_release_is_not_a_crash(log: Log) -> None:
    claim = await owned(log)
    assert await log.release(after(claim, facts(1))) == WriteResult(WriteStatus.OK, head=3)
    info = await known(log, claim.run_id)
    assert (info.state, info.crashes, info.worker, info.head) == ("queued", 0, None, 3)
    assert (await append(log, after(claim, facts(1), head=3))).status is WriteStatus.FENCED
    assert [renewal.ours for renewal in await log.renew([(claim.run_id, claim.token)], lease_ms=1)] == [False]
    again = await claimed(log, worker="w2")
    assert (again.run_id, again.epoch, again.head, again.crashes) == (claim.run_id, 2, 4, 0)
    assert (await log.release(after(claim, facts(1)))).status is WriteStatus.DUP, "a repeat gets the first call's reply"
    assert (await log.release(after(claim, facts(2)))).status is WriteStatus.FENCED
    assert (await known(log, claim.run_id)).worker == "w2"


async def test_a_released_run_has_no_lease_to_reap(log: Log) -> None:
    claim = await owned(log, lease_ms=1)
    await log.release(after(claim))
    await tick(log)
    await tick(log)
    assert await log.reap() == []


async def test_a_release_after_another_head_releases_nothing(log: Log) -> None:
    claim = await owned(log)
    await append(log, after(claim, facts(2)))
    for head, count in ((2, 2), (2, 1), (9, 1)):  # the first would repeat a lost append; it is not a release
        assert (await log.release(after(claim, facts(count), head=head))).status is WriteStatus.CONFLICT
    assert ((await known(log, claim.run_id)).state, await cycles(log, claim.run_id)) == ("running", [1, 2])


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
async def test_a_finished_run_is_ended_with_its_last_records(log: Log, state: RunStateName) -> None:
    claim = await owned(log, lease_ms=1)
    assert await log.finish(RunEnd(after(claim, [*facts(1), COMPLETED]), state)) == WriteResult(WriteStatus.OK, head=4)
    info = await known(log, claim.run_id)
    assert (info.state, info.head, info.ended) == (state, 4, True)
    await tick(log)
    await tick(log)
    assert (await log.reap(), await try_claim(log)) == ([], None)
    assert (await append(log, after(claim, facts(1), head=4))).status is WriteStatus.FENCED
    assert (await log.release(after(claim, facts(1), head=4))).status is WriteStatus.FENCED
    assert len(await log.read(claim.run_id)) == 4


async def test_a_finish_sent_twice_gives_dup(log: Log) -> None:
    claim = await owned(log)
    end = RunEnd(after(claim, [COMPLETED]), "completed")
    assert (await log.finish(end)).status is WriteStatus.OK
    assert await log.finish(end) == WriteResult(WriteStatus.DUP, head=3)
    assert (await log.finish(RunEnd(end.batch, "failed"))).status is WriteStatus.FENCED
    assert (await known(log, claim.run_id)).state == "completed"


async def test_a_finish_after_another_head_ends_nothing(log: Log) -> None:
    claim = await owned(log)
    await append(log, after(claim, facts(1)))
    for head in (2, 9):
        assert (
            await log.finish(RunEnd(after(claim, [COMPLETED], head=head), "completed"))
        ).status is WriteStatus.CONFLICT
    assert ((await known(log, claim.run_id)).state, len(await log.read(claim.run_id))) == ("running", 3)


async def test_finished_run_has_a_ttl(log: Log) -> None:
    kept = await owned(log)
    await log.finish(RunEnd(after(kept, [COMPLETED]), "completed"))
    claim = await owned(log)
    await log.finish(RunEnd(after(claim, [COMPLETED]), "completed", retention_ms=1))
    with anyio.fail_after(10):
        while await log.info(claim.run_id) is not None:
            await anyio.lowlevel.checkpoint()
    assert (await log.read(claim.run_id), await log.read_back(claim.run_id, before=9)) == ([], [])
    assert [info.run_id for info in await log.runs()] == [kept.run_id]
    assert (await append(log, after(claim, facts(1)))).status is WriteStatus.GONE
    await submitted(log, claim.run_id)
    assert await places(log, claim.run_id) == [(1, 0, "run.submitted")]


async def test_a_run_failed_by_the_reaper_has_a_ttl(log: Log) -> None:
    run = NewRun(new_run_id(), AGENT, RunSubmitted(at=1, agent=AGENT), deadline_ms=1)
    await log.submit(run)
    claim = await claimed(log, retention_ms=1)
    with anyio.fail_after(10):
        while not await log.reap():
            await anyio.lowlevel.checkpoint()
        while await log.runs():
            await anyio.lowlevel.checkpoint()
    assert (await log.info(claim.run_id), await log.read(claim.run_id)) == (None, [])
