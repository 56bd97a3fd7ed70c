"""Sends the calls of LangChain's chat models and tools through the host, wherever a graph makes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.errors import GraphInterrupt
from langgraph.runtime import get_runtime
from langgraph.types import Interrupt

from playhead.runtime.core.errors import OutcomeUnknownError
from playhead.runtime.core.plain import plain
from playhead.runtime.guests.langgraph import forms
from playhead.runtime.guests.langgraph.handoffs import as_of_now
from playhead.runtime.guests.seams import Call, apart, argument, hosted, outcome, recording
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.forms import digest
from playhead.runtime.host.put_once import put_once

__all__ = ["GIVEN", "Given"]

_END: Final = object()


class Given:
    """What the tools of this execution have given, call by call.

    A node that is run again, because a human has responded or its policy says so, gets it again, and calls no tool again.

    Attributes:
        entered: How often the graph was entered.
    """

    def __init__(self) -> None:
        self.entered = 0
        self._results: dict[tuple[str, str], list[Any]] = {}
        self._taken: Counter[tuple[Any, ...]] = Counter()  # in an attempt of a node

    def again(self, place: str, call: str) -> list[Any]:
        """What the next of the calls that are the same gave there, as the only item; nothing if it is to be made."""
        results, attempt = self._results.get((place, call), []), self._attempt(place, call)
        again = results[self._taken[attempt] :][:1]
        self._taken[attempt] += len(again)
        return again

    def add(self, place: str, call: str, result: Any) -> None:
        """Add what a call gave."""
        self._results.setdefault((place, call), []).append(result)
        self._taken[self._attempt(place, call)] += 1

    def _attempt(self, place: str, call: str) -> tuple[Any, ...]:
        about = getattr(get_runtime(), "execution_info", None)  # a graph in the code of a node may have none
        return self.entered, getattr(about, "node_attempt", 1), place, call


GIVEN: ContextVar[Given | None] = ContextVar("playhead_langgraph_given", default=None)
"""What the tools have given; None outside of a graph's run."""


def _here() -> GuestContext | None:
    """The context through which a call goes that is made here."""
    return None if GIVEN.get() is None else recording()


def _answer(ctx: GuestContext, call: Call, asks: Callable[[], AsyncIterator[Any]]) -> AsyncGenerator[Any, None]:
    asked = forms.asked_of(call.args[0], _given(call))
    return ctx.model(asked, apart(asks), name=_place(), form=forms.CHUNK)


def _astream(ctx: GuestContext, call: Call) -> AsyncIterator[Any]:
    return _answer(ctx, call, call)


def _stream(ctx: GuestContext, call: Call) -> Iterator[Any]:
    return iter(ctx.wait(lambda: _all(_answer(ctx, call, lambda: _in_thread(call())))))


async def _ainvoke(ctx: GuestContext, call: Call) -> Any:
    del ctx
    return forms.whole(await _all(call.args[0].astream(*call.args[1:], **call.keywords)))


def _invoke(ctx: GuestContext, call: Call) -> Any:
    del ctx
    return forms.whole(list(call.args[0].stream(*call.args[1:], **call.keywords)))


def _arun(ctx: GuestContext, call: Call) -> Awaitable[Any]:
    return _tool_call(ctx, call, call)


def _run(ctx: GuestContext, call: Call) -> Any:
    return ctx.wait(lambda: _tool_call(ctx, call, lambda: asyncio.to_thread(call)))


async def _tool_call(ctx: GuestContext, call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
    """Make a tool call, unless it has given its result in a former attempt of its node."""
    tool, place, use_id, given = call.args[0], _place(), str(call.keywords.get("tool_call_id") or ""), GIVEN.get()
    assert given is not None, "as `_here` has found"
    said = forms.input_of(_given(call))
    same = use_id or f"{tool.name} {digest(said)}"
    if again := given.again(place, same):
        return as_of_now(again[0], _given(call))
    use = {"name": tool.name, "input": said, "toolUseId": use_id or f"{tool.name} in {place}"}
    form, asks = forms.result_form(tool.name, use_id), (partial(_asked, tool), _asks)
    known = outcome(ctx, tool.name, tool.metadata)  # where `langchain-mcp-adapters` puts MCP's annotations
    try:
        result = await ctx.tool(use, do, on_unknown_outcome=known, asks=asks, form=form)
    except OutcomeUnknownError as error:
        if not use_id:  # the code of a node calls it, and not a model
            raise
        result = ToolMessage(str(error), name=tool.name, tool_call_id=use_id, status="error")
    given.add(place, same, result)
    return as_of_now(result, _given(call))


def _asked(tool: BaseTool, error: Exception) -> list[dict[str, Any]]:
    if not isinstance(error, GraphInterrupt):
        return []
    return [{"id": one.id, "name": tool.name, "reason": plain(one.value), "response": None} for one in error.args[0]]


def _asks(interrupts: Sequence[Mapping[str, Any]]) -> GraphInterrupt:
    return GraphInterrupt(tuple(Interrupt(value=one["reason"], id=one["id"]) for one in interrupts))


def _given(call: Call) -> Any:
    return argument(call, 1, "input", "tool_input")


def _place() -> str:
    """Where in the graph this code runs, the same each time: its node, within which graphs, at which step, and for which of
    the tasks that were sent there.
    """
    told: dict[str, Any] = ensure_config().get("metadata", {})
    nodes = [one.partition(":")[0] for one in str(told.get("langgraph_checkpoint_ns", "")).split("|")]
    sent = told.get("langgraph_path", ())[1:]
    return f"{'.'.join(nodes)} {told.get('langgraph_step', '')} {sent if sent != (nodes[-1],) else ''}".strip()


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _in_thread(items: Iterator[Any]) -> AsyncGenerator[Any]:
    while (item := await asyncio.to_thread(next, items, _END)) is not _END:
        yield item


for _name, _record in {"ainvoke": _ainvoke, "astream": _astream, "invoke": _invoke, "stream": _stream}.items():
    put_once(BaseChatModel, _name, hosted(_record, _here))
for _name, _record in {"arun": _arun, "run": _run}.items():
    put_once(BaseTool, _name, hosted(_record, _here))
