"""Runs what a model or a tool does within a context of OpenTelemetry. Imported as `otel` is.

A context is current only while such code runs, never between two items: the consumer of a generator has a context of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar, cast

from opentelemetry import context
from opentelemetry.context import Context

from playhead.runtime.core.converse import Chunk

__all__ = ["RequestWithin", "within"]

T = TypeVar("T")

_END: Final = object()


class RequestWithin:
    """A model's stream whose first chunk is waited for in a context, because the request is sent then.

    Each later chunk costs one call of a function.
    """

    def __init__(self, stream: AsyncIterator[Chunk], here: Context) -> None:
        self._stream = stream
        self._here = here
        self._next: Callable[[], Awaitable[Chunk]] = self._first

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    def __anext__(self) -> Awaitable[Chunk]:
        return self._next()

    async def _first(self) -> Chunk:
        self._next = self._stream.__anext__
        token = context.attach(self._here)
        try:
            return await self._stream.__anext__()
        finally:
            context.detach(token)

    async def aclose(self) -> None:
        """Close the stream, if it can be closed."""
        if (close := getattr(self._stream, "aclose", None)) is not None:
            await close()


async def within(stream: AsyncGenerator[T, None], here: Context, seen: Callable[[T], None]) -> AsyncGenerator[T, None]:
    """Yield the items of `stream`, each of which is made in a context; a thread that it begins has that, too."""
    async with aclosing(stream):
        while True:
            token = context.attach(here)
            try:
                item = await anext(stream, _END)
            finally:
                context.detach(token)
            if item is _END:
                return
            seen(cast("T", item))
            yield cast("T", item)
