"""The responses of humans to what a Strands agent asks."""

from __future__ import annotations

from typing import Any

import anyio

from playhead.runtime.host.guest import Visit

__all__ = ["responses_to", "state_of"]


def state_of(visit: Visit) -> dict[str, Any]:
    """A copy of the caller's values for the next invocation: as in Strands those of the call that responds."""
    restated = visit.recorder.restated
    return dict(visit.submitted.invocation_state if restated is None else restated)


async def responses_to(visit: Visit, interrupts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wait for the responses to all questions of a pause. Returns the prompt that passes them to Strands."""
    responses: dict[str, Any] = {}

    async def ask(interrupt: dict[str, Any]) -> None:
        responses[interrupt["id"]] = await visit.recorder.ask(interrupt)

    async with anyio.create_task_group() as tasks:
        for interrupt in interrupts:
            tasks.start_soon(ask, interrupt)
    return [{"interruptResponse": {"interruptId": one["id"], "response": responses[one["id"]]}} for one in interrupts]
