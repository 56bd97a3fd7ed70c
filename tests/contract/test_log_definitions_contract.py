"""An agent's definition is stored once for all runs that name it, from the first claim until the last of them is gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import RunClaimed, RunCompleted, RunHandedOver, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd

__all__: list[str] = []

pytestmark = pytest.mark.anyio

MINUTE = 60_000
CLAIMED = encode_record(RunClaimed(at=1, worker="w"))
COMPLETED = encode_record(RunCompleted(at=2, result={}))
HANDED_OVER = encode_record(RunHandedOver(at=2, worker="w"))
ECHO = AgentDefinition("echo", {"model_id": "m"}, "Be brief.", [], messages=[{"role": "user", "content": []}])
NEW_ECHO = AgentDefinition("echo", {"model_id": "m"}, "Be verbose.", [])


async def submitted(log: Log, *, agent: str = "echo") -> str:
    run_id = new_run_id()
    await log.submit(NewRun(run_id, agent, RunSubmitted(at=0, agent=agent)))
    return run_id


async def claimed(log: Log, *defined: AgentDefinition, lease_ms: int = MINUTE) -> Claim:
    """Claim the next run of the defined agents."""
    definitions = {one.agent: one.stored() for one in defined}
    agents = dict.fromkeys(definitions, CLAIMED)
    claim = await log.claim(agents, worker="w", token=new_token(), lease_ms=lease_ms, definitions=definitions)
    assert claim is not None
    return claim


async def ended(log: Log, claim: Claim, *, retention_ms: int = MINUTE) -> None:
    batch = Batch(claim.run_id, claim.token, claim.head, [COMPLETED])
    assert (await log.finish(RunEnd(batch, "completed", retention_ms=retention_ms))).stored


async def gone(look: Callable[[], Awaitable[object]]) -> None:
    with anyio.fail_after(10):
        while await look() is not None:  # noqa: ASYNC110 - a log gives no signal of it
            await anyio.sleep(0.005)


async def kept(log: Log, run_id: str, definition: AgentDefinition) -> AgentDefinition | None:
    return await log.definition(run_id, definition.stored().digest)


async def test_a_claim_stores_the_definition_that_its_record_names(log: Log) -> None:
    run_id = await submitted(log)
    assert await kept(log, run_id, ECHO) is None
    await claimed(log, ECHO)
    assert await kept(log, run_id, ECHO) == ECHO
    assert await kept(log, run_id, NEW_ECHO) is None


async def test_a_claim_for_several_agents_stores_only_the_definition_of_the_claimed_run(log: Log) -> None:
    other = AgentDefinition("other", {"model_id": "o"})
    run_id, next_id = await submitted(log), await submitted(log, agent="other")
    assert (await claimed(log, other, ECHO)).run_id == run_id
    assert (await kept(log, run_id, ECHO), await kept(log, run_id, other)) == (ECHO, None)
    assert (await claimed(log, other, ECHO)).run_id == next_id
    assert await kept(log, next_id, other) == other


async def test_a_definition_stays_as_long_as_the_run_that_is_kept_longest(log: Log) -> None:
    for _ in range(3):
        await submitted(log)
    brief, long, live = [await claimed(log, ECHO) for _ in range(3)]
    await ended(log, long, retention_ms=1500)
    await ended(log, brief, retention_ms=1)
    await gone(lambda: log.info(brief.run_id))
    assert await kept(log, live.run_id, ECHO) == ECHO, "two runs name it"
    await ended(log, live, retention_ms=1)
    await gone(lambda: log.info(live.run_id))
    # On a slow machine the retention of the run that is kept longest may be over by now.
    assert await kept(log, long.run_id, ECHO) == ECHO or await log.info(long.run_id) is None, "an ended run names it"
    await gone(lambda: log.info(long.run_id))
    await gone(lambda: kept(log, long.run_id, ECHO))


async def test_a_definition_that_is_gone_is_stored_again_by_the_next_claim(log: Log) -> None:
    await submitted(log)
    await ended(log, await claimed(log, ECHO), retention_ms=1)
    run_id = await submitted(log)
    await gone(lambda: kept(log, run_id, ECHO))
    await claimed(log, ECHO)
    assert await kept(log, run_id, ECHO) == ECHO


async def test_a_definition_that_was_to_go_stays_when_another_run_names_it(log: Log) -> None:
    await submitted(log)
    await ended(log, await claimed(log, ECHO), retention_ms=100)
    run_id = await submitted(log)
    claim = await claimed(log, ECHO)
    await ended(log, claim, retention_ms=MINUTE)
    timer = await submitted(log, agent="timer")
    await ended(log, await claimed(log, AgentDefinition("timer", {})), retention_ms=200)
    await gone(lambda: log.info(timer))
    assert await kept(log, run_id, ECHO) == ECHO


async def test_a_run_keeps_the_definitions_of_all_its_owners(log: Log) -> None:
    run_id = await submitted(log)
    first = await claimed(log, ECHO)
    await log.release(Batch(run_id, first.token, first.head, [HANDED_OVER]))
    second = await claimed(log, NEW_ECHO)
    await log.release(Batch(run_id, second.token, second.head, [HANDED_OVER]))
    third = await claimed(log, ECHO)
    assert (await kept(log, run_id, ECHO), await kept(log, run_id, NEW_ECHO)) == (ECHO, NEW_ECHO)
    await ended(log, third, retention_ms=1)
    for one in (ECHO, NEW_ECHO):
        await gone(lambda one=one: kept(log, run_id, one))


async def test_a_run_that_ends_without_an_owner_keeps_its_definition_no_longer(log: Log) -> None:
    run_id = await submitted(log)
    definitions = {"echo": ECHO.stored()}
    claim = await log.claim(
        {"echo": CLAIMED}, worker="w", token="t", lease_ms=MINUTE, retention_ms=1, definitions=definitions
    )
    assert claim is not None
    await log.release(Batch(run_id, claim.token, claim.head, [HANDED_OVER]))
    assert await log.signal(run_id, Signal("s", "cancel")) == "cancelled"
    await gone(lambda: kept(log, run_id, ECHO))


async def test_a_claim_sent_twice_counts_once(log: Log) -> None:
    run_id = await submitted(log)
    terms: dict[str, Any] = {"worker": "w", "token": "t", "lease_ms": MINUTE, "definitions": {"echo": ECHO.stored()}}
    first, again = [await log.claim({"echo": CLAIMED}, **terms) for _ in range(2)]
    assert first is not None
    assert again == first
    await ended(log, first, retention_ms=1)
    await gone(lambda: kept(log, run_id, ECHO))


async def test_a_run_is_claimed_and_ends_though_another_program_wrote_to_the_key_of_its_definition(log: Log) -> None:
    if not isinstance(log, RedisLog):
        pytest.skip("a log in this process has no keys")
    run_id = await submitted(log)
    await log.client.set(log.keys.definition(ECHO.stored().digest), "not ours")
    claim = await claimed(log, ECHO)
    await ended(log, claim)
    info = await log.info(run_id)
    assert info is not None
    assert (info.state, info.head) == ("completed", 3)


def test_equal_definitions_have_one_digest_and_each_difference_another() -> None:
    differing = [
        replace(ECHO, agent="other"),
        replace(ECHO, model={"model_id": "n"}),
        replace(ECHO, messages=[]),
        NEW_ECHO,
    ]
    same = AgentDefinition.of(ECHO.stored().data)
    assert (same, same.stored()) == (ECHO, ECHO.stored())
    digests = {one.stored().digest for one in [ECHO, *differing]}
    assert len(digests) == 5
    assert all(len(digest) == 32 for digest in digests)


def test_what_a_newer_version_adds_to_a_definition_is_left_out() -> None:
    newer = StoredDefinition("d", ECHO.stored().data.replace(b"\x88", b"\x89", 1) + b"\xa5added\x01")
    assert AgentDefinition.of(newer.data) == ECHO
