"""Somebody else wrote to a run's key: that run is set aside, and the line goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.runtime.errors import PlayheadError
from playhead.runtime.log import NewRun, new_run_id, new_token
from playhead.runtime.records import RunSubmitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("damage", ["a higher id", "another type"])
async def test_a_run_whose_log_takes_no_record_does_not_stop_the_line(
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
