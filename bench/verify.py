"""Verify: how many records of a run today's agent is checked against per CPU second, in one process.

The run is made by the agent itself: cycles of streamed text with a call of a tool. It is read page by page from a log in
memory, so that decoding counts and a server does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.children import Talk, child, cpu_seconds
from bench.figures import Figure, at_least, of_rounds
from bench.server import Bench
from bench.sizes import Sizes
from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.records import Entry, RunSubmitted
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import LogRecording, verify
from playhead.runtime.replay.rerun import rerun

__all__ = ["checker", "measure"]

_WORDS = 500  # of the text of a cycle


@tool
async def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}"


def _agent(cycles: int) -> Agent:
    def say(messages: Messages) -> Any:
        page = len(messages) // 2
        return tool_call("look", {"page": page}, f"t{page}", " ".join(["token"] * _WORDS)) if page < cycles else "Done."

    return Agent(ScriptedModel([say], repeat=True), name="bench", tools=[look], callback_handler=None)


async def checker(config: dict[str, Any], talk: Talk) -> None:
    """Role: makes a run of about `records` records, and verifies it for each question; answers records and CPU seconds."""
    agent = _agent(max(1, config["records"] // _WORDS))
    log, run_id = await rerun([Entry(1, 0, RunSubmitted(at=0, agent="bench", prompt="Look."))], agent)
    async for _ in talk.questions():
        began = cpu_seconds()
        found = await verify(LogRecording(log, run_id), agent)
        assert found.same, found.text
        talk.answer({"records": found.records, "cpu": cpu_seconds() - began})


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    del bench
    taken: list[dict[str, Any]] = []
    async with child(checker, {"records": sizes.replay_records}, uvloop=False) as process:
        for number in range(sizes.rounds):
            say(f"verify: round {number + 1} of {sizes.rounds}")
            taken.append(await process.ask("verify"))
    rates = [one["records"] / one["cpu"] for one in taken]
    note = f"one run of {taken[0]['records']:,} records, a call of a tool after each {_WORDS} words"
    return [of_rounds("verify", "records per CPU second", rates, "/s", target=at_least(20_000), note=note)]
