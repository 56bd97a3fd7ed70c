"""The agent of the walk in `docs/debugging.md`. A script stands in for its model, so that the walk needs no key."""

from __future__ import annotations

import asyncio
from typing import Any

from playhead.runtime import Agent, tool
from playhead.runtime.testing import ScriptedModel, tool_call


@tool
async def balance(account: str) -> str:
    """The balance of an account."""
    await asyncio.sleep(0.3)
    return "-12 euros"


@tool
async def rate(currency: str) -> str:
    """What a euro is in a currency."""
    await asyncio.sleep(0.2)
    return "1.08"


def answer(messages: Any) -> Any:
    """Ask both tools at once, then say what they gave."""
    results = [block["toolResult"] for block in messages[-1]["content"] if "toolResult" in block]
    if not results:
        ask_balance = tool_call("balance", {"account": "ada"}, "call_1", text="Let me look.")
        return [*ask_balance[:-2], *tool_call("rate", {"currency": "USD"}, "call_2")[1:]]
    held, euro = (result["content"][0]["text"] for result in results)
    if held.startswith("-"):
        raise ValueError(f"a negative balance: {held}")
    return f"You have {held}; a euro is {euro} dollars."


teller = Agent(ScriptedModel([answer], delay=0.05, repeat=True), name="teller", tools=[balance, rate])
