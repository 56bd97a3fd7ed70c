"""Another program wrote to a run's key: that run is reported as damaged, and the queue goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.values import NewRun, RunInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from playhead.runtime.log.redis.log import RedisLog
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("damage", ["a higher id", "another type"])
async def test_a_run_whose_log_takes_no_record_does_not_stop_the_queue(
    fleet: Fleet, no_key_leaks: Callable[[], list[str]], damage: str
) -> None:
    log = fleet.log()
    try:
        ids = [new_run_id() for _ in range(3)]
        for run_id in ids:
            await log.submit(
                NewRun(run_id, "agent", RunSubmitted(at=1, agent="agent"), "ada" if run_id in ids[:2] else None)
            )
        if damage == "a higher id":
            await fleet.ask("XADD", log.keys.log(ids[0]), "99-0", "message", "hello")
        else:
            await fleet.ask("SET", log.keys.log(ids[0]), "hello")
        claims = [await log.claim({"agent": b"\x80"}, worker="w", token=new_token(), lease_ms=60_000) for _ in range(3)]
        assert {claim.run_id for claim in claims if claim} == set(ids[1:]), "its session is passed on, too"
        info = await log.info(ids[0])
        assert info is not None
        assert info.state == "failed"
        with pytest.raises(PlayheadError):
            await log.read(ids[0])
    finally:
        await log.aclose()
    assert no_key_leaks() == []


async def test_a_run_whose_log_another_program_began_is_not_submitted(fleet: Fleet) -> None:
    """Half a run would be taken for one that was submitted already, and be there for ever."""
    log = fleet.log()
    try:
        new = NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent"), "ada", 60_000)
        await fleet.ask("XADD", log.keys.log(new.run_id), "99-0", "message", "hello")
        for _ in range(2):
            with pytest.raises(PlayheadError, match="refused"):
                await log.submit(new)
        assert await log.info(new.run_id) is None
        assert await log.holder("ada") is None
        assert await fleet.ask("KEYS", f"{log.keys.root}*") == [log.keys.log(new.run_id).encode()]
    finally:
        await log.aclose()


async def ended(log: RedisLog, run_id: str) -> RunInfo:
    """The run, once `reap` has dealt with it: its time, of a millisecond, is over by the server's clock."""
    with anyio.fail_after(10):
        while True:
            await log.reap()
            info = await log.info(run_id)
            assert info is not None
            if info.ended:
                return info


@pytest.mark.parametrize("end", ["a deadline", "a dead owner and a cancel", "a cancel"])
async def test_a_run_whose_log_takes_no_record_ends_and_frees_its_session(
    fleet: Fleet, no_key_leaks: Callable[[], list[str]], end: str
) -> None:
    log = fleet.log()
    try:
        run_id, next_id = new_run_id(), new_run_id()
        deadline_ms = 1 if end == "a deadline" else None
        submitted = RunSubmitted(at=1, agent="agent")
        await log.submit(NewRun(run_id, "agent", submitted, "ada", deadline_ms))
        await log.submit(NewRun(next_id, "agent", submitted, "ada"))
        if "owner" in end:
            await log.claim({"agent": b"\x80"}, worker="w", token=new_token(), lease_ms=1)
        await fleet.ask("XADD", log.keys.log(run_id), "99-0", "message", "hello")
        if "cancel" in end:
            await log.signal(run_id, Signal("s", "cancel"))
        assert (await ended(log, run_id)).state == ("cancelled" if "cancel" in end else "failed")
        claim = await log.claim({"agent": b"\x80"}, worker="w", token=new_token(), lease_ms=60_000)
        assert claim is not None
        assert claim.run_id == next_id
    finally:
        await log.aclose()
    assert no_key_leaks() == []
