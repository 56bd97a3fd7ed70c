"""Runs the invocations of one agent object in this process, one at a time, and keeps the one that waits for responses."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, Self, TypeVar
from uuid import uuid4

from playhead.runtime.agent.callbacks import CallbackHandler
from playhead.runtime.agent.caller_signal import watching
from playhead.runtime.agent.invocation import Invocation
from playhead.runtime.agent.turn import Turn
from playhead.runtime.core.call_keywords import CallOptions
from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.converse import Messages, Prompt
from playhead.runtime.core.errors import AgentBusyError, AgentPausedError, InterruptNotOpenError
from playhead.runtime.core.events import Event
from playhead.runtime.core.intake import checked_response
from playhead.runtime.core.interrupts import interrupt_responses
from playhead.runtime.core.records import Entry, Record
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.storable import storable
from playhead.runtime.core.submission import submission
from playhead.runtime.loop.spec import AgentSpec
from playhead.runtime.tools.agent_state import AgentState

__all__ = ["InProcessRuns", "Invoked"]

T = TypeVar("T")


class Invoked(Protocol):
    """The agent that is invoked. Its attributes are read at the first event, so they may be set until then."""

    name: str
    messages: Messages
    state: AgentState
    callback_handler: CallbackHandler | None
    max_record_bytes: int

    @property
    def spec(self) -> AgentSpec:
        """The part of the agent that the loop needs."""
        ...

    def check_overrides(self, entries: Sequence[Entry]) -> None:
        """Refuse what the run with these records has instead of the agent's own, unless the agent allows it."""
        ...

    def of_run(self, first: Record) -> Self:
        """The agent with what the run with this record 1 has instead of the agent's own."""
        ...


class InProcessRuns:
    """Runs an agent in this process, and remembers an invocation that runs or waits for responses."""

    def __init__(self) -> None:
        self._running: Invocation | None = None
        self._turn: Turn | None = None
        self._paused: Invocation | None = None

    def cancel(self, cancel: Cancel) -> None:
        """Ask the current invocation to stop; without one, give up the invocation that waits for responses, if any.

        From any thread.
        """
        self._paused = None
        running, turn = self._running, self._turn
        if running is not None and turn is not None:
            turn.call_soon(partial(_deliver, running, cancel))

    @property
    def cancel_signal(self) -> threading.Event:
        """Set when the current invocation is being cancelled; without one, an event that is not set."""
        return threading.Event() if self._running is None else self._running.control.cancel_signal

    def stream(
        self,
        agent: Invoked,
        prompt: Prompt,
        invocation_state: dict[str, Any],
        asked: CallOptions,
        *,
        cancel_signal: threading.Event | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The events of one invocation; raises as `Agent.stream_async`."""
        turn = Turn(cancel_signal)
        stream = self._stream(turn, agent, prompt, invocation_state, asked)
        turn.watch(stream)
        return stream

    async def _stream(
        self, turn: Turn, agent: Invoked, prompt: Prompt, invocation_state: dict[str, Any], asked: CallOptions
    ) -> AsyncGenerator[Event, None]:
        await self._free(agent.name)
        given = interrupt_responses(prompt)
        responses = given and {key: checked_response(key, one) for key, one in given.items()}
        paused = self._paused
        now = (
            self._resume(agent.name, paused, responses, asked)
            if paused is not None
            else self._begin(agent, prompt, invocation_state, responses, asked)
        )
        cancel = partial(_deliver, now, Cancel())
        with self._in_progress(now, turn, agent), watching(turn.cancel_signal, cancel):
            if responses is None:
                await now.submit()
            else:
                await now.respond(responses, invocation_state=invocation_state)
            self._paused = None
            projection = now.projection
            async with aclosing(now.records()) as records:
                async for stored in records:
                    for event in projection.events_at(now.head, now.epoch, (stored,)):
                        if agent.callback_handler is not None:
                            agent.callback_handler(**event)
                        yield event
        if (error := now.error or now.projection.error) is not None:
            raise error

    async def aside(self, name: str, call: Callable[[], Awaitable[T]], alone: bool) -> T:
        """Make a call that is not an invocation; `alone` if none may be in progress meanwhile, because it extends the history.

        Raises:
            AgentBusyError: If one is in progress, and the call must be alone.
            AgentPausedError: If one waits for responses.
        """
        if alone:
            await self._free(name)
        if self._paused is not None:
            raise AgentPausedError(name, list(self._paused.state.interrupts))
        if not alone:
            return await call()
        self._turn = turn = Turn()
        turn.begin()
        try:
            return await call()
        finally:
            self._turn = None
            turn.end()

    async def _free(self, name: str) -> None:
        """Wait until an invocation whose stream was left is closed; raise AgentBusyError if one is in progress."""
        while (former := self._turn) is not None:
            if not former.is_left:
                raise AgentBusyError(
                    f"agent {name!r} is already running; wait for it, close its stream (`await stream.aclose()`), "
                    "or use one Agent per task"
                )
            await former.closed()
            if self._turn is former:  # its event loop ended without closing it
                self._turn = None

    @contextmanager
    def _in_progress(self, now: Invocation, turn: Turn, agent: Invoked) -> Generator[None, None, None]:
        """Make `now` the only invocation within the block; afterwards update the history and remember a pause."""
        turn.begin()
        self._running, self._turn = now, turn
        try:
            yield
        finally:
            agent.messages[:] = now.state.messages
            self._running = self._turn = None
            turn.end()
            if now.paused and not now.control.cancelling:
                self._paused = now

    def _begin(
        self,
        agent: Invoked,
        prompt: Prompt,
        invocation_state: dict[str, Any],
        responses: dict[str, Any] | None,
        asked: CallOptions,
    ) -> Invocation:
        if responses is not None:
            raise InterruptNotOpenError("", list(responses))
        submitted = submission(
            agent.name,
            prompt,
            invocation_state=storable(invocation_state),
            options=asked.stored,
            metadata=asked.metadata,
            limit=agent.max_record_bytes,
        )
        agent.check_overrides([Entry(1, 0, submitted.record)])
        spec = agent.of_run(submitted.record).spec
        spec = replace(spec, terms=asked.terms.over(spec.terms))  # with the class, which a record cannot hold
        values: dict[str, Any] = {"history": agent.messages, "invocation_state": invocation_state, "store": agent.state}
        return Invocation(spec, submitted, **values)

    def _resume(
        self,
        name: str,
        paused: Invocation,
        responses: dict[str, Any] | None,
        asked: CallOptions,
    ) -> Invocation:
        if responses is None:
            raise AgentPausedError(name, list(paused.state.interrupts))
        paused.projection.output_class = asked.terms.output_class or paused.projection.output_class
        return paused


def _deliver(invocation: Invocation, cancel: Cancel) -> None:
    invocation.control.deliver([Signal(uuid4().hex, "cancel", cancel.body)])
