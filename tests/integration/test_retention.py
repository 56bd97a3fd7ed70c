"""Runs are kept as long as the rules say for their agent and their end, whether their worker ends them or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.runtime import Agent
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.models import ScriptedCall, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from playhead.client import Run
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HOUR = 3_600_000
RULES = {"*:failed": 30 * HOUR, "support:*": 2 * HOUR, "support:failed": 90 * HOUR, "support:cancelled": 5 * HOUR}


async def hours_left(fleet: Fleet, run: Run) -> int:
    """Until the run is removed; its log goes with it."""
    keys = fleet.log().keys
    left = {await fleet.ask("PTTL", key) for key in (keys.run(run.id), keys.log(run.id))}
    (hours,) = {-(-ms // HOUR) for ms in left}
    return hours


async def test_a_run_is_kept_as_its_agent_and_its_end_say(fleet: Fleet) -> None:
    scripts = ["Hello.", ScriptedCall(error=ValueError("no"))]
    agents = [Agent(ScriptedModel(scripts), name=name, callback_handler=None) for name in ("support", "sales")]
    async with fleet.worker(*agents, retention_ms=HOUR, retention=RULES) as worker, fleet.client() as client:
        for name, completed, failed in (("support", 2, 90), ("sales", 1, 30)):
            run = await client.start(name, "Hi")
            await run.result()
            assert await hours_left(fleet, run) == completed
            run = await client.start(name, "Hi")
            with pytest.raises(RunFailedError):
                await run.result()
            assert await hours_left(fleet, run) == failed
        await fleet.ended(worker, completed=2, failed=2)


async def test_a_run_that_is_ended_without_its_worker_is_kept_as_its_agent_says(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    models = {name: held_model(["one"], []) for name in ("support", "sales")}
    agents = [Agent(model, name=name, callback_handler=None) for name, model in models.items()]
    async with fleet.client() as client:
        async with fleet.worker(*agents, retention_ms=HOUR, retention=RULES):
            runs = [await client.start(name, "Hi") for name in models]
            for model in models.values():
                await model.held.wait()
        assert [await run.cancel() for run in runs] == ["cancelled", "cancelled"]
        assert [await hours_left(fleet, run) for run in runs] == [90, 30]
        never_claimed = await client.start("support", "Hi")
        await never_claimed.cancel()
        assert await hours_left(fleet, never_claimed) == 7 * 24
