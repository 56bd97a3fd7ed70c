"""Agents from plain data: the scripted model that keeps what it was asked, and the tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import anyio.lowlevel

from playhead.runtime import (
    Agent,
    BeforeToolCallEvent,
    ModelRetryStrategy,
    NullConversationManager,
    SlidingWindowConversationManager,
    Tool,
)
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.errors import ContextWindowOverflowException, ModelThrottledException
from playhead.runtime.core.model_input import ModelRequest
from tests.conformance.conformance_scenarios import Scenario, asks_for_checkpoints, decode, encode
from tests.conformance.conformance_tools import build_tools

__all__ = ["PlayedModel", "Request", "build_agent", "request_as_noted"]

Request = dict[str, Any]
"""What one model call was given, in the form of `model_requests` in `expected/<id>.state.json`."""

_ERRORS: Final[dict[str, type[Exception]]] = {
    "runtime": RuntimeError,
    "throttled": ModelThrottledException,
    "context_overflow": ContextWindowOverflowException,
}


def request_as_noted(request: ModelRequest, *, call: int) -> Request:
    """The request of model call number `call`, counted from 0 over all turns of the scenario."""
    return {
        "call": call,
        "system_prompt": request.system_prompt,
        "messages": encode(request.messages),
        "tools": request.tool_names,
        "tool_choice": request.tool_choice,
    }


class PlayedModel:
    """Plays `model_calls`, one per call, over all turns of the scenario.

    Attributes:
        made: The number of calls made so far, which is that of the next one.
    """

    def __init__(self, calls: Sequence[dict[str, Any]], note: Callable[[Request], None]) -> None:
        self._calls = calls
        self._note = note
        self.made: int = 0

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Chunk]:
        del kwargs
        number = self.made
        self.made += 1
        self._note(request_as_noted(ModelRequest(messages, tool_specs, system_prompt, tool_choice), call=number))
        if number >= len(self._calls):
            raise LookupError(f"model call {number + 1} has no script: the scenario has {len(self._calls)}")
        await anyio.lowlevel.checkpoint()
        for chunk in self._calls[number]["chunks"]:
            yield decode(chunk)
        if error := self._calls[number].get("error"):
            raise _ERRORS[error["kind"]](error["message"])


def _manager(options: dict[str, Any]) -> object:
    if "conversation_manager" not in options:
        return None
    given: dict[str, Any] = dict(options["conversation_manager"] or {"kind": "null"})
    kind = given.pop("kind")
    return SlidingWindowConversationManager(**given) if kind == "sliding_window" else NullConversationManager()


def build_agent(
    scenario: Scenario, *, note: Callable[[Request], None], model: type[PlayedModel] = PlayedModel
) -> Agent:
    """The scenario's agent, named after it. `note` is called with every request to the model.

    Raises:
        NotImplementedError: It needs what playhead's `Agent` does not have.
        TypeError: It asks for checkpoints, which playhead's `Agent` refuses.
    """
    options: dict[str, Any] = scenario.get("agent", {})
    refused: dict[str, Any] = {"checkpointing": True} if asks_for_checkpoints(scenario) else {}
    return Agent(
        model(scenario["model_calls"], note),
        name=scenario["id"],
        tools=build_tools(scenario, agent=_agent_as_tool),
        system_prompt=options.get("system_prompt"),
        messages=decode(options.get("messages", [])),
        tool_executor=options.get("tool_executor", "concurrent"),
        conversation_manager=_manager(options),
        retry_strategy=ModelRetryStrategy(**(options.get("retry") or {})),
        hooks=[_approval(rule) for rule in scenario.get("approvals", [])],
        callback_handler=None,
        **refused,
    )


def _agent_as_tool(spec: dict[str, Any], tools: list[Tool]) -> Tool:
    """An agent as a tool; beyond the form of the recordings it may have tools of its own."""
    model = PlayedModel(spec["behaviour"]["model_calls"], lambda _: None)
    agent = Agent(model, name=spec["name"], tools=tools, callback_handler=None)
    delegate = spec["behaviour"].get("delegate", False)
    return agent.as_tool(name=spec["name"], description=spec["description"], delegate=delegate)


def _approval(rule: dict[str, Any]) -> Callable[[BeforeToolCallEvent], None]:
    """The before-tool hook that follows an entry of `approvals`."""

    def approve(event: BeforeToolCallEvent) -> None:
        if event.tool_use["name"] != rule["tool"]:
            return
        if "cancel" in rule:
            event.cancel_tool = rule["cancel"]
        elif event.interrupt(rule["interrupt"], decode(rule.get("reason"))) != rule["approve"]:
            event.cancel_tool = rule.get("deny", True)

    return approve
