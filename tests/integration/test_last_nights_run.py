"""A run that failed on a fleet is understood and mended without it, without a server, and kept as a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playhead.client import Client, open_log
from playhead.client.testing import RecordedRun, assert_replays
from playhead.runtime import Agent, RunFailedError, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.steps import RunTools
from playhead.runtime.testing import ScriptedModel, tool_call
from playhead.workers.testing import running_fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def balance(account: str) -> str:
    """The balance of an account."""
    return "-12 euros"


def answer(messages: Messages) -> Any:
    result = messages[-1].get("content", [{}])[0].get("toolResult")
    if result is None:
        return tool_call("balance", {"account": "ada"}, "call_1")
    text = result["content"][0].get("text", "")
    if text.startswith("-"):
        raise ValueError(f"a negative balance: {text}")
    return f"You have {text}."


def teller(prompt: str | None = None) -> Agent:
    model = ScriptedModel([answer], repeat=True)
    return Agent(model, name="teller", tools=[balance], system_prompt=prompt, callback_handler=None)


async def failed_run(path: Path) -> None:
    async with running_fleet(teller()) as fleet, Client(fleet.url) as client:
        run = await client.start("teller", "What do I have?")
        with pytest.raises(RunFailedError, match="a negative balance: -12 euros"):
            await run.result()
        await run.export(path)


async def place_of_the_mistake(path: Path) -> int:
    """The last record, stepping back from the end, after which the tool was still running."""
    with open_log(path) as file:
        run = file.run()
        states = run.states()
        for seq in range((await run.info()).head, 0, -1):
            place = await states.at(seq)
            if [call.tool_use["name"] for call in place.open_calls] == ["balance"] and isinstance(place.step, RunTools):
                return seq
    pytest.fail("no record has an open call")


async def test_a_failed_run_is_exported_stepped_through_forked_compared_and_kept_as_a_test(
    tmp_path: Path,
) -> None:
    last_night, mended = tmp_path / "last_night.jsonl", tmp_path / "mended.jsonl"
    await failed_run(last_night)
    seq = await place_of_the_mistake(last_night)

    with open_log(last_night) as file:
        run = file.run()
        fork = await run.fork_here(teller(), at=seq, results={"call_1": "12 euros"}, accept_effects=True)
        assert str(await fork.result()).strip() == "You have 12 euros."
        found = await run.diff(fork)
        assert (found.common, found.same) == (seq, False)
        assert found.pairs[found.parted or 0].either.name == "balance"
        await fork.export(mended)

    kept = RecordedRun(mended)
    assert_replays(teller(), kept)
    with pytest.raises(AssertionError, match="the system prompt"):
        assert_replays(teller("Be brief."), kept)
    kept.close()
