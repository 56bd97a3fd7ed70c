"""`verify` on runs of real workers: in Redis, in a file, and imported under another id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from playhead.client import open_log
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def pay(amount: int, context: ToolContext) -> str:
    """Pay."""
    return f"{amount}: {context.interrupt('approve', 'May I?')}"


def answer(messages: Messages) -> Any:
    results = any("toolResult" in block for message in messages[-2:] for block in message.get("content", []))
    return "Done." if results else tool_call("pay", {"amount": 5}, f"t{len(messages)}")


def payer(**changes: Any) -> Agent:
    options: dict[str, Any] = {"name": "payer", "tools": [pay], "system_prompt": "Be brief.", "callback_handler": None}
    options["model"] = ScriptedModel([answer], repeat=True)
    return Agent(**(options | changes))


async def test_a_run_of_a_session_with_a_pause_a_steer_and_a_handover_verifies_in_every_place(
    fleet: Fleet, held_model: Callable[..., HeldModel], tmp_path: Path
) -> None:
    held, path = held_model(["one", " two"], [" three"]), tmp_path / "run.jsonl"
    async with fleet.client() as client:
        async with fleet.worker(payer(model=ScriptedModel(["Hello."]))):
            await client.invoke_async("payer", "Hi", session_id="ada")
        async with fleet.worker(payer(model=held)):
            run = await client.start("payer", "Pay.", session_id="ada")
            await held.held.wait()
        async with fleet.worker(payer()):
            paused = await run.result(on_pause="end")
            assert paused.interrupts
            await run.steer("And be quick.")
            await run.respond({paused.interrupts[0].id: "yes"})
            await run.result()
        found = {entry.record.type async for entry in run.records()}
        assert {"run.handed_over", "model.retried", "run.paused", "run.resumed", "signal.received"} <= found
        await run.export(path)
        (imported,) = await client.import_runs(path, as_id="0-last-night")
        with open_log(path) as file:
            for kept in (run, file.run(), imported):
                same = await verify(kept, payer(), tools="live", ignore=["model"])
                assert same.same, same.text
                assert same.notes == ()
                other = (await verify(kept, payer(system_prompt="Be kind."), ignore=["model"])).difference
                assert other is not None
                assert (other.kind, other.record, other.epoch) == ("system_prompt", "model.started", 1)
