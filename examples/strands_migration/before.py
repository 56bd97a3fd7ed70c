"""A travel agent: a tool, two hooks, structured output, and a conversation that is kept in the file it is given."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from strands import Agent, tool
from strands.hooks import AfterToolCallEvent, BeforeToolCallEvent
from travel_model import TravelModel

__all__ = ["PROMPTS", "main", "traveller"]


class Plan(BaseModel):
    """Where to go, and what to pack."""

    city: str
    pack: list[str]


@tool
def weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: The name of the city.
    """
    return f"Rain in {city}"


def only_real_cities(event: BeforeToolCallEvent) -> None:
    """Refuse a call about a city that does not exist."""
    if event.tool_use["input"]["city"] == "Atlantis":
        event.cancel_tool = "Atlantis is not a city"


def say_when(event: AfterToolCallEvent) -> None:
    """Add to a result what every reader wants to know."""
    for block in event.result["content"]:
        if event.result["status"] == "success" and "text" in block:
            block["text"] += " today"


traveller = Agent(
    model=TravelModel(),
    name="traveller",
    tools=[weather],
    hooks=[only_real_cities, say_when],
    system_prompt="You know the weather.",
    callback_handler=None,
)

PROMPTS: list[dict[str, Any]] = [
    {"prompt": "How is the weather in Bonn, and in Atlantis?"},
    {"prompt": "Where do I go, and what do I pack?", "structured_output_model": Plan},
]


async def main(session: Path) -> None:
    """Go on with the conversation of that file: ask both questions, and print what happens."""
    if session.exists():
        traveller.messages.extend(json.loads(session.read_text()))
    for asked in PROMPTS:
        async for event in traveller.stream_async(**asked):
            if "data" in event:
                print(event["data"], end="", flush=True)
            elif "tool_cancel_event" in event:
                print(f"[refused: {event['tool_cancel_event']['message']}]")
            elif "result" in event:
                print(f"\n[{event['result'].stop_reason}] {event['result'].structured_output or ''}")
    session.write_text(json.dumps(traveller.messages))
    print(f"[{len(traveller.messages)} messages in {session.name}]")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
