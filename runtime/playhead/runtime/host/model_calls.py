"""Model calls of a guest: their items are recorded as they pass, and given again after a takeover."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple, cast

from playhead.runtime.core.foreign_chunks import as_chunk, of_chunk
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import ModelChunk, ModelRetried, ModelStarted, Record, StepFinished, now_ms
from playhead.runtime.host.asked import Asked
from playhead.runtime.host.course import RecordedCall
from playhead.runtime.host.forms import Form, closing, is_storable, is_text_delta, stored_form, usage_of
from playhead.runtime.host.keys import SCOPE
from playhead.runtime.host.raised import CUT_OFF, made_again, recorded
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.host.steps import given_again

__all__ = ["ModelCalls"]

_TURN_EVERY: Final = 64
"""After so many items everything else on the guest's loop has its turn: a model that never waits would keep a cancel from it."""

_ADDED: Final = object()

Stream = Callable[[], AsyncIterable[Any]]


class _Call(NamedTuple):
    """A call as the guest makes it.

    Attributes:
        key: Its key.
        asked: What is asked.
        stream: Asks.
        form: That of its items; None for plain data.
    """

    key: str
    asked: Asked
    stream: Stream
    form: Form | None

    def taken(self, item: Any, tokens: Counter[str]) -> tuple[Any, Any]:
        """An item as the guest gets it, and as it is stored. The tokens that one of a form tells of are added up."""
        if self.form is None:
            said = item if is_text_delta(item) else stored_form(item, what=f"an item of the {self.key.lstrip('/')}")
            return said, said
        if (told := self.form.usage(item)) is not None:
            tokens.update(usage_of(told))
        said = self.form.dump(item)
        return item, said if is_storable(said) else plain(said)


