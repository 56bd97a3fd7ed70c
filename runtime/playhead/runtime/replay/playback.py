"""Stand-ins for the model, the tools and the waits of one owner, each of which repeats what the log recorded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, cast

from typing_extensions import TypeIs

from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolResult, ToolSpec, ToolUse
from playhead.runtime.core.faults import is_transient, recorded_error
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.records import (
    ASKED_AGAIN,
    FAILED_ASKED_AGAIN,
    SUMMARY_FAILED,
    ChildRecorded,
    ChildStarted,
    ContextReduced,
    HookDecided,
    MessageAdded,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunFailed,
    RunHandedOver,
    SignalReceived,
    StateChanged,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
)
from playhead.runtime.core.retry_strategy import Waits
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.stopping import Stop
from playhead.runtime.core.system_prompt import beside_text
from playhead.runtime.core.tool_results import error_result
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.spec import CallableTool
from playhead.runtime.models.calling import accepted
from playhead.runtime.models.model import Model
from playhead.runtime.replay.tape import Spot, Tape
from playhead.runtime.tools.body import STOPPED_TEXT
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.tool import (
    ChildBegan,
    ChildHeard,
    Interruption,
    OnUnknownOutcome,
    Outcome,
    Progress,
    ToolItem,
)

__all__ = ["Playback", "RecordedModel", "RecordedTool", "RecordedWaits", "is_of_the_log"]

_NOT_BY_THE_LOOP: Final = frozenset({"CrashLimitExceeded", "DeadlineExceeded", "ExportedUnfinished", "NoProgress"})
"""The errors with which a worker, the log or an import ends a run in the place of its loop."""

_WOULD_RUN: Final = "(this call would run here)"
_NOT_CONTINUED: Final = "it was not continued: "
_NOT_RECORDED: Final = "not-recorded"
_ERROR: Final = "Error: "

_GOES_ON: Final = (ToolProgressed, ChildStarted, ChildRecorded)
"""The records of a body that has not ended."""

ToolRecord = ToolProgressed | ToolFinished | ToolInterrupted | ToolDecided


class Playback:
    """What one owner recorded: the part of the tape up to the next owner, or up to the end.

    Attributes:
        tape: All records of the run.
        control: Recorded signals are delivered here, where the owner took them in.
        epoch: The owner.
        in_call: The last record belongs to a model call that has not ended.
        live_call: The message of the open call is made live, so its chunks are not those of the log.
        begun: The calls of the batch whose bodies have begun and not ended.
        keys: The effect keys of the batch, by the index of the call.
        delay: The recorded wait after the model call that is failing, in seconds.
        missing: A failure of a model call was not recorded, because the owner left before.
        other_policy: The agent's retry policy is known to be another one than that of the owner. Else an error that ended
            the run ends it now too: whether the provider asked for too long a wait is not in the log.
        unrecorded: Stands for a failure that the owner did not come to record; what hooks decide about it cannot be compared.
    """

    def __init__(self, tape: Tape, control: Control, *, epoch: int) -> None:
        self.tape = tape
        self.control = control
        self.epoch = epoch
        self.in_call: bool = False
        self.live_call: bool = False
        self.begun: set[int] = set()
        self.keys: Mapping[int, str] = {}
        self.delay: float = 0.0
        self.missing: bool = False
        self.other_policy: bool = False
        self.unrecorded: Exception | None = None

    async def peek(self, ahead: int = 0) -> Spot | None:
        """The record `ahead` records after the next one, if this owner wrote it; else None."""
        spot = await self.tape.peek(ahead)
        if spot is None or spot.epoch != self.epoch or type(spot.stored) is list:
            return spot if spot is not None and spot.epoch == self.epoch else None
        record = spot.record
        if isinstance(record, RunClaimed | RunHandedOver) or is_of_the_log(record):
            return None
        if isinstance(record, SignalReceived) and record.kind == "cancel":
            after = await self.tape.peek(ahead + 1)
            if after is not None and isinstance(after.stored, RunCancelled) and is_of_the_log(after.stored):
                return None
        return spot

    async def deliver(self) -> bool:
        """Deliver the signals that come next on the tape; whether there are any."""
        signals: list[Signal] = []
        while (spot := await self.peek(len(signals))) is not None and isinstance(spot.stored, SignalReceived):
            record = spot.stored
            signals.append(Signal(record.signal_id, record.kind, record.body, record.invocation_state))
        self.control.deliver(signals)
        return bool(signals)

    async def after_call(self) -> Record | None:
        """The first record after the chunks that come next, if this owner wrote it."""
        ahead = 0
        while (spot := await self.peek(ahead)) is not None and type(spot.stored) is list:
            ahead += 1
        return spot.record if spot is not None else None

    async def keeps_answer(self) -> bool:
        """Whether this owner used the message of the call that broke off before it, as the model's or as a summary, or asked a
        hook about it that did not take it.

        Version 0.1 withdrew a whole one too.
        """
        ahead = 0
        while (spot := await self.peek(ahead)) is not None and (
            isinstance(spot.stored, SignalReceived) or _before_result(spot.stored)
        ):
            ahead += 1
        record = spot.stored if spot is not None else None
        if isinstance(record, ContextReduced):
            return record.summary is not None
        if isinstance(record, ModelRetried):
            return record.reason == ASKED_AGAIN
        return isinstance(record, MessageAdded) and record.origin == "model" and record.stop_reason != "cancelled"

    async def outcome(self, index: int) -> ToolRecord | None:
        """The record that ended the call at `index`, if this owner wrote it."""
        ahead = 0
        while (spot := await self.peek(ahead)) is not None and not isinstance(spot.stored, MessageAdded):
            record = spot.stored
            if _ends_body(record) and record.index == index:
                return record
            ahead += 1
        return None

    async def id_in_keys(self) -> str | None:
        """The run id in the effect key of the call that begins next; None if none does before the next message.

        The present id of the run is another one in an import under a new id, and for what a fork has of its parent.
        """
        ahead = 0
        while (spot := await self.peek(ahead)) is not None and not isinstance(spot.stored, MessageAdded | ModelStarted):
            if isinstance(spot.stored, ToolStarted):
                return spot.stored.effect_key.partition("/")[0]
            ahead += 1
        return None

    async def turn(self, index: int, *, given: int) -> Spot | None:
        """Wait until the next record is one of the call at `index`, after record `given`, which it gave before.

        None if the next record is not of any call whose body has begun: then this owner's calls took another course.
        """
        while True:
            ahead = 0
            while (spot := await self.peek(ahead)) is not None and _before_result(spot.stored):
                ahead += 1  # by a hook that was asked about the result which comes next
            record = spot.stored if spot is not None else None
            if spot is not None and (isinstance(record, _GOES_ON) or _ends_body(record)):
                if record.index == index and spot.seq > given:
                    return spot
                if record.index in self.begun:
                    await self.tape.moved()
                    continue
            return None

    def _failure_for_hooks(self, failed: Record | None) -> Exception:
        """The failure after which a hook had the call made again, which the policy had not done."""
        if isinstance(failed, ModelFailed):
            return recorded_error(failed.error_type, failed.message, transient=False)
        self.unrecorded = recorded_error("RuntimeError", "not recorded", transient=False)
        return self.unrecorded

    async def end_call(self) -> None:
        """End the model call that is in progress as it ended then.

        Raises:
            Exception: With the class name and the text of the recorded error; or anything, if a cancel broke it off.
        """
        spot = await self.peek()
        record = spot.record if spot is not None else None
        match record:
            case SignalReceived():
                await self.deliver()
                if not self.control.cancelling:  # only a cancel breaks a call off: the owner left before it recorded it
                    self.control.deliver([Signal(_NOT_RECORDED, "cancel")])
                raise RuntimeError("a cancel broke the call off")
            case ModelRetried(reason=reason) if reason == SUMMARY_FAILED:
                raise RuntimeError(reason)
            case ModelRetried(reason=reason) if reason.startswith(_NOT_CONTINUED):
                raise RuntimeError(reason.removeprefix(_NOT_CONTINUED))
            case ModelRetried(reason=reason):
                after = await self.peek(1)
                failed = after.record if after is not None else None
                if reason == ASKED_AGAIN:
                    return
                if reason == FAILED_ASKED_AGAIN:
                    raise self._failure_for_hooks(failed)
                if isinstance(failed, ModelFailed) and failed.overflow:
                    error = recorded_error(failed.error_type, failed.message, transient=False)
                    error.code = "context_length_exceeded"  # pyright: ignore[reportAttributeAccessIssue] - see `is_overflow`
                    raise error
                if isinstance(failed, ModelFailed):
                    self.delay = failed.delay
                    raise recorded_error(failed.error_type, failed.message, transient=True)
                self.missing = True
                raise recorded_error("ConnectionError", "not recorded", transient=True)
            case RunFailed(error_type=name, message=text):
                raise recorded_error(name, text, transient=None if self.other_policy else False)
            case _:
                return


def is_of_the_log(record: object) -> bool:
    """Whether a script of the log wrote it in the place of an owner: after too many crashes, a deadline, a cancel."""
    if isinstance(record, RunFailed):
        return record.error_type in _NOT_BY_THE_LOOP and not record.force_stop
    return isinstance(record, RunCancelled) and not record.result.get("metrics")


class RecordedModel:
    """A model whose calls stream the recorded chunks and end as they ended then.

    Args:
        playback: The owner's records.
        asked: Called with each request before its first chunk; what it raises ends the call.
        live: Called instead, for each call whose message is in the log; None to play all of them.
    """

    continues_partial = True

    def __init__(self, playback: Playback, *, asked: Callable[[ModelRequest], None], live: Model | None = None) -> None:
        self._playback = playback
        self._asked = asked
        self._live = live

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """Play one call."""
        content = beside_text(system_prompt, kwargs.get("system_prompt_content"))
        self._asked(ModelRequest(messages, tool_specs, system_prompt, tool_choice, content))
        playback = self._playback
        if self._live is not None and isinstance(await playback.after_call(), MessageAdded):
            playback.live_call = True
            more = accepted(self._live.stream, {**kwargs, "tool_choice": tool_choice})
            live = self._live.stream(messages, tool_specs, system_prompt, **more)
            async for chunk in live:
                yield chunk
            return
        tape = playback.tape
        while True:
            spot = tape.near or await tape.peek()
            if spot is None or type(spot.stored) is not list or spot.epoch != playback.epoch:
                break
            yield cast("Chunk", record_of(spot.stored).chunk)  # pyright: ignore[reportAttributeAccessIssue]
        await playback.end_call()


class RecordedTool:
    """A tool whose calls give the recorded progress and results, in the recorded order among the calls of a batch.

    Args:
        tool: The tool, for its description and declarations.
        playback: The owner's records.
        runs: Run this for each call whose outcome is in the log, except one that a cancel stopped; None to play all.
    """

    def __init__(self, tool: CallableTool, playback: Playback, *, runs: CallableTool | None = None) -> None:
        self._tool = tool
        self._playback = playback
        self._runs = runs

    @property
    def tool(self) -> CallableTool:
        """The tool whose calls are played."""
        return self._tool

    @property
    def spec(self) -> ToolSpec:
        """The description that the model gets."""
        return self._tool.spec

    @property
    def delegates(self) -> bool:
        """Whether it is an agent whose answer ends the run."""
        return getattr(self._tool, "delegates", False)

    @property
    def on_unknown_outcome(self) -> OnUnknownOutcome:
        """What a takeover does with a call that was started and not finished."""
        return self._tool.on_unknown_outcome

    async def stream(self, tool_use: ToolUse, context: ToolContext) -> AsyncGenerator[ToolItem, None]:
        """Play one call."""
        playback = self._playback
        index = next((index for index, key in playback.keys.items() if key == context.effect_key), None)
        given = 0
        if index is None:  # another call than the recorded one, whose difference is ignored
            yield Outcome(error_result(tool_use["toolUseId"], _WOULD_RUN))
            return
        if self._runs is not None and _was_whole(await playback.outcome(index)):
            async with aclosing(self._runs.stream(tool_use, context)) as items:
                async for item in items:
                    spot = await playback.turn(index, given=given)
                    given = spot.seq if spot is not None else given
                    yield item
            return
        while True:
            spot = await playback.turn(index, given=given)
            if spot is None:  # the verification finds that something else was recorded here
                yield Outcome(error_result(tool_use["toolUseId"], _WOULD_RUN))
                return
            given, record = spot.seq, spot.record
            if (item := _going_on(record)) is not None:
                yield item
                continue
            if isinstance(record, ToolFinished):
                context.stopping = Stop.read(record.stop)
            if _ends_body(record):
                context.state.apply(record.state)
            yield _end(record)
            return


def _going_on(record: Record) -> ToolItem | None:
    """What a body gave before its end; None for its end."""
    match record:
        case ToolProgressed(data=data):
            return Progress(data)
        case ChildStarted():
            return ChildBegan(record.run, record.agent, record.attempt, record.delegate)
        case ChildRecorded():
            return ChildHeard(record.upto, record.values)
        case _:
            return None


def _before_result(record: object) -> bool:
    """Whether a hook that was asked about a result left this record, which comes before that of the result."""
    return isinstance(record, StateChanged) or (isinstance(record, HookDecided) and record.verdict == "cancel_run")


def _ends_body(record: object) -> TypeIs[ToolFinished | ToolInterrupted | ToolDecided]:
    """Whether a record ends a call's body: with its result, which a hook may have dropped, or with a question."""
    return isinstance(record, ToolFinished | ToolInterrupted) or (
        isinstance(record, ToolDecided) and record.verdict == "retry"
    )


