"""Verify: how many records of a run today's agent is checked against per CPU second, in one process.

The runs are made by the agent itself: cycles of streamed text with a call of a tool, few long ones or many short ones. They
are read page by page from a log in
memory, so that decoding counts and a server does not.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from bench.children import Talk, child, cpu_seconds
from bench.figures import Figure, at_least, of_rounds
from bench.server import Bench
from bench.sizes import Sizes
from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.records import Entry, RunSubmitted
from playhead.runtime.models import text_call, tool_call
from playhead.runtime.replay import LogRecording, verify
from playhead.runtime.replay.rerun import rerun

__all__ = ["checker", "measure"]

_WORDS: Final = 500  # of the text of a cycle
_SHORT: Final = 2  # the same, of the run of many short cycles
_SHORT_CYCLE: Final = 17  # records of such a cycle
_MOST_SHORT: Final = 14_000  # to make a run takes time that grows with the square of its cycles


@tool
async def look(page: int) -> str:
    """Look at a page."""
    return f"page {page}"


class _Reader:
    """Says so many words and looks at the next page, until there is none. It keeps no request, so a run is made quickly."""

    def __init__(self, pages: int, words: int) -> None:
        self._pages = pages
        self._text = " ".join(["token"] * words)

    async def stream(self, messages: Messages, *_: object, **__: object) -> AsyncGenerator[Chunk, None]:
        page = len(messages) // 2
        more = page < self._pages
        for chunk in tool_call("look", {"page": page}, f"t{page}", self._text) if more else text_call("Done."):
            yield chunk


async def checker(config: dict[str, Any], talk: Talk) -> None:
    """Role: makes a run of `cycles` of `words`, and verifies it for each question; answers records and CPU seconds."""
    model = _Reader(config["cycles"], config["words"])
    agent = Agent(model, name="bench", tools=[look], callback_handler=None)
    log, run_id = await rerun([Entry(1, 0, RunSubmitted(at=0, agent="bench", prompt="Look."))], agent)
    async for _ in talk.questions():
        began = cpu_seconds()
        found = await verify(LogRecording(log, run_id), agent)
        assert found.same, found.text
        talk.answer({"records": found.records, "cpu": cpu_seconds() - began})


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    del bench
    short = min(sizes.replay_records, _MOST_SHORT) // _SHORT_CYCLE
    return [
        await _figure("records per CPU second", _WORDS, sizes.replay_records // _WORDS, 20_000, sizes, say),
        await _figure("records per CPU second, short cycles", _SHORT, short, 5_000, sizes, say),
    ]


async def _figure(what: str, words: int, cycles: int, target: int, sizes: Sizes, say: Callable[[str], None]) -> Figure:
    taken: list[dict[str, Any]] = []
    async with child(checker, {"cycles": max(1, cycles), "words": words}, uvloop=False) as process:
        for number in range(sizes.rounds):
            say(f"verify, {words} words a cycle: round {number + 1} of {sizes.rounds}")
            taken.append(await process.ask("verify"))
    rates = [one["records"] / one["cpu"] for one in taken]
    note = f"one run of {taken[0]['records']:,} records, a call of a tool after each {words} words"
    return of_rounds("verify", what, rates, "/s", target=at_least(target), note=note)
