"""An agent of the OpenAI Agents SDK whose workers die: in a tool of an agent within it, and in the middle of its answer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from effects import dies_before, look, pay

__all__ = ["make_agent"]


class Says(Model):
    """Says its answers by how many results it is told of, word by word, and dies before a `!`, once."""

    def __init__(self, *answers: Any) -> None:
        self._answers = answers

    async def get_response(self, system_instructions: Any, input: Any, *given: Any, **more: Any) -> Any:  # noqa: A002
        """A whole answer."""
        return await self._script(input).get_response(system_instructions, input, *given, **more)

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        *given: Any,
        **more: Any,
    ) -> AsyncIterator[Any]:
        """An answer as a stream."""
        async for event in self._script(input).stream_response(system_instructions, input, *given, **more):
            if event.type != "response.output_text.delta":
                yield event
                continue
            for word in re.findall(r" ?\w+|\W", event.delta):
                await dies_before(word)
                yield event.model_copy(update={"delta": word})

    def _script(self, items: Any) -> ScriptedModel:
        told = 0 if isinstance(items, str) else sum(item.get("type") == "function_call_output" for item in items)
        return ScriptedModel([[self._answers[told]]])


def make_agent() -> Agent[Any]:
    """An agent with another one as a tool."""
    answers = [
        function_call("look", {}, call_id="l"),
        function_call("pay", {}, call_id="p"),
        assistant_message("Paid."),
    ]
    inner = Agent[Any](name="clerk", model=Says(*answers), tools=[function_tool(look), function_tool(pay)])

    async def told(result: Any) -> str:
        return str([item.output for item in result.new_items if item.type == "tool_call_output_item"])

    model = Says(function_call("clerk", {"input": "pay"}, call_id="c"), assistant_message("All done!"))
    return Agent[Any](name="desk", model=model, tools=[inner.as_tool("clerk", "pays", custom_output_extractor=told)])
