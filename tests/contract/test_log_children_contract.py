"""The log's contract for children: runs that a run started, which end with it, and claims of one run."""

from __future__ import annotations

import anyio
import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.if_busy import IfHeld
from playhead.runtime.core.records import RunCancelled, RunClaimed, RunCompleted, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd, RunInfo

__all__: list[str] = []

pytestmark = pytest.mark.anyio

MINUTE = 60_000
CLAIMED = encode_record(RunClaimed(at=0, worker="w1"))
ENDED = encode_record(RunCompleted(at=0, result={}))


async def submitted(
    log: Log, agent: str = "writer", *, parent: str | None = None, deadline_ms: int | None = None
) -> str:
    run_id = new_run_id()
    record = RunSubmitted(at=0, agent=agent)
    assert await log.submit(NewRun(run_id, agent, record, deadline_ms=deadline_ms, parent=parent))
    return run_id


async def try_claim(log: Log, agent: str, run_id: str | None = None) -> Claim | None:
    return await log.claim({agent: CLAIMED}, worker="w1", token=new_token(), lease_ms=MINUTE, run_id=run_id)


async def claimed(log: Log, agent: str = "writer", run_id: str | None = None) -> Claim:
    claim = await try_claim(log, agent, run_id)
    assert claim is not None
    return claim


async def family(log: Log, *, deadline_ms: int | None = None) -> tuple[Claim, str]:
    """A parent that has an owner, and its child, which is queued."""
    await submitted(log, deadline_ms=deadline_ms)
    parent = await claimed(log)
    return parent, await submitted(log, "writer.researcher", parent=parent.run_id)


async def complete(log: Log, claim: Claim) -> None:
    end = RunEnd(Batch(claim.run_id, claim.token, claim.head, [ENDED]), "completed")
    assert (await log.finish(end)).stored


async def info(log: Log, run_id: str) -> RunInfo:
    found = await log.info(run_id)
    assert found is not None
    return found


async def test_a_claim_of_one_run_gets_it_whatever_is_before_it(log: Log):
    first, second = await submitted(log), await submitted(log)
    assert (await claimed(log, run_id=second)).run_id == second
    assert (await claimed(log)).run_id == first


async def test_a_claim_of_one_run_gets_none_while_it_is_not_queued(log: Log):
    run_id = await submitted(log)
    await claimed(log)
    await submitted(log)
    assert await try_claim(log, "writer", run_id) is None
    assert await try_claim(log, "writer", "unknown") is None
    assert await try_claim(log, "another", run_id) is None


async def test_a_claim_of_one_run_gets_none_before_the_run_is_due(log: Log):
    await submitted(log)
    claim = await claimed(log)
    await log.release(Batch(claim.run_id, claim.token, claim.head, []), delay_ms=MINUTE)
    assert await try_claim(log, "writer", claim.run_id) is None


async def test_a_child_is_refused_once_its_parent_has_ended(log: Log):
    parent, _ = await family(log)
    await complete(log, parent)
    for above in (parent.run_id, "unknown"):
        assert not await log.submit(NewRun(new_run_id(), "a", RunSubmitted(at=0, agent="a"), parent=above))


async def test_a_child_that_is_sent_twice_is_one(log: Log):
    parent, child = await family(log)
    again = NewRun(child, "writer.researcher", RunSubmitted(at=0, agent="writer.researcher"), parent=parent.run_id)
    assert not await log.submit(again)


async def test_the_end_of_a_run_cancels_its_child_without_an_owner_at_once(log: Log):
    parent, child = await family(log)
    await complete(log, parent)
    assert (await info(log, child)).state == "cancelled"
    assert isinstance((await log.read(child))[-1].record, RunCancelled)


async def test_the_end_of_a_run_reaches_its_childrens_children(log: Log):
    parent, child = await family(log)
    grandchild = await submitted(log, "writer.researcher.reader", parent=child)
    await complete(log, parent)
    assert (await info(log, grandchild)).state == "cancelled"


async def test_the_end_of_a_run_sends_a_cancel_to_the_owner_of_its_child(log: Log):
    parent, child = await family(log)
    await claimed(log, "writer.researcher", child)
    await complete(log, parent)
    assert (await info(log, child)).state == "running"
    assert [signal.kind for signal in await log.inbox(child)] == ["cancel"]


async def test_a_child_whose_owner_does_not_take_the_cancel_in_is_cancelled_when_it_has_none(log: Log):
    parent, child = await family(log)
    owner = await claimed(log, "writer.researcher", child)
    await complete(log, parent)
    await log.release(Batch(child, owner.token, owner.head, []))
    assert (await info(log, child)).state == "cancelled"


async def test_a_child_that_has_ended_stays_as_it_is(log: Log):
    parent, child = await family(log)
    await complete(log, await claimed(log, "writer.researcher", child))
    await complete(log, parent)
    assert (await info(log, child)).state == "completed"


async def test_a_cancel_of_a_queued_run_reaches_its_child(log: Log):
    parent, child = await family(log)
    await log.release(Batch(parent.run_id, parent.token, parent.head, []))
    await log.signal(parent.run_id, Signal("s1", "cancel"))
    assert (await info(log, child)).state == "cancelled"


async def test_a_child_has_the_deadline_of_its_parent(log: Log):
    parent, child = await family(log, deadline_ms=MINUTE)
    assert (await info(log, child)).deadline == (await info(log, parent.run_id)).deadline is not None


async def test_a_passed_deadline_ends_parent_and_child(log: Log):
    parent, child = await family(log, deadline_ms=1)
    await anyio.sleep(0.01)
    await log.reap()
    assert (await info(log, parent.run_id)).state == "failed"
    assert (await info(log, child)).state in ("failed", "cancelled")


async def test_a_child_that_ends_with_its_parent_at_their_deadline_ends_once(log: Log):
    record = RunSubmitted(at=0, agent="writer")
    assert await log.submit(NewRun("0-a", "writer", record, "ada", deadline_ms=1))
    assert await log.submit(NewRun("0-b", "writer", record, "ada", parent="0-a"))
    await anyio.sleep(0.01)
    assert await log.reap() == ["0-a"]
    assert [(await info(log, one)).state for one in ("0-a", "0-b")] == ["failed", "cancelled"]


@pytest.mark.parametrize("if_busy", ["cancel", "reject"])
def test_a_child_can_only_wait_for_its_session(if_busy: IfHeld) -> None:
    record = RunSubmitted(at=0, agent="writer")
    with pytest.raises(ValueError, match="must be 'queue'"):
        NewRun("0-b", "writer", record, "ada", if_busy=if_busy, parent="0-a")


async def test_a_session_whose_new_run_cancels_a_family_comes_before_the_sessions_of_its_children(log: Log):
    record = RunSubmitted(at=0, agent="writer")
    assert await log.store_session("bob", [{"role": "user", "content": [{"text": "Hello"}]}])
    assert await log.submit(NewRun("0-a", "writer", record, "ada"))
    assert await log.submit(NewRun("0-b", "writer", record, "bob", parent="0-a"))
    assert await log.submit(NewRun("0-c", "writer", record, "ada", if_busy="cancel"))
    assert [(await info(log, one)).state for one in ("0-a", "0-b", "0-c")] == ["cancelled", "cancelled", "queued"]
    assert [one.session for one in await log.sessions()] == ["ada", "bob"]
