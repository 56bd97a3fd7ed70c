"""A fleet that serves the agent of one scenario.

Where a scenario's consumer cancels after the n-th event of a kind, the worker holds the run at the record that gives
that event until the cancel has arrived. In process the consumer's iteration is what drives the loop; here a scripted
model would be done long before a cancel could come back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from unittest.mock import patch

import anyio

from playhead.client import Client
from playhead.runtime.agent import serving as serving_agents
from playhead.runtime.core.events import Projection
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import record_of
from playhead.runtime.loop.control import breaking_off
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import AgentSpec, Flush, LoopOutput
from tests.conformance.conformance_agents import Request, build_agent
from tests.conformance.conformance_scenarios import Scenario
from tests.support.fleet import Fleet

__all__ = ["serving"]


@asynccontextmanager
async def serving(
    scenario: Scenario, fleet: Fleet, *, note: Callable[[Request], None], cancels: Callable[[], dict[str, Any] | None]
) -> AsyncGenerator[Client]:
    """A worker that serves the scenario's agent during the block, and a client of it.

    Args:
        note: Called with each request to the scenario's model.
        cancels: After what the consumer of the current turn cancels.

    Raises:
        NotImplementedError: The agent needs what playhead does not have.
    """
    agent = build_agent(scenario, note=note)
    with patch.object(serving_agents, "Loop", _holding_loop(cancels)):
        async with fleet.worker(agent), fleet.client() as client:
            yield client


def _holding_loop(cancels: Callable[[], dict[str, Any] | None]) -> type[Loop]:
    """A loop that waits, where the turn's consumer cancels, for that cancel; else as the real one."""

    class HoldingLoop(Loop):
        def __init__(self, spec: AgentSpec, **options: Any) -> None:
            super().__init__(spec, **options)
            self._rule = cancels()

        async def records(self) -> AsyncGenerator[LoopOutput, None]:
            projection = Projection(self.run_id)
            left: int = self._rule["count"] if self._rule else 0
            async with aclosing(super().records()) as items:
                async for item in items:
                    yield item
                    if self._rule and left > 0 and not isinstance(item, Flush):
                        events = projection.feed(Entry(self.head, self.epoch, record_of(item)))
                        left -= sum(self._rule["key"] in event for event in events)
                        if left <= 0:
                            async with breaking_off(self.control):
                                await anyio.sleep_forever()

    return HoldingLoop
