"""Sends the calls of LangChain's models and tools through the host, wherever a graph makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, Final
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langgraph.errors import GraphInterrupt

from playhead.runtime.core.plain import plain
from playhead.runtime.guests.langgraph import forms
from playhead.runtime.host.context import GuestContext, current_context

__all__ = ["GIVEN", "put_seams"]

_END: Final = object()
_ASKING: ContextVar[bool] = ContextVar("playhead_langchain_asking", default=False)
"""Whether this code is that of a model whose call is recorded: what it calls of itself is part of that."""

GIVEN: ContextVar[dict[tuple[str, str], Any] | None] = ContextVar("playhead_langgraph_given", default=None)
"""What the tools of this execution have given, by the places and the ids of their calls; None outside of a graph's run."""


@cache
def put_seams() -> None:
    """Let every chat model and tool of this process be recorded in the runs of a host. Elsewhere they work as before."""
    for name in ("agenerate", "astream", "generate", "stream"):
        setattr(BaseChatModel, name, _seen(getattr(BaseChatModel, name)))
    BaseTool.arun, BaseTool.run = _arun(BaseTool.arun), _run(BaseTool.run)


class _Recorded:
    """What the classes of recorded models are known by."""

    __slots__ = ()


def _seen(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: BaseChatModel, *given: Any, **options: Any) -> Any:
        if GIVEN.get() is not None and not isinstance(self, _Recorded):
            self.__class__ = _recorded_class(type(self))
        return method(self, *given, **options)

    return call


