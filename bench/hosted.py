"""The guests that are measured, and what owns their runs: in process, on a worker's event loop, without a log."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import anyio

from playhead.runtime import FunctionGuest, GuestContext
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.events import Projection
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Entry, RunClaimed, RunSubmitted
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.guest import Guest
from playhead.runtime.host.host import GuestTarget, Host
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.runner import Opening
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import text_call

__all__ = ["alone", "beginning", "entries_of", "events", "function_guest", "host_of", "strands_guest", "strands_model"]


def host_of(guest: Guest, entries: Sequence[Entry]) -> Host:
    """A host that continues the run with these records."""
    opening = Opening(
        run_id="0-bench",
        epoch=entries[-1].epoch,
        entries=entries,
        head=len(entries),
        said=StoredMessages(),
        control=Control(),
        ownership=Ownership("0-bench"),
    )
    return GuestTarget(guest).open(opening)


def beginning() -> list[Entry]:
    """The first records of a run."""
    return [Entry(1, 0, RunSubmitted(at=0, agent="guest", prompt="go")), Entry(2, 1, RunClaimed(at=0, worker="w"))]


async def entries_of(guest: Guest) -> list[Entry]:
    """The log of a run of that guest, as a claim reads it."""
    entries = beginning()
    host = host_of(guest, entries)
    async with aclosing(host.records()) as items:
        async for item in items:
            if not isinstance(item, Flush):
                entries.append(Entry(host.head, 1, decode_record(encode_record(record_of(item)))))
    return entries


async def events(guest: Guest) -> AsyncGenerator[Any, None]:
    """The events of a run, as a reader gets them."""
    projection, host = Projection("0-bench"), host_of(guest, beginning())
    async with aclosing(host.records()) as items:
        async for item in items:
            if not isinstance(item, Flush):
                for event in projection.feed(Entry(host.head, 1, record_of(item))):
                    yield event


def _words(count: int) -> list[Chunk]:
    return text_call(" ".join(["token"] * count))


async def _stream(count: int, every_s: float) -> AsyncGenerator[Chunk, None]:
    for chunk in _words(count):
        if every_s:
            await anyio.sleep(every_s)
        yield chunk


def function_guest(count: int, *, every_s: float = 0.0) -> FunctionGuest:
    """A guest whose model sends so many chunks, each after a wait."""

    async def guest(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any], None]:
        async with aclosing(ctx.model([prompt], lambda: _stream(count, every_s))) as chunks:
            async for _ in chunks:
                pass
        ctx.result = "done"
        yield {}

    return FunctionGuest(guest)


async def alone(count: int, *, every_s: float = 0.0) -> AsyncGenerator[Chunk, None]:
    """What that guest does without a host."""
    async for chunk in _stream(count, every_s):
        yield chunk


def strands_model(count: int, *, every_s: float = 0.0) -> Any:
    """A model of Strands that sends so many chunks, each after a wait."""
    base: Any = importlib.import_module("strands.models").Model

    class Scripted(base):
        def update_config(self, **config: Any) -> None:
            del config

        def get_config(self) -> dict[str, Any]:
            return {}

        async def stream(self, *arguments: Any, **options: Any) -> AsyncGenerator[Chunk, None]:
            del arguments, options
            async for chunk in _stream(count, every_s):
                yield chunk

        async def structured_output(self, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
            del arguments, options
            raise RuntimeError("structured output is not measured here")
            yield

    return Scripted()


def strands_guest(count: int, *, every_s: float = 0.0) -> StrandsGuest:
    """An agent of Strands with that model."""
    strands: Any = importlib.import_module("strands")

    def make_agent() -> Any:
        return strands.Agent(model=strands_model(count, every_s=every_s), callback_handler=None)

    return StrandsGuest(make_agent)
