"""A tool in a test: how it is called, and what its result is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from playhead.runtime import tool
from playhead.runtime.core.converse import ToolResult, ToolUse
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.tool import Outcome, Tool, ToolItem

__all__ = ["Item", "Stop", "add", "ask", "context", "look", "ok", "result", "run", "schema", "text", "use"]


class Item(BaseModel):
    """A thing on a list."""

    name: str
    count: int = 1


class Stop(BaseException):
    """Not an error of the tool: it must pass."""


@tool
def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    Exactly, however large.

    Args:
        a: The first.
        b (int): The second,
            on two lines.

    Returns:
        The sum.
    """
    return a + b


@tool
def ask(context: ToolContext) -> str:
    """Ask."""
    return str(context.interrupt("which", "Which one?"))


@tool
def look() -> str:
    """Look."""
    return "seen"


def use(name: str, data: Any = None) -> ToolUse:
    """A call of that tool."""
    return {"toolUseId": "t1", "name": name, "input": {} if data is None else data}


def context(of: ToolUse | None = None, **more: Any) -> ToolContext:
    """The context of that call."""
    return ToolContext(tool_use=of or use("x"), run_id="run-1", **more)


async def run(made: Tool, data: Any = None, *, given: ToolContext | None = None) -> list[ToolItem]:
    """All that a call of the tool gives."""
    request = use(made.name, data)
    return [item async for item in made.stream(request, given or context(request))]


async def result(made: Tool, data: Any = None) -> ToolResult:
    """The result of a call."""
    *_, last = await run(made, data)
    assert isinstance(last, Outcome)
    return last.result


async def text(made: Tool, data: Any = None) -> str:
    """The text of a call's result, which is its only block."""
    (block,) = (await result(made, data))["content"]
    return block["text"]


def schema(made: Tool) -> dict[str, Any]:
    """The schema of the tool's input."""
    return made.spec["inputSchema"]["json"]


def ok(text: str) -> ToolResult:
    """A successful result of that text."""
    return {"toolUseId": "t1", "status": "success", "content": [{"text": text}]}