@cache
def _recorded_class(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    """A class of models whose own methods are recorded: LangChain looks at which of these a class has."""
    own = [name for name in _WRAPPERS if getattr(kind, name) is not getattr(BaseChatModel, name)]
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    methods = {name: wraps(getattr(kind, name))(_WRAPPERS[name](getattr(kind, name))) for name in own}
    make: Any = type(kind)
    return make(kind.__name__, (_Recorded, kind), {**names, **methods})


def _astream(stream: Callable[..., AsyncIterator[ChatGeneration]]) -> Callable[..., Any]:
    async def recorded(*given: Any, **options: Any) -> AsyncIterator[ChatGeneration]:
        if _recording() is None:
            async for chunk in stream(*given, **options):
                yield chunk
            return
        async for item in _answer(given, lambda: _stepped(stream(*given, **options))):
            yield forms.generation_of(item, whole=False)

    return recorded


def _agenerate(generate: Callable[..., Awaitable[ChatResult]]) -> Callable[..., Any]:
    async def recorded(*given: Any, **options: Any) -> ChatResult:
        if _recording() is None:
            return await generate(*given, **options)
        answer = _answer(given, lambda: _once(lambda: generate(*given, **options)))
        return ChatResult(generations=[forms.generation_of(item, whole=True) async for item in answer])

    return recorded


def _stream(stream: Callable[..., Iterator[ChatGeneration]]) -> Callable[..., Any]:
    def recorded(*given: Any, **options: Any) -> Iterator[ChatGeneration]:
        if (ctx := _recording()) is None:
            yield from stream(*given, **options)
            return
        answer = _answer(given, lambda: _stepped(_in_thread(stream(*given, **options))))
        for item in ctx.wait(lambda: _all(answer)):
            yield forms.generation_of(item, whole=False)

    return recorded


def _generate(generate: Callable[..., ChatResult]) -> Callable[..., Any]:
    def recorded(*given: Any, **options: Any) -> ChatResult:
        if (ctx := _recording()) is None:
            return generate(*given, **options)
        answer = _answer(given, lambda: _once(lambda: asyncio.to_thread(generate, *given, **options)))
        return ChatResult(
            generations=[forms.generation_of(item, whole=True) for item in ctx.wait(lambda: _all(answer))]
        )

    return recorded


_WRAPPERS: Final = {"_agenerate": _agenerate, "_astream": _astream, "_generate": _generate, "_stream": _stream}


def _recording() -> GuestContext | None:
    """The context through which a model's call goes now."""
    return None if _ASKING.get() or GIVEN.get() is None else current_context()


@contextmanager
def _asking() -> Generator[None]:
    token = _ASKING.set(True)
    try:
        yield
    finally:
        _ASKING.reset(token)


async def _answer(given: tuple[Any, ...], asks: Callable[[], AsyncGenerator[ChatGeneration]]) -> AsyncGenerator[Any]:
    """The items of one call of a model, of which `given` are itself and the messages."""
    ctx = current_context()
    assert ctx is not None

    async def items() -> AsyncGenerator[Any]:
        usage, call = dict[str, int](), f"run--{uuid4()}"
        async for generation in asks():
            item = forms.item_of(generation, call=call)
            usage = forms.end_of(item, usage)
            yield item
        yield {"metadata": {"usage": usage}}  # by which the host knows that it is whole

    stream = ctx.model(forms.asked_of(given[1]), items, name=_place())
    try:
        async for item in stream:
            if list(item) != ["metadata"]:
                yield item
                continue
            taken = item["metadata"]["usage"]
            ctx.usage = {name: ctx.usage.get(name, 0) + count for name, count in taken.items()}
    finally:
        await stream.aclose()


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


async def _stepped(items: AsyncIterator[ChatGeneration]) -> AsyncGenerator[ChatGeneration]:
    while True:
        with _asking():
            item: Any = await anext(items, _END)
        if item is _END:
            return
        yield item


async def _in_thread(items: Iterator[Any]) -> AsyncGenerator[Any]:
    while (item := await asyncio.to_thread(next, items, _END)) is not _END:
        yield item


async def _once(generate: Callable[[], Awaitable[ChatResult]]) -> AsyncGenerator[ChatGeneration]:
    with _asking():
        result = await generate()
    for generation in result.generations:
        generation.message.response_metadata = {**(result.llm_output or {}), **generation.message.response_metadata}
        yield generation


def _arun(arun: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @wraps(arun)
    async def recorded(self: BaseTool, tool_input: Any, *given: Any, **options: Any) -> Any:
        if (ctx := current_context()) is None or GIVEN.get() is None:
            return await arun(self, tool_input, *given, **options)
        return await _tool_call(ctx, self, tool_input, options, lambda: arun(self, tool_input, *given, **options))

    return recorded


def _run(run: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(run)
    def recorded(self: BaseTool, tool_input: Any, *given: Any, **options: Any) -> Any:
        if (ctx := current_context()) is None or GIVEN.get() is None:
            return run(self, tool_input, *given, **options)
        runs = lambda: asyncio.to_thread(run, self, tool_input, *given, **options)  # noqa: E731
        return ctx.wait(lambda: _tool_call(ctx, self, tool_input, options, runs))

    return recorded


async def _tool_call(
    ctx: GuestContext, tool: BaseTool, tool_input: Any, options: dict[str, Any], do: Callable[[], Awaitable[Any]]
) -> Any:
    """Make a tool call. A node that is run again, because a human has responded or its policy says so, calls no tool again that
    has given its result there.
    """

    place, use_id = _place(), str(options.get("tool_call_id") or "")
    of_call: Any = {"name": tool.name, "use_id": use_id}

    async def does() -> Any:
        return forms.stored_result(await do(), **of_call)

    call = {"name": tool.name, "input": forms.input_of(tool_input), "toolUseId": use_id or f"{tool.name} in {place}"}
    done = GIVEN.get() if use_id else None
    if done is not None and (place, use_id) in done:
        return forms.loaded_result(done[place, use_id], **of_call)
    given = await ctx.tool(call, does, asks=lambda error: _asked(tool, error))
    if done is not None:
        done[place, use_id] = given
    return forms.loaded_result(given, **of_call)


def _asked(tool: BaseTool, error: Exception) -> list[dict[str, Any]]:
    if not isinstance(error, GraphInterrupt):
        return []
    return [{"id": one.id, "name": tool.name, "reason": plain(one.value), "response": None} for one in error.args[0]]
