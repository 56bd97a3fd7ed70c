"""The loop: performs the steps of `decide` and yields records. It does all the I/O of a run except that of the log.

    while step := decide(state):
        async for record in perform(step): append(record); state = evolve(state, record)

The consumer appends the records, and may take any time between two of them. `FLUSH` between records asks the consumer
to store everything before it: a tool's body starts only after that.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

import anyio

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    Record,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    SignalReceived,
    StateChanged,
    StructuredOutputProduced,
    now_ms,
)
from playhead.runtime.core.redaction import without_redaction
from playhead.runtime.core.retry import rest_of_wait
from playhead.runtime.core.segments import Encoded, Stored, changes_state, record_of
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.core.state import RunState
from playhead.runtime.core.steps import (
    AddAnswer,
    AddMessage,
    CallModel,
    CancelTools,
    Fail,
    Finish,
    Pause,
    ProduceOutput,
    ReadOutput,
    Reduce,
    Resume,
    RunTools,
    SayCancelled,
    StartCycle,
    Step,
)
from playhead.runtime.core.terms import Terms, check_no_clash
from playhead.runtime.core.tool_results import error_result
from playhead.runtime.loop.call_endings import Failed, Overflowed, Postponed
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.hooked import HookedSteps
from playhead.runtime.loop.hooks import Hooks, Moment
from playhead.runtime.loop.model_call import ModelCall, answered, reduced, tracked
from playhead.runtime.loop.output_check import read_output
from playhead.runtime.loop.spec import FLUSH, AgentSpec, Flush, LoopOutput
from playhead.runtime.loop.tool_batch import ToolBatch, finished
from playhead.runtime.loop.tool_hooks import ToolHooks
from playhead.runtime.models.calling import CallContext
from playhead.runtime.telemetry.run_telemetry import RunTelemetry
from playhead.runtime.tools.agent_state import AgentState
from playhead.runtime.tools.children import ChildRuns

__all__ = ["Loop"]


class Loop:
    """One ownership of one run, from `state` (the fold of the log's `head` records) to its end.

    Args:
        spec: The agent.
        run_id: The run.
        state: The fold of its records so far.
        head: The `seq` of the last of them.
        epoch: The ordinal of this ownership.
        control: Where signals are delivered.
        ownership: Checked before each model call and each tool's body; None for one that cannot be lost.
        driver: The task that takes all records, if there is one such task: see `breaking_off`.
        invocation_state: Passed to tools and to the model; None for that of the submitted run.
        partial: `state.open_chunks` of the records: what is left of a model call that broke off.
        began_from: The messages of its session that the run began from; None for none.
        children: Runs the agents that are tools; None in a replay.
        store: The state of the agent: what the log has of it, else what the run begins from; None for what the log has.
        longest_wait: The longest wait before a model is called again that is waited here, in seconds.
        telemetry: Within whose spans the model and the tools run; None for none.

    Attributes:
        run_id: The run. The effect keys of the calls that begin next begin with it.
        state: The fold of all records yielded so far.
        head: The `seq` of the last record yielded.
        answer: The message of the call that broke off, if it is whole; None to withdraw it.
        store: The state of the agent.
    """

    def __init__(
        self,
        spec: AgentSpec,
        *,
        run_id: str,
        state: RunState,
        head: int,
        epoch: int = 1,
        control: Control | None = None,
        ownership: Ownership | None = None,
        driver: asyncio.Task[Any] | None = None,
        invocation_state: dict[str, Any] | None = None,
        partial: Sequence[Chunk] = (),
        began_from: BeganFrom | None = None,
        longest_wait: float = math.inf,
        telemetry: RunTelemetry | None = None,
        children: ChildRuns | None = None,
        store: AgentState | None = None,
    ) -> None:
        self.spec = spec
        self.run_id: str = run_id
        self.state: RunState = state
        self.head: int = head
        self.epoch = epoch
        self.control: Control = control or Control()
        self.ownership: Ownership = ownership or Ownership(run_id)
        self._driver, self._began_from = driver, began_from or BeganFrom()
        self._call: ModelCall | None = None
        self._longest_wait, self._telemetry = longest_wait, telemetry
        self.store: AgentState = store or AgentState(state.agent_state)
        self.answer: AddAnswer | None = whole_answer(partial)
        self._terms: Terms = state.terms.over(spec.terms)
        self._partial = partial if spec.on_partial == "continue" else ()
        self._values_of_log = invocation_state is None
        values = dict(state.invocation_state) if invocation_state is None else invocation_state
        self._context = CallContext(
            invocation_state=values, cancel_signal=self.control.cancel_signal, session_id=state.session
        )
        self._tools = self._tool_batch(children)
        self._hooked = self._with_hooks(spec.hooks) if spec.hooks is not None else None

    def _tool_batch(self, children: ChildRuns | None) -> ToolBatch:
        spec = self.spec
        return ToolBatch(
            spec,
            run_id=lambda: self.run_id,
            control=self.control,
            ownership=self.ownership,
            invocation_state=self._context.invocation_state,
            state=lambda: self.state,
            terms=self._terms,
            children=children,
            store=self.store,
            hooks=ToolHooks(spec.hooks, spec=spec, moment=self._moment, ownership=self.ownership)
            if spec.hooks is not None
            else None,
            telemetry=self._telemetry,
        )

    def _with_hooks(self, hooks: Hooks) -> HookedSteps:
        return HookedSteps(
            hooks,
            moment=self._moment,
            head=lambda: self.head,
            ownership=self.ownership,
            perform=self._perform,
            failed=lambda: self._call_error,
        )

    async def records(self) -> AsyncGenerator[LoopOutput, None]:
        """Yield the run's further records, in order, up to the terminal one or `run.paused`.

        It also ends before a wait of more than `longest_wait`, and if the ownership is leaving during a wait: `rest`
        then tells what remains of it. Close it to stop at a record boundary.

        Raises:
            ValueError: If the structured output that the call asks for has the name of one of the agent's tools.
        """
        check_no_clash(self._terms, self.spec.tools)  # only here, because a client does not know the agent's tools
        if (begun := self._begun_state()) is not None:
            self._count(begun)
            yield begun
        while True:
            for signal in self.control.take():  # before any new work, so that `decide` sees a cancel
                received = signal.received(at=now_ms())
                self._count(received)
                self._restate(received)
                yield received
            step = self._next_step()
            if step is None:
                return
            if isinstance(step, CallModel) and not await self._waits(step):
                if self.control.cancelling:
                    continue
                return
            if isinstance(step, CallModel) and self.ownership.unsure():
                yield FLUSH  # whether the run is still owned is known when its records are stored
            async with aclosing(self._hooked.perform(step) if self._hooked else self._perform(step)) as items:
                async for item in items:
                    if type(item) is list:
                        self._count(item)
                    elif not isinstance(item, Flush):
                        if self.store.is_changed and (changed := self._changed_state()) is not None:
                            self._count(changed)
                            yield changed
                        self._count(item)
                    yield item
            if isinstance(step, Pause):  # the run has no owner after this: a later signal is for the next owner
                return

    def _restate(self, received: SignalReceived) -> None:
        """Take the caller's values of a response, unless the caller is here and gave the objects themselves."""
        if self._values_of_log and received.invocation_state is not None:
            values = self._context.invocation_state
            values.clear()
            values.update(received.invocation_state)

    def _begun_state(self) -> StateChanged | None:
        """The state from which the run begins, unless the log has it or it is empty."""
        begins = self.state.agent_state is None and self.state.phase == "opening"
        values = self.store.get() if begins else None
        if not values:
            return None
        self.store.take_changes()
        return StateChanged(at=now_ms(), values=values, begins=True)

    def _changed_state(self) -> StateChanged | None:
        """What hooks changed in the state since the last record."""
        change = self.store.take_changes()
        return None if change is None else StateChanged(at=now_ms(), **change)

    @property
    def ending(self) -> bool:
        """Whether the next record is the terminal one."""
        return isinstance(self._next_step(), Finish | Fail)

    @property
    def error(self) -> Exception | None:
        """The exception of a model call that failed the run, for callers in this process; else None."""
        ending = self._call.ending if self._call is not None else None
        return ending.error if isinstance(ending, Failed) else None

    @property
    def _call_error(self) -> Exception | None:
        ending = self._call.ending if self._call is not None else None
        return ending.error if isinstance(ending, Failed | Postponed | Overflowed) else None

    def _moment(self) -> Moment:
        values = self._context.invocation_state
        return Moment(self.run_id, self.state, values, self.control.cancel_signal, self.store)

    @property
    def rest(self) -> float:
        """The seconds that remain of the wait before the model is called again; 0 without a wait."""
        step = self._next_step()
        if not isinstance(step, CallModel) or step.failed is None or step.rested:
            return 0.0
        return rest_of_wait(step.failed.delay, since=step.failed.at, now=now_ms())

    async def _waits(self, step: CallModel) -> bool:
        """Wait before the model is called again. False if it is not to be called here now: the wait is too long, or a cancel
        or the handover ended it.
        """
        if step.failed is None or step.rested:
            return True
        stop = anyio.Event()
        rest = rest_of_wait(step.failed.delay, since=step.failed.at, now=now_ms())
        if rest > self._longest_wait:
            return False
        with self.control.stopping(stop.set), self.ownership.when_leaving(stop.set), anyio.move_on_after(rest):
            await stop.wait()
        return not stop.is_set()

    def _next_step(self) -> Step | None:
        in_turn = self.spec.tool_executor == "sequential"
        return decide(
            self.state,
            in_turn=in_turn,
            partial=self._partial,
            answer=self.answer,
            terms=self._terms,
            context=self.spec.context,
        )

    def _count(self, stored: Stored | Encoded) -> None:
        self.head += 1
        if changes_state(stored):
            self.state = evolve(self.state, Entry(self.head, self.epoch, record_of(stored)))

    def _perform(self, step: Step) -> AsyncGenerator[LoopOutput, None]:
        match step:
            case CallModel():
                return self._call_model(step)
            case RunTools():
                return self._tools.run(step)
            case _:
                return self._note(step)

    def _call_model(self, step: CallModel) -> AsyncGenerator[LoopOutput, None]:
        self.ownership.check()  # a message that cannot be stored must not be paid for
        partial, self._partial = self._partial, ()
        self._call = ModelCall(
            step,
            spec=self.spec,
            state=self.state if step.supersedes is None else without_redaction(self.state),
            head=lambda: self.head,
            control=self.control,
            context=self._context,
            partial=partial,
            driver=self._driver,
            terms=self._terms,
            telemetry=self._telemetry,
        )
        return self._call.records()

    async def _note(self, step: Step) -> AsyncGenerator[LoopOutput, None]:
        for record in self._at_once(step):
            yield record

    def _cycle_started(self, step: StartCycle) -> CycleStarted:
        began = self._began_from
        return CycleStarted(
            at=now_ms(),
            cycle=step.cycle,
            session_messages=began.count,
            session_cut=began.cut,
            again=step.again,
            resumes=step.resumes,
            invocation_state=self.state.told_state if step.resumes else None,
        )

    def _at_once(self, step: Step) -> Sequence[Record]:
        """The records of the steps that need no I/O."""
        at = now_ms()
        match step:
            case AddMessage():
                return [MessageAdded(at=at, message=tracked(step.message), origin=cast("Any", step.origin))]
            case AddAnswer(message, reason):
                return [answered(message, reason)]
            case StartCycle():
                return [self._cycle_started(step)]
            case Reduce():
                return [reduced(step)]
            case SayCancelled():
                assembler = MessageAssembler()
                message = tracked({**assembler.message(), "content": [{"text": step.text}]})
                return [MessageAdded(at=at, message=message, origin="model", stop_reason="cancelled")]
            case CancelTools():
                return [finished(index, call, error_result(call["toolUseId"], step.text)) for index, call in step.calls]
            case Pause():
                return [RunPaused(at=at, interrupts=step.interrupts, result=step.result)]
            case Resume():
                return [RunResumed(at=at, invocation_state=self.state.told_state)]
            case ProduceOutput(name, value):
                return [StructuredOutputProduced(at=at, name=name, value=value)]
            case ReadOutput(message):
                assert self._terms.output is not None, "a step of a run that is asked for one"
                return [read_output(self._terms.output, message)]
            case Finish():
                return [(RunCancelled if step.cancelled else RunCompleted)(at=at, result=step.result)]
            case Fail():
                return [RunFailed(at=at, error_type=step.error_type, message=step.message)]
            case _:
                return []
