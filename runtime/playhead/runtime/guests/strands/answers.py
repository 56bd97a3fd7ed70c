"""The responses of humans to what a Strands agent asks."""

from __future__ import annotations

from typing import Any

import anyio

from playhead.runtime.host.guest import Visit

__all__ = ["asked"]


async def asked(visit: Visit, interrupts: list[dict[str, Any]]) -> dict[str, Any]:
    """The responses to all questions of a pause."""
    answers: dict[str, Any] = {}

    async def ask(interrupt: dict[str, Any]) -> None:
        answers[interrupt["id"]] = await visit.recorder.ask(interrupt)

    async with anyio.create_task_group() as tasks:
        for interrupt in interrupts:
            tasks.start_soon(ask, interrupt)
    return {one["id"]: answers[one["id"]] for one in interrupts}
