"""What the seams that are put into frameworks have alike: they are put once, and do nothing outside of hosted runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

from playhead.runtime.host.context import GuestContext, current_context
from playhead.runtime.host.forms import closing

__all__ = ["answer", "apart", "once", "put_once", "recording"]

_SEAM: Final = "__playhead_seam__"


def put_once(holder: Any, name: str, wrap: Callable[[Any], Callable[..., Any]]) -> None:
    """Put what `wrap` makes of a method of an object, or of a class, in its place, unless that was done."""
    method = getattr(holder, name)
    if not hasattr(method, _SEAM):
        seam: Any = wraps(method)(wrap(method))
        setattr(seam, _SEAM, True)
        setattr(holder, name, seam)


_ASKING: ContextVar[bool] = ContextVar("playhead_asking", default=False)
_END: Final = object()


def recording() -> GuestContext | None:
    """The context through which a model's call goes that is made here; None for what a model whose call is recorded calls of
    itself, which is part of that, and outside of a guest's run.
    """
    return None if _ASKING.get() else current_context()


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


async def answer(items: AsyncIterable[Any]) -> Any:
    """The only item of a call."""
    (whole,) = [item async for item in items]
    return whole