class ModelCalls:
    """The model calls of one execution of a guest. Use it on the guest's event loop.

    Attributes:
        usage: The tokens of its calls, as their items have them: `{"metadata": {"usage": {…}}}`.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._streaming = False  # a call that may be shown is at work, or is told again
        self._showing = False  # a call is shown now: its chunks in the log are between its start and its end
        self.usage: Counter[str] = Counter()

    async def stream(
        self, request: object, stream: Stream, *, name: str = "", form: Form | None = None
    ) -> AsyncGenerator[Any, None]:
        """The items of one model call: shown, but hidden beside another one or in a tool: readers follow one answer."""
        self._recorder.check_cancelled()
        shown = not self._streaming and not SCOPE.get()
        items = self._made(request, stream, name, form, shown=shown)
        self._streaming |= shown
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()
            self._streaming &= not shown

    def shown(self, request: object, stream: Stream) -> AsyncGenerator[Any, None]:
        """The items of a model call, recorded as they pass; a call that broke off is withdrawn and made again."""
        return self._made(request, stream, shown=True)

    def hidden(self, request: object, stream: Stream) -> AsyncGenerator[Any, None]:
        """The items of a model call that readers do not see: recorded whole at its end."""
        return self._made(request, stream, shown=False)

    async def _made(
        self,
        request: object,
        stream: Stream,
        name: str = "",
        form: Form | None = None,
        *,
        shown: bool,
    ) -> AsyncGenerator[Any, None]:
        """The items of a call: from the log, or as they come, shown if they are to be and no other call's are."""
        recorder, asked = self._recorder, Asked.of(request)
        key = recorder.key("model", name, fits=lambda key: self._fits(key, asked))
        made = _Call(key, asked, stream, form)
        call, step = recorder.course.call(key), recorder.course.step(key)
        if step is not None:
            recorder.requested(key, step, asked)
            await recorder.in_turn(step.seq)
            async for item in self._given(made, step.record):
                yield item
            return
        if call is not None:
            recorder.requested(key, call.started, asked)
            if call.whole or recorder.course.cancels or recorder.offline:
                async for item in self._again(call, made):
                    yield item
                return
            last, again = recorder.course.withdraw(call)
            withdrawn = call.started.seq, last
            recorder.put(ModelRetried(at=now_ms(), supersedes=withdrawn, reason="its worker stopped half-way"))
            await recorder.put_all(cast("Any", one).model_copy(update={"at": now_ms()}) for one in again)
            shown = True
        # A call that the guest cuts off before it begins has ended for it, too.
        with recorder.when_cut_off(lambda: self._end(made, [], shown=False, error=dict(CUT_OFF))):
            await recorder.goes_live(f"the model call {key.lstrip('/')}")
        # Else the chunks of two calls would be mixed.
        shown &= not (self._showing or recorder.course.has_broken_call)
        self._showing |= shown
        items = self._live(made) if shown else self._whole(made)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()
            self._showing &= not shown
            recorder.ends_live()

    def _fits(self, key: str, asked: Asked) -> bool | None:
        """Whether the log has this request under a key; None if it has none there."""
        request = self._recorder.course.request(key)
        return None if request is None else not asked.differing(request)

    async def _again(self, call: RecordedCall, made: _Call) -> AsyncGenerator[Any, None]:
        """The items of a call that is whole, and what it raised. A cancel comes into force between the same two of them.

        Of a call that broke off after a cancel, what is left for the guest to hear of it.
        """
        recorder = self._recorder
        await recorder.in_turn(call.started.seq)
        for entry in call.chunks:
            recorder.apply_signals(before=entry.seq)
            if (item := self._loaded(made, of_chunk(cast("ModelChunk", entry.record).chunk))) is not _ADDED:
                yield item
        if call.ended is not None:
            await recorder.in_turn(call.ended.seq)
            async for item in self._given(made, call.ended.record):
                yield item
        elif call.whole:
            recorder.put(StepFinished(at=now_ms(), key=made.key))
        else:
            recorder.apply_signals()
            if recorder.offline:
                await recorder.goes_live(f"the rest of the {made.key.lstrip('/')}")
            async with aclosing(self._items(made, shown=True)) as items:
                async for item in items:
                    yield item

    def _live(self, made: _Call) -> AsyncGenerator[Any, None]:
        told, recorder = self._told(made.asked), self._recorder
        recorder.put(
            ModelStarted(
                at=now_ms(), lane=made.key, request=made.asked.text, told=told, invocation_state=recorder.restated
            )
        )
        return self._items(made, shown=True)

    def _whole(self, made: _Call) -> AsyncGenerator[Any, None]:
        self._recorder.retelling.begins(made.key.rpartition("/")[0])
        return self._items(made, shown=False)

    async def _items(self, made: _Call, *, shown: bool) -> AsyncGenerator[Any, None]:
        """The items of a call that has begun, and its end. If it is shown, each is recorded as it passes."""
        recorder, tokens, number = self._recorder, Counter[str](), 0
        kept: list[Any] = []  # for its end; of a shown call what came after a cancel, which the guest throws away
        try:
            async with closing(made.stream()) as items:
                async for item in items:
                    given, said = made.taken(item, tokens)
                    if shown and recorder.crowded:
                        await recorder.space()
                    self._take(said, None if shown and not recorder.cancelled else kept)
                    yield given
                    if (number := number + 1) % _TURN_EVERY == 0:
                        await asyncio.sleep(0)
            if tokens:
                self._take({"metadata": {"usage": dict(tokens)}}, None if shown and not recorder.cancelled else kept)
        except GeneratorExit:  # the guest has heard enough
            self._end(made, kept, shown=shown)
            raise
        except asyncio.CancelledError:  # by a cancel of the run, or by the guest, which waits for so long only
            if not recorder.cancelled:
                self._end(made, kept, shown=shown, error=dict(CUT_OFF))
            raise
        except Exception as error:
            self._end(made, kept, shown=shown, error=recorded(error))
            raise
        refused = self._end(made, kept, shown=shown).error
        if refused is not None:  # it is too large; it would be raised after a takeover
            raise made_again(refused)

    def _take(self, said: Any, kept: list[Any] | None) -> None:
        if type(said) is dict and "metadata" in said:
            self._count(cast("dict[str, Any]", said))
        if kept is None:
            self._recorder.put_chunk(as_chunk(said))
        else:
            kept.append(said)

    def _end(self, made: _Call, kept: list[Any], *, shown: bool, **raised: Any) -> StepFinished:
        """Record the end of a call, and of one that is not shown what was asked. Returns what is recorded."""
        if shown:
            done = StepFinished(at=now_ms(), key=made.key, value=kept or None, **raised)
        else:
            request, told = made.asked.text, self._told(made.asked)
            done = StepFinished(at=now_ms(), key=made.key, value=kept, request=request, told=told, **raised)
        return self._recorder.put_step(done)

    def _told(self, asked: Asked) -> dict[str, Any]:
        """What the log is told of a request: what no record before has."""
        told = asked.kept(self._recorder.course.told)
        self._recorder.course.told |= told
        return told

    async def _given(self, made: _Call, record: Record) -> AsyncGenerator[Any, None]:
        """The items that the end of a call holds; then what the call raised, if it did."""
        for said in cast("StepFinished", record).value or ():
            if (item := self._loaded(made, said)) is not _ADDED:
                yield item
        await given_again(record)

    def _loaded(self, made: _Call, said: Any) -> Any:
        """A recorded item as the guest gets it; `_ADDED` for that with the tokens, which the host has added to a form's."""
        if type(said) is dict and "metadata" in said:
            fields = cast("dict[str, Any]", said)
            self._count(fields)
            if made.form is not None and isinstance(fields["metadata"], dict) and list(fields["metadata"]) == ["usage"]:
                return _ADDED
        return said if made.form is None else made.form.load(said)

    def _count(self, said: dict[str, Any]) -> None:
        """Count the tokens that an item tells of."""
        told: Any = said["metadata"]
        usage: Any = told.get("usage") if isinstance(told, dict) else None
        if isinstance(usage, dict):
            counts = cast("dict[str, Any]", usage).items()
            self.usage.update({name: count for name, count in counts if isinstance(count, int)})
