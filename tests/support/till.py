"""An agent for tests of forks: a tool that has effects, and one that asks first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.models import ScriptedModel

__all__ = ["Till"]


class Till:
    """The agent; `keys` are the effect keys of all effects.

    Args:
        script: What its model answers.
        options: Of the agent, in place of those that all have.
    """

    def __init__(self, script: Callable[[Messages], Any], **options: Any) -> None:
        self.keys: list[str] = []

        @tool
        def pay(context: ToolContext) -> str:
            """Pay."""
            self.keys.append(context.effect_key)
            return "paid"

        @tool
        def ask(context: ToolContext) -> str:
            """Pay, if a human says so."""
            answer = context.interrupt("may I")
            self.keys.append(context.effect_key)
            return str(answer)

        given: dict[str, Any] = {"name": "till", "tools": [pay, ask], "callback_handler": None}
        given["model"] = ScriptedModel([script], repeat=True)
        self.agent: Agent = Agent(**(given | options))
