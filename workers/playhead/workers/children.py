"""Runs the children of a worker's runs: the calls of agents that are tools, each a run of its own in the log.

A child is claimed by its id, by the worker that holds its parent, and takes no place of the worker's `concurrency`. Its
parent only waits for it, so a worker with one place cannot wait for itself, and no queue is between the two. What the
parent's readers see of the child is read from the child's log and stored in the parent's: after a takeover of the parent
that goes on where the parent's log ends, whether the child runs, waits or has ended meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, cast

import anyio
from anyio.abc import TaskGroup

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.as_tool import AgentTool, family
from playhead.runtime.agent.serving import Served
from playhead.runtime.core.children import PARENT, parent_option
from playhead.runtime.core.errors import FencedError, InterruptNotOpenError
from playhead.runtime.core.ids import new_token
from playhead.runtime.core.records import RunPaused
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.submission import submission
from playhead.runtime.log.values import Claim, NewRun, RunInfo
from playhead.runtime.telemetry.presence import current_trace
from playhead.runtime.tools.children import ChildCall, ChildRuns
from playhead.workers.duty import Duty
from playhead.workers.execution import Execution
from playhead.workers.leases.watchdog import now_s
from playhead.workers.resend import retry_until_answered

__all__ = ["Children", "refuse_names_of_children"]

_LOOK_AGAIN_S: Final = 0.2
"""How soon to look again at a child that another worker still holds, or that waits for its session or for a due time."""


class Children:
    """The children that one worker holds.

    Args:
        lease_ms: The worker's lease: how long a claim may take.
        ended: Called when the execution of a child has ended.
    """

    def __init__(self, *, lease_ms: int, ended: Callable[[Execution, Duty], None]) -> None:
        self.lease_ms = lease_ms
        self._ended = ended
        self._held: dict[str, Execution] = {}
        self._changes: dict[str, anyio.Event] = {}
        self._stopping = False

    def of(self, duty: Duty, tasks: TaskGroup) -> ChildRuns:
        """Runs the children of a run of this shard, in tasks of `tasks`."""
        return _ChildRuns(self, duty, tasks)

    def stop(self) -> None:
        """Hand all children over now, and those that are claimed from here on."""
        self._stopping = True
        for execution in list(self._held.values()):
            execution.lease.stop()

    def held(self, run_id: str) -> Execution | None:
        """The execution of a child that runs here."""
        return self._held.get(run_id)

    def change(self, run_id: str) -> anyio.Event:
        """Set when the child that runs here has stored more, or ended."""
        return self._changes.setdefault(run_id, anyio.Event())

    def notify(self, run_id: str) -> None:
        """Wake those that wait for the child."""
        if (change := self._changes.pop(run_id, None)) is not None:
            change.set()

    def begin(self, claim: Claim, agent: Agent, *, sent: float, duty: Duty, tasks: TaskGroup) -> None:
        """Run a claimed child."""
        execution = duty.execution(claim, agent, sent=sent, children=self.of(duty, tasks))
        execution.writer.when_stored = partial(self.notify, claim.run_id)
        if self._stopping:
            execution.lease.stop()
        self._held[claim.run_id] = execution
        tasks.start_soon(self._execute, execution, duty)

    async def _execute(self, execution: Execution, duty: Duty) -> None:
        run_id = execution.claim.run_id
        try:
            await execution.run()
        finally:
            self._ended(execution, duty)
            if self._held.get(run_id) is execution:  # else it was lost and claimed again here
                del self._held[run_id]
            self.notify(run_id)
        await execution.tell_why_lost()


class _ChildRuns:
    """The children of one run that this worker holds."""

    def __init__(self, children: Children, duty: Duty, tasks: TaskGroup) -> None:
        self._children = children
        self._duty = duty
        self._log = duty.log
        self._tasks = tasks

    async def records(self, call: ChildCall) -> AsyncGenerator[Segment, None]:
        """See `ChildRuns.records`."""
        run_id, after, asked = call.run_id, call.after, list[str]()
        call.when_cancelled(partial(self._children.notify, run_id))
        await self._submit(call)
        cancelled = False
        while True:
            if call.cancelled and not cancelled:
                await self._signal(call, Signal(f"{call.key} is cancelled", "cancel"))
                cancelled = True
            for segment in await self._stored(run_id, after):
                after, asked = segment.last, _asked(segment) or asked
                yield segment
            here = self._children.held(run_id)
            if here is not None:
                if here.writer.head <= after and call.cancelled == cancelled:
                    await self._children.change(run_id).wait()
                continue
            info = await self._info(call)
            if info.head > after:
                continue
            if info.ended:
                return
            if info.state == "paused":
                given = {key: call.responses[key] for key in asked if key in call.responses}
                if not given:
                    return
                await self._signal(call, Signal(f"responses to {' '.join(sorted(given))}", "respond", given))
            elif info.state == "running" or not await self._claim(call):
                if info.session is not None and await self._asks_elsewhere(info.session, run_id):
                    await self._signal(call, Signal(f"{call.key} is given up", "cancel"))
                    raise call.asks_elsewhere()
                with anyio.move_on_after(_LOOK_AGAIN_S):
                    await self._children.change(run_id).wait()

    async def _stored(self, run_id: str, after: int) -> list[Segment]:
        here = self._children.held(run_id)
        if here is not None and here.writer.head <= after:
            return []
        return await retry_until_answered(lambda: self._log.read_segments(run_id, after=after), "read")

    async def _info(self, call: ChildCall) -> RunInfo:
        info = await retry_until_answered(lambda: self._log.info(call.run_id), "info")
        if info is None:
            raise FencedError(f"run {call.parent}: it has ended, so the child {call.run_id} cannot begin")
        return info

    async def _asks_elsewhere(self, session: str, run_id: str) -> bool:
        """Whether another child holds the session while it waits for a response, which cannot come before this call ends."""
        holder = await retry_until_answered(lambda: self._log.holder(session), "holder")
        if holder in (None, run_id):
            return False
        info = await retry_until_answered(lambda: self._log.info(holder), "info")
        return info is not None and info.state == "paused"

    async def _submit(self, call: ChildCall) -> None:
        """Create the child, unless a former attempt did."""
        tool = cast("AgentTool", call.made_by)
        session = f"{call.session or call.parent}.{tool.name}" if tool.preserves else None
        first, data = submission(
            call.agent,
            call.prompt,
            session=session,
            invocation_state={},
            options=parent_option(call.parent, call.key),
            metadata={PARENT: call.parent},
            trace=current_trace(),
            limit=tool.agent.max_record_bytes,
        )
        run = NewRun(call.run_id, call.agent, first, session=session, data=data, parent=call.parent)
        await retry_until_answered(lambda: self._log.submit(run), "submit")

    async def _signal(self, call: ChildCall, signal: Signal) -> None:
        try:
            await retry_until_answered(lambda: self._log.signal(call.run_id, signal), "signal")
        except InterruptNotOpenError:  # it was answered meanwhile, by another way: the child goes on
            await anyio.sleep(_LOOK_AGAIN_S)

    async def _claim(self, call: ChildCall) -> bool:
        """Claim the child and run it. Returns False if it cannot be claimed now."""
        agent = cast("Agent", cast("AgentTool", call.made_by).agent_of_call())
        definition = replace(agent.definition, agent=call.agent).stored()
        token, sent = new_token(), now_s()
        # Not cancelled in the middle, because a child that is claimed and not run waits for the end of its lease.
        with anyio.move_on_after(self._children.lease_ms / 1000, shield=True):
            claim = await retry_until_answered(
                lambda: self._duty.claim_child(call.run_id, call.agent, definition, token=token), "claim"
            )
            if claim is not None:
                self._children.begin(claim, agent, sent=sent, duty=self._duty, tasks=self._tasks)
                return True
        return False


def _asked(segment: Segment) -> list[str]:
    """The ids of the questions at which a child paused last, in this part of its log."""
    pauses = [one for one in segment.values if isinstance(one, RunPaused)]
    return [interrupt["id"] for interrupt in pauses[-1].interrupts] if pauses else []


def refuse_names_of_children(agents: Mapping[str, Served]) -> None:
    """Refuse an agent with the name of another one's child: a worker would claim that agent's children as runs of it.

    Raises:
        ValueError: The message names both.
    """
    for name, children in _families(agents.values()):
        for child in children:
            if child in agents:
                raise ValueError(
                    f"agent '{child}' has the name that runs of a tool of agent '{name}' have: rename one of them"
                )


def _families(agents: Iterable[Served]) -> Iterable[tuple[str, Iterable[str]]]:
    return ((one.name, family(one)) for one in agents if isinstance(one, Agent))
