"""The dice game of pydantic-ai's documentation, hosted as it is. A worker that dies does not roll again.

Needs: pip install playhead-workers 'playhead-runtime[pydantic-ai]'

    playhead worker examples/dice_game.py
    playhead ask dice "My guess is 4"

`Offline` stands for a model, so that it runs without a key: take "openai:gpt-5" or another one instead.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from playhead.runtime.guests.pydantic_ai import PydanticAIGuest


async def offline(messages: list[Any], info: AgentInfo) -> AsyncIterator[Any]:
    """Calls both tools, and tells what they gave."""
    told = {part.tool_name: part.content for part in messages[-1].parts if isinstance(part, ToolReturnPart)}
    if not told:
        yield {0: DeltaToolCall(name="roll_dice", json_args="{}", tool_call_id="roll")}
        yield {1: DeltaToolCall(name="get_player_name", json_args="{}", tool_call_id="name")}
        return
    for word in f"{told['get_player_name']}, you rolled a {told['roll_dice']}.".split(" "):
        await asyncio.sleep(0.1)
        yield f"{word} "


agent = Agent(
    FunctionModel(stream_function=offline),
    deps_type=str,
    instructions=(
        "You're a dice game, you should roll the die and see if the number you get back matches the user's guess. "
        "If so, tell them they're a winner. Use the player's name in the response."
    ),
)


@agent.tool_plain
def roll_dice() -> str:
    """Roll a six-sided die and return the result."""
    return str(random.randint(1, 6))


@agent.tool
def get_player_name(ctx: RunContext[str]) -> str:
    """Get the player's name."""
    return ctx.deps


dice = PydanticAIGuest(agent, name="dice", deps=lambda ctx: ctx.invocation_state.get("player", "Anne"))
