"""What the seams that are put into frameworks have alike: they do nothing outside of hosted runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from playhead.runtime.host.context import GuestContext, current_context
from playhead.runtime.host.forms import closing
from playhead.runtime.tools.hints import outcome_by_hints
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["Call", "answer", "apart", "argument", "hosted", "once", "outcome", "recording"]

Call = partial[Any]
"""A call of a method in whose place a seam is: call it to make it."""

_ASKING: ContextVar[bool] = ContextVar("playhead_asking", default=False)
_END: Final = object()


def recording() -> GuestContext | None:
    """The context through which a model's call goes that is made here; None for what a model whose call is recorded calls of
    itself, which is part of that, and outside of a guest's run.
    """
    return None if _ASKING.get() else current_context()


def hosted(
    record: Callable[[GuestContext, Call], Any], here: Callable[[], GuestContext | None] = recording
) -> Callable[[Any], Callable[..., Any]]:
    """For `put_once`: in a hosted run a call of the method is `record(ctx, call)`, and elsewhere what it was."""

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def seam(*given: Any, **options: Any) -> Any:
            ctx, call = here(), partial(method, *given, **options)
            return call() if ctx is None else record(ctx, call)

        return seam

    return wrap


def argument(call: Call, place: int, *names: str) -> Any:
    """An argument of a call, which may be given by its place or by one of these names; None without it."""
    if len(call.args) > place:
        return call.args[place]
    return next((call.keywords[name] for name in names if name in call.keywords), None)


def apart(stream: Callable[[], AsyncIterable[Any]]) -> Callable[[], AsyncGenerator[Any, None]]:
    """The stream of a model, as `GuestContext.model` takes it: its own calls are not recorded."""

    async def items() -> AsyncGenerator[Any, None]:
        async with closing(stream()) as sent:
            each: AsyncIterator[Any] = aiter(sent)
            while True:
                token = _ASKING.set(True)
                try:
                    item = await anext(each, _END)
                finally:
                    _ASKING.reset(token)
                if item is _END:
                    return
                yield item

    return items


def once(respond: Callable[[], Awaitable[Any]]) -> Callable[[], AsyncGenerator[Any, None]]:
    """The whole answer of a model, as `GuestContext.model` takes it."""

    async def items() -> AsyncGenerator[Any, None]:
        yield await respond()

    return apart(items)


def outcome(ctx: GuestContext, name: str, hints: object) -> OnUnknownOutcome:
    """What to do with a call of unknown outcome: what the guest says of the tool, else what its MCP annotations say, as a dict with
    MCP's names.
    """
    return ctx.outcomes.get(name) or outcome_by_hints(hints)


async def answer(items: AsyncIterable[Any]) -> Any:
    """The only item of a call."""
    (whole,) = [item async for item in items]
    return whole
