"""Sends the calls of LangChain's chat models and tools through the host, wherever a graph makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from playhead.runtime.core.plain import plain
from playhead.runtime.guests.langgraph import forms
from playhead.runtime.guests.seams import apart, put_once, recording
from playhead.runtime.host.context import GuestContext

__all__ = ["GIVEN"]

_END: Final = object()

GIVEN: ContextVar[dict[tuple[str, str], Any] | None] = ContextVar("playhead_langgraph_given", default=None)
"""What the tools of this execution have given, by the places and the ids of their calls; None outside of a graph's run."""


def _here() -> GuestContext | None:
    """The context through which a call goes that is made here."""
    return None if GIVEN.get() is None else recording()


def _astream(astream: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    def recorded(self: BaseChatModel, input: Any, *given: Any, **options: Any) -> AsyncIterator[Any]:  # noqa: A002
        ctx, asks = _here(), partial(astream, self, input, *given, **options)
        return asks() if ctx is None else _answer(ctx, self, input, asks, _place())

    return recorded


def _ainvoke(ainvoke: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def recorded(self: BaseChatModel, *given: Any, **options: Any) -> Any:
        if _here() is None:
            return await ainvoke(self, *given, **options)
        return forms.whole([chunk async for chunk in self.astream(*given, **options)])

    return recorded


def _stream(stream: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def recorded(self: BaseChatModel, input: Any, *given: Any, **options: Any) -> Iterator[Any]:  # noqa: A002
        ctx, asks, place = _here(), partial(stream, self, input, *given, **options), _place()
        if ctx is None:
            return asks()
        return iter(ctx.wait(lambda: _all(_answer(ctx, self, input, lambda: _in_thread(asks()), place))))

    return recorded


def _invoke(invoke: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(self: BaseChatModel, *given: Any, **options: Any) -> Any:
        if _here() is None:
            return invoke(self, *given, **options)
        return forms.whole(list(self.stream(*given, **options)))

    return recorded


def _answer(
    ctx: GuestContext, model: BaseChatModel, asked: Any, asks: Callable[[], AsyncIterator[Any]], place: str
) -> AsyncGenerator[Any, None]:
    return ctx.model(forms.asked_of(model, asked), apart(asks), name=place, form=forms.CHUNK)


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


def _arun(arun: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def recorded(self: BaseTool, tool_input: Any, *given: Any, **options: Any) -> Any:
        ctx, runs = _here(), partial(arun, self, tool_input, *given, **options)
        return await (runs() if ctx is None else _tool_call(ctx, self, tool_input, options, runs))

    return recorded


def _run(run: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(self: BaseTool, tool_input: Any, *given: Any, **options: Any) -> Any:
        ctx, runs = _here(), partial(run, self, tool_input, *given, **options)
        if ctx is None:
            return runs()
        return ctx.wait(lambda: _tool_call(ctx, self, tool_input, options, lambda: asyncio.to_thread(runs)))

    return recorded


async def _tool_call(
    ctx: GuestContext, tool: BaseTool, tool_input: Any, options: dict[str, Any], runs: Callable[[], Awaitable[Any]]
) -> Any:
    """Make a tool call. A node that is run again, because a human has responded or its policy says so, calls no tool again that
    has given its result there.
    """
    place, use_id, done = _place(), str(options.get("tool_call_id") or ""), GIVEN.get()
    of_call: Any = {"name": tool.name, "use_id": use_id}

    async def does() -> Any:
        return forms.stored_result(await runs(), **of_call)

    assert done is not None, "as `_here` has found"
    if not use_id or (place, use_id) not in done:
        call = {
            "name": tool.name,
            "input": forms.input_of(tool_input),
            "toolUseId": use_id or f"{tool.name} in {place}",
        }
        done[place, use_id] = await ctx.tool(call, does, asks=(partial(_asked, tool), _asks))
    return forms.loaded_result(done[place, use_id], **of_call)


def _asked(tool: BaseTool, error: Exception) -> list[dict[str, Any]]:
    if not isinstance(error, GraphInterrupt):
        return []
    return [{"id": one.id, "name": tool.name, "reason": plain(one.value), "response": None} for one in error.args[0]]


def _asks(interrupts: Sequence[Mapping[str, Any]]) -> GraphInterrupt:
    return GraphInterrupt(tuple(Interrupt(value=one["reason"], id=one["id"]) for one in interrupts))


put_once(BaseChatModel, "ainvoke", _ainvoke)
put_once(BaseChatModel, "astream", _astream)
put_once(BaseChatModel, "invoke", _invoke)
put_once(BaseChatModel, "stream", _stream)
put_once(BaseTool, "arun", _arun)
put_once(BaseTool, "run", _run)
