"""`playhead doctor RUN` prints what is wrong with a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from tests.support.commands import Finished, Fleet

__all__: list[str] = []


def test_doctor_of_a_run_prints_what_is_wrong_with_it(fleet: Fleet, call: Callable[..., Finished]) -> None:
    run_id = call("ask", "absent", "hi", "--detach", "--json", "--url", fleet.url).lines[0]["run"]
    whole = call("doctor", run_id, "--url", fleet.url)
    assert (whole.code, "queued, 1 record, nothing is wrong with it" in whole.out) == (0, True)
    with redis.Redis.from_url(fleet.url) as client:
        client.xadd(f"{{ph:0}}:log:{run_id}", {"r": b"\xc1"}, id="2-0")
    told = call("doctor", run_id, "--json", "--url", fleet.url)
    assert told.code == 1
    assert [line["level"] for line in told.lines] == ["error"]
    assert "entry 2-0 was not written by playhead" in told.lines[0]["text"]
