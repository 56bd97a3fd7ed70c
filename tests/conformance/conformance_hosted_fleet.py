"""One worker that serves the Strands agents of many scenarios as guests.

Where a scenario's consumer cancels after the n-th event of a kind, the run is held at the record that gives that event until the
cancel has arrived, as in `conformance_serving`. A guest is in a thread, and ahead of what is stored: so here it waits
before each record until all records before it are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import anyio

from playhead.client import Client
from playhead.runtime.core.events import Projection
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import record_of
from playhead.runtime.host import host
from playhead.runtime.host.guest import Guest
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.loop.control import breaking_off
from playhead.runtime.loop.runner import Opening
from playhead.runtime.loop.spec import Flush, LoopOutput
from tests.conformance.conformance_agents import Request
from tests.conformance.conformance_hosted import HostedStage
from tests.conformance.conformance_scenarios import Scenario
from tests.support.fleet import Fleet

__all__ = ["HostedFleet", "guests_keep_step"]

Rule = Callable[[], dict[str, Any] | None]


@contextmanager
def guests_keep_step() -> Generator[None]:
    """Let each guest wait before a record until the records before it are stored."""

    with patch.object(Recorder, "crowded", new=True), patch.object(Recorder, "space", Recorder.stored):
        yield


class HostedFleet:
    """A worker and a client, and what the agents of the scenarios were asked.

    Attributes:
        stages: By the ids of the scenarios.
    """

    def __init__(self, client: Client, stages: dict[str, HostedStage]) -> None:
        self.stages = stages
        self._client = client
        self._rules: dict[str, Rule] = {}

    def rule(self, agent: str) -> dict[str, Any] | None:
        """After what the consumer of that scenario cancels now."""
        rule = self._rules.get(agent)
        return rule() if rule is not None else None

    @classmethod
    @asynccontextmanager
    async def of(cls, fleet: Fleet, scenarios: Sequence[Scenario]) -> AsyncGenerator[HostedFleet]:
        """Serve the agents of the scenarios during the block."""
        stages = {scenario["id"]: HostedStage(scenario) for scenario in scenarios}
        async with fleet.worker(*(stage.guest for stage in stages.values())), fleet.client() as client:
            hosted = cls(client, stages)
            with patch.object(host, "Host", _holding(hosted)), guests_keep_step():
                yield hosted

    @asynccontextmanager
    async def serving(
        self, scenario: Scenario, fleet: Fleet, *, note: Callable[[Request], None], cancels: Rule
    ) -> AsyncGenerator[Client]:
        """As `conformance_serving.serving`; `note` is not called, because the stage keeps what the agent is asked."""
        del fleet, note
        self._rules[scenario["id"]] = cancels
        yield self._client


def _holding(fleet: HostedFleet) -> type[host.Host]:
    """A host that waits, where the turn's consumer cancels, for that cancel; else as the real one."""

    class HoldingHost(host.Host):
        def __init__(self, guest: Guest, opening: Opening) -> None:
            super().__init__(guest, opening)
            self.name, self.opening = guest.name, opening

        async def records(self) -> AsyncGenerator[LoopOutput, None]:
            rule = fleet.rule(self.name)
            projection = Projection(self.opening.run_id)
            left: int = rule["count"] if rule else 0
            async with aclosing(super().records()) as items:
                async for item in items:
                    yield item
                    if rule and left > 0 and not isinstance(item, Flush):
                        events = projection.feed(Entry(self.head, self.opening.epoch, record_of(item)))
                        left -= sum(rule["key"] in event for event in events)
                        if left <= 0:
                            async with breaking_off(self.opening.control):
                                await anyio.sleep_forever()

    return HoldingHost