def _returned(record: ToolFinished | ToolDecided) -> ToolResult:
    """What the body gave, whatever a hook made of it."""
    if isinstance(record, ToolFinished):
        return record.result if record.returned is None else record.returned
    return cast("ToolResult", record.result)


def _end(record: Record) -> Outcome | Interruption:
    if isinstance(record, ToolFinished | ToolDecided):
        return Outcome(result := _returned(record), _raised(result))
    return Interruption(cast("ToolInterrupted", record).interrupts)


def _raised(result: ToolResult) -> Exception | None:
    """What a body raised, by its result: hooks may ask for it."""
    text = result["content"][0].get("text") if result["status"] == "error" and result["content"] else None
    if not isinstance(text, str) or not text.startswith(_ERROR):
        return None
    name, dash, message = text.removeprefix(_ERROR).partition(" - ")
    return recorded_error(name, message) if dash and name.isidentifier() else ValueError(text.removeprefix(_ERROR))


def _was_whole(outcome: ToolRecord | None) -> bool:
    """Whether a body ran to its own end: its outcome is known, and a cancel did not stop it."""
    if not isinstance(outcome, ToolFinished | ToolDecided):
        return outcome is not None
    texts = [block.get("text") or "" for block in _returned(outcome)["content"]]
    return not (texts and texts[0].startswith(STOPPED_TEXT))


class RecordedWaits:
    """The retry policy of today, applied to the recorded waits: a wait that it allows is as long as it was then."""

    def __init__(self, policy: Waits, playback: Playback) -> None:
        self._policy = policy
        self._playback = playback

    def is_retryable(self, exception: Exception) -> bool:
        """Whether the policy of today may make the call again after this error."""
        return getattr(self._policy, "is_retryable", is_transient)(exception)

    def delay(self, *, failures: int, waited: float, asked: float | None, draw: float) -> float | None:
        """The recorded wait, in seconds; None if the policy would not make the call again.

        A failure that is not recorded has no wait: it may be one that the policy did not decide about.
        """
        del asked, draw  # the provider's request and the drawn number are known by the wait only
        if self._playback.missing:
            return 0.0
        return self._policy.delay(failures=failures, waited=waited, asked=self._playback.delay, draw=0.0)
