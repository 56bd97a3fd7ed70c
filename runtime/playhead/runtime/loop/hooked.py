"""Performs the steps of a run whose agent has hooks: asks them at their events and yields the records of their verdicts.

A verdict is yielded before what it decides happens, and `decide` follows from it. So after a takeover a hook is not asked
again for what is recorded: neither for its verdict, nor for the step that it let pass.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager

from playhead.runtime.core.failures import transient_failure
from playhead.runtime.core.hook_verdicts import batch_records, cancel_records, invocation_records, said
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import (
    ASKED_AGAIN,
    CALL_FAILED,
    FAILED_ASKED_AGAIN,
    HookDecided,
    MessageAdded,
    ModelRetried,
    Record,
    RunFailed,
    now_ms,
)
from playhead.runtime.core.state import ALL_CALLS, RunState
from playhead.runtime.core.steps import AddMessage, CallModel, Fail, Finish, RunTools, StartCycle, Step
from playhead.runtime.loop.hooks import Hooks, Moment
from playhead.runtime.loop.spec import LoopOutput

__all__ = ["HookedSteps"]


class HookedSteps:
    """Performs the steps of one ownership of a run.

    Args:
        hooks: The agent's hooks.
        moment: Where the run is now; its state includes every record yielded so far.
        head: The `seq` of the last record yielded.
        ownership: Checked before hooks are asked.
        perform: Performs a step without hooks.
        failed: The exception of the model call that has just failed.
    """

    def __init__(
        self,
        hooks: Hooks,
        *,
        moment: Callable[[], Moment],
        head: Callable[[], int],
        ownership: Ownership,
        perform: Callable[[Step], AsyncGenerator[LoopOutput, None]],
        failed: Callable[[], Exception | None],
    ) -> None:
        self._hooks = hooks
        self._moment = moment
        self._head = head
        self._ownership = ownership
        self._perform = perform
        self._failed = failed
        self._cancels: list[Record] = []  # that hooks asked for, and that are not in the log yet

    @property
    def _state(self) -> RunState:
        return self._moment().state

    def _asks(self, event: str) -> bool:
        """Whether to ask the hooks of an event now.

        Raises:
            FencedError: If the run is no longer held: a hook may have effects.
        """
        if not self._hooks.asks(event):
            return False
        self._ownership.check()
        return True

    @contextmanager
    def _asking(self, event: str) -> Generator[Moment]:
        """Ask the hooks of an event within the block, and keep the cancels that they ask for."""
        moment = self._moment()
        yield moment
        self._cancels += cancel_records(event, moment.cancels.take(), self._state)

    def _taken(self) -> list[Record]:
        taken, self._cancels = self._cancels, []
        return taken

    async def perform(self, step: Step) -> AsyncGenerator[LoopOutput, None]:
        """Yield the records of a step, or those of a verdict in its place; tell of each message that they add."""
        known = len(self._state.messages)
        async with aclosing(self._asked(step)) as items:
            async for item in items:
                yield item
                if type(item) is list or len(self._state.messages) == known:
                    continue
                added, known = self._state.messages[known:], len(self._state.messages)
                if self._asks("MessageAddedEvent"):
                    for message in added:
                        with self._asking("MessageAddedEvent") as moment:
                            await self._hooks.message_added(moment, message)
                    for record in self._taken():
                        yield record

    async def _asked(self, step: Step) -> AsyncGenerator[LoopOutput, None]:
        was_cancelled, verdict = self._state.cancelled, await self._before(step)
        for record in self._taken():
            yield record
        if self._state.cancelled and not was_cancelled and not isinstance(step, AddMessage | StartCycle):
            return  # the step is not the next one
        if verdict:
            for record in verdict:
                yield record
            return
        async with aclosing(self._perform(step)) as items:
            async for item in items:
                again = await self._after(step, item) if isinstance(item, Record) else []
                for record in (*self._taken(), *again):
                    yield record
                if again:
                    return
                yield item

    async def _before(self, step: Step) -> list[Record]:
        """The records of a verdict in place of a step; none to perform it."""
        state = self._state
        match step:
            case AddMessage(origin="prompt" | "repair") | StartCycle() if state.phase == "opening":
                return await self._before_invocation() if not (state.opened or state.invoked) else []
            case CallModel() if step.summarizes is None:
                return await self._before_model_call()
            case RunTools():
                return await self._before_tools()
            case AddMessage(message, origin="tools") if state.last_message is None:
                return await self._after_tools(AddMessage(message, "tools"))
            case Finish():
                return await self._after_invocation(step)
            case Fail():
                return await self._after_invocation(None)
            case _:
                return []

    async def _before_invocation(self) -> list[Record]:
        if not self._asks("BeforeInvocationEvent"):
            return []
        messages = prompt_messages(self._state.prompt) or []
        with self._asking("BeforeInvocationEvent") as moment:
            return invocation_records(await self._hooks.before_invocation(moment, messages))

    async def _before_model_call(self) -> list[Record]:
        if not self._asks("BeforeModelCallEvent"):
            return []
        with self._asking("BeforeModelCallEvent") as moment:
            text = await self._hooks.before_model_call(moment)
        if text is None:
            return []
        state, message = self._state, said(text)
        records: list[Record] = []
        if state.call_open is not None and state.call_end is not None:
            records.append(ModelRetried(at=now_ms(), supersedes=(state.call_open, state.call_end), reason=text))
        if self._asks("AfterModelCallEvent"):  # it is told, and cannot make a call that was not allowed
            with self._asking("AfterModelCallEvent") as moment:
                await self._hooks.after_model_call(moment, message=message, stop_reason="end_turn", error=None)
        decided = HookDecided(at=now_ms(), event="BeforeModelCallEvent", verdict="cancel", value=message)
        return [*records, decided]

    async def _before_tools(self) -> list[Record]:
        state = self._state
        begun = state.keys or state.results or state.decided or state.interrupted.keys() - {ALL_CALLS}
        if begun or not self._asks("BeforeToolsEvent"):
            return []
        with self._asking("BeforeToolsEvent") as moment:
            return batch_records(await self._hooks.before_tools(moment))

    async def _after_tools(self, step: AddMessage) -> list[Record]:
        if not self._asks("AfterToolsEvent"):
            return []
        with self._asking("AfterToolsEvent") as moment:
            content = await self._hooks.after_tools(moment, step.message)
        if content is None:
            return []
        return [HookDecided(at=now_ms(), event="AfterToolsEvent", verdict="end_turn", value=said(content))]

    async def _after_invocation(self, step: Finish | None) -> list[Record]:
        if not self._asks("AfterInvocationEvent"):
            return []
        with self._asking("AfterInvocationEvent") as moment:
            prompt = await self._hooks.after_invocation(moment, None if step is None else step.result)
        if prompt is None or step is None or step.cancelled:
            return []
        return [HookDecided(at=now_ms(), event="AfterInvocationEvent", verdict="resume", value=prompt)]

    async def _after(self, step: Step, record: Record) -> list[Record]:
        """The records with which a model call is made again in place of its end; none to keep its end."""
        match record:
            case MessageAdded(origin="model") if record.stop_reason != "cancelled":
                if await self._made_again(record, None):
                    usage = record.message.get("metadata", {}).get("usage", {})
                    tokens = {key: one for key, one in usage.items() if isinstance(one, int)}
                    return [self._withdrawn(ASKED_AGAIN, tokens)]
            case ModelRetried(reason=reason) if reason == CALL_FAILED and isinstance(step, CallModel):
                return await self._after_failure(step)
            case RunFailed() if isinstance(step, CallModel):
                again = await self._after_failure(step)
                if not again:
                    await self._after_invocation(None)
                return again
            case _:
                pass
        return []

    async def _after_failure(self, step: CallModel) -> list[Record]:
        error = self._failed() if step.summarizes is None else None  # a summary is not an answer in the conversation
        if error is None or not await self._made_again(None, error):
            return []
        return [self._withdrawn(FAILED_ASKED_AGAIN, {}), transient_failure(error, delay=0.0, attempt=step.attempt)]

    async def _made_again(self, answer: MessageAdded | None, error: Exception | None) -> bool:
        if not self._asks("AfterModelCallEvent"):
            return False
        message, reason = (answer.message, answer.stop_reason or "end_turn") if answer is not None else (None, "")
        with self._asking("AfterModelCallEvent") as moment:
            return await self._hooks.after_model_call(moment, message=message, stop_reason=reason, error=error)

    def _withdrawn(self, reason: str, usage: dict[str, int]) -> ModelRetried:
        first, last = self._state.call_open, self._state.call_end
        assert first is not None, "the call has begun"
        withdrawn = first, self._head() if last is None else last
        return ModelRetried(at=now_ms(), supersedes=withdrawn, reason=reason, usage=usage)
