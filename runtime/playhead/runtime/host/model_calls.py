"""Model calls of a guest: their items are recorded as they pass, and given again after a takeover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing
from typing import Any, Final, cast

from playhead.runtime.core.foreign_chunks import as_chunk, of_chunk
from playhead.runtime.core.records import ModelChunk, ModelRetried, ModelStarted, Record, StepFinished, now_ms
from playhead.runtime.host.asked import Asked
from playhead.runtime.host.course import RecordedCall
from playhead.runtime.host.forms import closing, is_text_delta, stored_form
from playhead.runtime.host.keys import SCOPE
from playhead.runtime.host.raised import recorded
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.host.steps import value_of

__all__ = ["ModelCalls"]

_TURN_EVERY: Final = 64
"""After so many items everything else on the guest's loop has its turn: a model that never waits would keep a cancel from it."""

_Recording = Callable[[str, Asked, Callable[[], AsyncIterable[Any]]], AsyncGenerator[Any, None]]


class ModelCalls:
    """The model calls of one execution of a guest. Use it on the guest's event loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._streaming = False

    async def stream(
        self, request: object, stream: Callable[[], AsyncIterable[Any]], *, name: str = ""
    ) -> AsyncGenerator[Any, None]:
        """The items of one model call: `shown`, but `hidden` beside another one or in a tool: readers follow one answer."""
        if self._streaming or SCOPE.get():
            async with aclosing(self.hidden(request, stream, name=name)) as items:
                async for item in items:
                    yield item
            return
        self._streaming = True
        try:
            async with aclosing(self.shown(request, stream, name=name)) as items:
                async for item in items:
                    yield item
        finally:
            self._streaming = False

    def shown(
        self, request: object, stream: Callable[[], AsyncIterable[Any]], *, name: str = ""
    ) -> AsyncGenerator[Any, None]:
        """The items of a model call, recorded as they pass; a call that broke off is withdrawn and made again."""
        return self._made(request, stream, self._live, name)

    def hidden(
        self, request: object, stream: Callable[[], AsyncIterable[Any]], *, name: str = ""
    ) -> AsyncGenerator[Any, None]:
        """The items of a model call that readers do not see: recorded whole at its end."""
        return self._made(request, stream, self._whole, name)

    async def _made(
        self, request: object, stream: Callable[[], AsyncIterable[Any]], record: _Recording, name: str
    ) -> AsyncGenerator[Any, None]:
        recorder, asked = self._recorder, Asked.of(request)
        key = recorder.key("model", name)
        call, step = recorder.course.call(key), recorder.course.step(key)
        if step is not None:
            recorder.requested(key, step, asked)
            await recorder.in_turn(step.seq)
            for item in _given(step.record):
                yield item
            return
        if call is not None:
            recorder.requested(key, call.started, asked)
            if call.whole or recorder.course.cancels or recorder.offline:
                async for item in self._again(call, key, stream):
                    yield item
                return
            first, last = call.started.seq, recorder.course.withdraw(call)
            recorder.put(ModelRetried(at=now_ms(), supersedes=(first, last), reason="its worker stopped half-way"))
        await recorder.goes_live(f"the model call {key.lstrip('/')}")
        items = record(key, asked, stream) if call is None else self._live(key, asked, stream)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()
            recorder.ends_live()

    async def _again(
        self, call: RecordedCall, key: str, stream: Callable[[], AsyncIterable[Any]]
    ) -> AsyncGenerator[Any, None]:
        """The items of a call that is whole, and what it raised. A cancel comes into force between the same two of them.

        Of a call that broke off after a cancel, what is left for the guest to hear of it.
        """
        recorder = self._recorder
        await recorder.in_turn(call.started.seq)
        for entry in call.chunks:
            recorder.apply_signals(before=entry.seq)
            yield of_chunk(cast("ModelChunk", entry.record).chunk)
        if call.ended is not None:
            await recorder.in_turn(call.ended.seq)
            for item in _given(call.ended.record):
                yield item
        elif call.whole:
            recorder.put(StepFinished(at=now_ms(), key=key))
        else:
            recorder.apply_signals()
            if recorder.offline:
                await recorder.goes_live(f"the rest of the {key.lstrip('/')}")
            async with aclosing(self._items(key, stream)) as items:
                async for item in items:
                    yield item

    async def _live(
        self, key: str, asked: Asked, stream: Callable[[], AsyncIterable[Any]]
    ) -> AsyncGenerator[Any, None]:
        recorder, told = self._recorder, self._told(asked)
        recorder.put(
            ModelStarted(at=now_ms(), lane=key, request=asked.text, told=told, invocation_state=recorder.restated)
        )
        async with aclosing(self._items(key, stream)) as items:
            async for item in items:
                yield item

    async def _items(self, key: str, stream: Callable[[], AsyncIterable[Any]]) -> AsyncGenerator[Any, None]:
        """The items of a call that has begun, recorded as they pass, and its end."""
        recorder, what, number = self._recorder, f"an item of the {key.lstrip('/')}", 0
        unseen: list[Any] = []  # came after a cancel: the guest throws it away, and no reader sees it
        try:
            async with closing(stream()) as items:
                async for item in items:
                    said = item if is_text_delta(item) else stored_form(item, what=what)
                    if recorder.crowded:
                        await recorder.space()
                    if recorder.cancelled:
                        unseen.append(said)
                    else:
                        recorder.put_chunk(as_chunk(said))
                    yield said
                    if (number := number + 1) % _TURN_EVERY == 0:
                        await asyncio.sleep(0)
        except GeneratorExit:  # the guest has heard enough
            recorder.put_step(StepFinished(at=now_ms(), key=key, value=unseen or None))
            raise
        except Exception as error:
            recorder.put_step(StepFinished(at=now_ms(), key=key, value=unseen or None, error=recorded(error)))
            raise
        recorder.put_step(StepFinished(at=now_ms(), key=key, value=unseen or None))

    async def _whole(
        self, key: str, asked: Asked, stream: Callable[[], AsyncIterable[Any]]
    ) -> AsyncGenerator[Any, None]:
        self._recorder.retelling.begins(key.rpartition("/")[0])
        items: list[Any] = []
        try:
            async with closing(stream()) as sent:
                async for item in sent:
                    items.append(stored_form(item, what=f"an item of the {key.lstrip('/')}"))
                    yield items[-1]
                    if len(items) % _TURN_EVERY == 0:
                        await asyncio.sleep(0)
        except GeneratorExit:
            self._end_whole(key, asked, items)
            raise
        except Exception as error:
            self._end_whole(key, asked, items, error=recorded(error))
            raise
        self._end_whole(key, asked, items)

    def _end_whole(self, key: str, asked: Asked, items: list[Any], **raised: Any) -> None:
        request, told = asked.text, self._told(asked)
        done = StepFinished(at=now_ms(), key=key, value=items, request=request, told=told, **raised)
        self._recorder.put_step(done)

    def _told(self, asked: Asked) -> dict[str, Any]:
        """What the log is told of a request: what no record before has."""
        told = asked.kept(self._recorder.course.told)
        self._recorder.course.told |= told
        return told


def _given(record: Record) -> Iterator[Any]:
    """The items that the end of a call holds; then what the call raised, if it did."""
    yield from cast("StepFinished", record).value or ()
    value_of(record)
