"""Agents of pydantic-ai for tests of their host: what a model says follows from what it is told, so that any owner's goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, ApprovalRequired, CallDeferred, ModelRetry, RunContext
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import BinaryContent, ModelResponse, TextPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

__all__ = ["AGENTS", "WORLD", "World", "said"]


class Answer(BaseModel):
    """A structured output."""

    total: int


class World:
    """What is outside of the log."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.asked = 0
        self.refused = 0
        WORLD[:] = [self]

    def model(self, *messages: Sequence[str | tuple[str, str, str]]) -> FunctionModel:
        """A model that says these messages in their order: pieces of text, and calls `(name, id, JSON)`."""

        async def stream(told: list[Any], info: AgentInfo) -> AsyncIterator[Any]:
            self.asked += 1
            for index, piece in enumerate(messages[sum(isinstance(one, ModelResponse) for one in told)]):
                await asyncio.sleep(0)
                if isinstance(piece, str):
                    yield piece
                else:
                    name, call, given = piece
                    yield {index: DeltaToolCall(name=name, json_args=given[:3], tool_call_id=call)}
                    yield {index: DeltaToolCall(json_args=given[3:], tool_call_id=call)}

        def whole(told: list[Any], info: AgentInfo) -> ModelResponse:
            self.asked += 1
            return ModelResponse([TextPart("".join(str(piece) for piece in messages[-1]))])

        return FunctionModel(whole, stream_function=stream)


WORLD: list[World] = []


def said(*pieces: str | tuple[str, str, str]) -> Sequence[str | tuple[str, str, str]]:
    """A message of a model."""
    return pieces


def _agent(*messages: Sequence[str | tuple[str, str, str]], **options: Any) -> Agent[Any, Any]:
    world = WORLD[-1]
    agent: Agent[Any, Any] = Agent(options.pop("model", None) or world.model(*messages), **options)
    called = {piece[0] for message in messages for piece in message if not isinstance(piece, str)}

    def tool(function: Callable[..., Any], **more: Any) -> None:
        if function.__name__ in called:  # reading a function takes a while
            agent.tool(**more)(function) if function.__name__ == "asks" else agent.tool_plain(**more)(function)

    async def slow(n: int) -> str:
        await asyncio.sleep(0.001 * (3 - n))
        world.effects["slow"] += 1
        return f"slow {n}"

    def picture() -> BinaryContent:
        world.effects["picture"] += 1
        return BinaryContent(b"\x89PNG\xff", media_type="image/png")

    def fussy(n: int) -> int:
        world.effects["fussy"] += 1
        if n < 2:
            raise ModelRetry("at least 2")
        return n

    async def pay(euros: int) -> str:
        world.effects["pay"] += 1
        return f"paid {euros}"

    async def asks(ctx: RunContext[Any], euros: int) -> str:
        if euros > 5 and not ctx.tool_call_approved:
            raise ApprovalRequired(metadata={"limit": 5})
        world.effects["asks"] += 1
        return f"spent {euros}"

    async def elsewhere() -> str:
        raise CallDeferred(metadata={"queue": "q"})

    async def agent_within() -> str:
        inner = Agent(world.model(said("in", "side")))
        return (await inner.run("go")).output

    for function in (slow, picture, fussy, asks, elsewhere, agent_within):
        tool(function)
    tool(pay, requires_approval=True)
    return agent


def _refusing(times: int) -> FunctionModel:
    world = WORLD[-1]

    async def stream(told: list[Any], info: AgentInfo) -> AsyncIterator[str]:
        if world.refused < times:
            world.refused += 1
            raise ModelHTTPError(503, "refusing", body={"code": "busy"})
        yield "at last"

    return FunctionModel(stream_function=stream, model_name="refusing")


AGENTS: dict[str, Callable[[], Agent[Any, Any]]] = {
    "parallel": lambda: _agent(
        said("Let me", " see.", ("slow", "a", '{"n": 1}'), ("slow", "b", '{"n": 2}')), said("It", " is", " so.")
    ),
    "retry": lambda: _agent(said(("fussy", "a", '{"n": 1}')), said(("fussy", "b", '{"n": 2}')), said("ok")),
    "picture": lambda: _agent(said(("picture", "a", "{}")), said("I see.")),
    "approval": lambda: _agent(
        said(("pay", "p", '{"euros": 3}'), ("asks", "q", '{"euros": 9}'), ("slow", "s", '{"n": 1}')), said("done")
    ),
    "elsewhere": lambda: _agent(said(("elsewhere", "e", "{}")), said("done")),
    "structured": lambda: _agent(said(("final_result", "f", '{"total": 3}')), output_type=Answer),
    "fallback": lambda: _agent(model=FallbackModel(_refusing(9), WORLD[-1].model(said("second", " choice")))),
    "failing": lambda: _agent(model=_refusing(1_000_000)),
    "within": lambda: _agent(said(("agent_within", "w", "{}")), said("done")),
}
"""Each makes its agent for one owner of a run, in the world that is there."""
