"""What every log backend promises of the agent's state in a session: it changes with the end of a run, and goes with the session."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, EncodedEntry, ImportedRun, NewRun, RunEnd, RunInfo, WriteStatus

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AGENT = "echo"
CLAIMED = encode_record(RunClaimed(at=1, worker="w"))
FACT = encode_record(CycleStarted(at=2, cycle=1))
SAID: Message = {"role": "user", "content": [{"text": "Hi"}]}
STATE: dict[str, Any] = {"count": 2**70, "name": "na\u00efve \ud83d", "list": [1.5, None, {"a": True}]}


async def claimed(log: Log, session: str = "ada") -> Claim:
    run_id = new_run_id()
    assert await log.submit(NewRun(run_id, AGENT, RunSubmitted(at=0, agent=AGENT), session))
    claim = await log.claim({AGENT: CLAIMED}, worker="w", token=new_token(), lease_ms=60_000)
    assert claim is not None
    return claim


def end(claim: Claim, state: dict[str, Any] | None, *, ends: Any = "completed") -> RunEnd:
    batch = Batch(claim.run_id, claim.token, claim.head, [FACT])
    return RunEnd(batch, ends, claim.session, [SAID], agent_state=state)


@pytest.mark.parametrize("ends", ["completed", "failed", "cancelled"])
async def test_a_session_has_the_state_that_the_last_run_left(log: Log, ends: Any) -> None:
    assert await log.agent_state("ada") == {}
    assert (await log.stored_messages("ada")).agent_state is None
    await log.finish(end(await claimed(log), STATE, ends=ends))
    assert await log.agent_state("ada") == (await log.stored_messages("ada")).agent_state == STATE
    await log.finish(end(await claimed(log), None))
    assert await log.agent_state("ada") == STATE, "a run that had none"
    await log.finish(end(await claimed(log), {}))
    assert (await log.stored_messages("ada")).agent_state == {}, "a run that deleted everything"


async def test_a_run_that_a_former_owner_or_no_owner_ends_leaves_the_state_as_it_was(log: Log) -> None:
    await log.finish(end(await claimed(log), {"count": 1}))
    claim = await claimed(log)
    await log.release(Batch(claim.run_id, claim.token, claim.head, [FACT]))
    late = await log.finish(end(claim, {"count": 2}))
    assert late.status is WriteStatus.FENCED
    assert await log.signal(claim.run_id, Signal("c", "cancel")) == "cancelled"
    assert await log.agent_state("ada") == {"count": 1}


async def test_the_state_stays_when_a_session_is_trimmed_and_goes_when_it_is_deleted(log: Log) -> None:
    for _ in range(2):
        await log.finish(end(await claimed(log), STATE))
    assert await log.cut_session("ada", upto=1)
    assert await log.agent_state("ada") == STATE
    assert await log.cut_session("ada", upto=None)
    assert (await log.stored_messages("ada")).agent_state is None


async def test_a_copied_session_has_the_state_that_it_is_made_with(log: Log) -> None:
    assert await log.store_session("copy", [SAID], agent_state=STATE)
    assert await log.store_session("other", [SAID])
    assert not await log.store_session("copy", [SAID], agent_state={})
    assert await log.agent_state("copy") == STATE
    assert (await log.stored_messages("other")).agent_state is None


async def test_a_fork_holds_a_session_with_the_state_that_its_parent_began_from(log: Log) -> None:
    run_id = new_run_id()
    info = RunInfo(run_id, "queued", AGENT, "forked", 1, 0, crashes=0, created=1, updated=1)

    async def records() -> AsyncGenerator[list[EncodedEntry], None]:
        yield [EncodedEntry(1, 0, encode_record(RunSubmitted(at=0, agent=AGENT)))]

    assert await log.import_run(ImportedRun(info, messages=[SAID], agent_state=STATE), records())
    assert (await log.holder("forked"), await log.agent_state("forked")) == (run_id, STATE)
