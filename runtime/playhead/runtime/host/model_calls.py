"""Model calls of a guest: their items are recorded as they pass, and given again after a takeover."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any, cast

from playhead.runtime.core.foreign_chunks import as_chunk, of_chunk
from playhead.runtime.core.records import ModelChunk, ModelRetried, ModelStarted, StepFinished, now_ms
from playhead.runtime.host.course import RecordedCall
from playhead.runtime.host.forms import closing, digest, stored_form
from playhead.runtime.host.raised import recorded
from playhead.runtime.host.recorder import SCOPE, Recorder
from playhead.runtime.host.steps import value_of

__all__ = ["ModelCalls"]

logger: logging.Logger = logging.getLogger("playhead.runs")


class ModelCalls:
    """The model calls of one execution of a guest. Use it on the guest's event loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._streaming = False

    async def stream(self, request: object, stream: Callable[[], AsyncIterable[Any]]) -> AsyncGenerator[Any, None]:
        """The items of one model call, recorded as they pass; a call that broke off is withdrawn and made again.

        One that runs beside another one, or in a tool, is recorded whole at its end: a reader follows one answer at a time.
        """
        recorder = self._recorder
        key = recorder.key("model")
        call, step = recorder.course.call(key), recorder.course.step(key)
        if step is not None:
            await recorder.in_turn(step.seq)
            for item in cast("list[Any]", value_of(step.record)):
                yield item
            return
        if call is not None:
            self._compare(call, request, key)
            if call.whole:
                for item in await self._again(call, key):
                    yield item
                if call.ended is not None:
                    value_of(call.ended.record)  # raises what the call raised
                return
            first, last = call.started.seq, recorder.course.withdraw(call)
            recorder.put(ModelRetried(at=now_ms(), supersedes=(first, last), reason="its worker stopped half-way"))
        await recorder.goes_live(f"the model call {key.lstrip('/')}")
        beside = (self._streaming or bool(SCOPE.get())) and call is None
        items = self._whole(key, stream) if beside else self._live(key, request, stream)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()
            recorder.ends_live()

    def _compare(self, call: RecordedCall, request: object, key: str) -> None:
        """Note a request that differs. Its recorded answer stands: a prompt that has the time in it is common."""
        if cast("ModelStarted", call.started.record).request != digest(request):
            logger.info(
                "run %s: what the agent asks in its %s differs from what record %d has of it; the recorded answer stands",
                self._recorder.run_id,
                key.lstrip("/"),
                call.started.seq,
            )

    async def _again(self, call: RecordedCall, key: str) -> list[Any]:
        """The items of a call that is whole; of one without an end that is written now."""
        recorder = self._recorder
        await recorder.in_turn((call.ended or call.chunks[-1]).seq)
        if call.ended is None:
            recorder.put(StepFinished(at=now_ms(), key=key))
        return [of_chunk(cast("ModelChunk", one.record).chunk) for one in call.chunks]

    async def _live(
        self, key: str, request: object, stream: Callable[[], AsyncIterable[Any]]
    ) -> AsyncGenerator[Any, None]:
        recorder = self._recorder
        recorder.put(ModelStarted(at=now_ms(), lane=key, request=digest(request)))
        self._streaming = True
        try:
            async with closing(stream()) as items:
                async for item in items:
                    said = stored_form(item, what=f"an item of the {key.lstrip('/')}")
                    recorder.put_chunk(as_chunk(said))
                    await recorder.space()
                    yield said
        except GeneratorExit:  # the guest has heard enough
            recorder.put(StepFinished(at=now_ms(), key=key))
            raise
        except Exception as error:
            recorder.put(StepFinished(at=now_ms(), key=key, error=recorded(error)))
            raise
        finally:
            self._streaming = False
        recorder.put(StepFinished(at=now_ms(), key=key))

    async def _whole(self, key: str, stream: Callable[[], AsyncIterable[Any]]) -> AsyncGenerator[Any, None]:
        items: list[Any] = []
        try:
            async with closing(stream()) as sent:
                async for item in sent:
                    items.append(stored_form(item, what=f"an item of the {key.lstrip('/')}"))
                    yield items[-1]
        except GeneratorExit:
            self._recorder.put_step(StepFinished(at=now_ms(), key=key, value=items))
            raise
        except Exception as error:
            self._recorder.put_step(StepFinished(at=now_ms(), key=key, error=recorded(error)))
            raise
        self._recorder.put_step(StepFinished(at=now_ms(), key=key, value=items))
