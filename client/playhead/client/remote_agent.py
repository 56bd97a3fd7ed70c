"""`RemoteAgent`: an agent of the fleet with the methods of an in-process `Agent`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, Self, TypeVar, Unpack

from pydantic import BaseModel

from playhead.client.event_stream import stream_events
from playhead.client.run import Run
from playhead.client.session import Session
from playhead.runtime.concurrency import run_apart
from playhead.runtime.core.call_keywords import CallKeywords, call_options
from playhead.runtime.core.converse import Message, Prompt
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import AgentPausedError, InterruptNotOpenError
from playhead.runtime.core.events import Event
from playhead.runtime.core.if_busy import IfBusy
from playhead.runtime.core.interrupts import interrupt_responses
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.metadata import Metadata
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.strands_names import REMOTE_ATTRIBUTES, RefusesAttributes
from playhead.runtime.core.structured_output import output_class, requested_output

__all__ = ["Fleet", "RemoteAgent"]

T = TypeVar("T", bound=BaseModel)


class Fleet(AbstractAsyncContextManager["Fleet"], Protocol):
    """The part of a client that a remote agent needs."""

    def clone(self) -> Self:
        """An unopened client with the same options, for another event loop."""
        ...

    async def start(
        self,
        agent: str,
        prompt: Prompt = None,
        *,
        session_id: str | None = None,
        invocation_state: dict[str, Any] | None = None,
        run_id: str | None = None,
        deadline: float | None = None,
        metadata: Metadata | None = None,
        if_busy: IfBusy = "queue",
        **keywords: Unpack[CallKeywords],
    ) -> Run:
        """Submit a run; see `Client.start`."""
        ...

    async def run_of_session(self, session_id: str) -> Run | None:
        """The current run of the session."""
        ...

    def session(self, session_id: str) -> Session:
        """A handle on a session."""
        ...


@names_keywords
class RemoteAgent(RefusesAttributes):
    """An agent, by name, that a fleet runs; `client.agent("assistant")` makes it.

    Its calls are one conversation, the session `session_id`. Unlike an in-process `Agent`, it may be called while it is
    busy; the second call waits for the first, or does as its `if_busy` says. An attribute of Strands' `Agent` that it has not raises an AttributeError
    that says what to use.

    Attributes:
        name: The agent's name, which is also its `agent_id`.
        session_id: The session.
    """

    _elsewhere = REMOTE_ATTRIBUTES

    def __init__(self, name: str, *, client: Fleet, session_id: str) -> None:
        self.name = name
        self.agent_id = name
        self.session_id = session_id
        self._client = client
        self._output_class: type[BaseModel] | None = None  # of the run that was started last

    def stream_async(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
        if_busy: IfBusy = "queue",
        **keywords: Unpack[CallKeywords],
    ) -> AsyncGenerator[Event, None]:
        """Run the agent in the fleet and yield its events, the `result` last. Leaving does not stop the run.

        If a tool asks a human, the result has stop reason `interrupt`; the next call responds and resumes, even from
        another process with the same session. As in Strands, the hooks and tools of the call that responds get its own
        `invocation_state`. The run keeps the `metadata` that it was started with.

        Args:
            prompt: As for `Client.start`. After an interrupt: a list of
                `{"interruptResponse": {"interruptId": …, "response": …}}`.
            invocation_state: Plain data for the tools; it comes back in the events.
            metadata: As for `Client.start`.
            if_busy: As for `Client.start`: what happens if the agent is busy. With `steer` these are all events of the run that
                receives the prompt, from its first on.
            **keywords: As for `Client.start`. A call that responds keeps those of the run that it resumes.

        Raises:
            TypeError, ValueError: At once, for a keyword that is unknown or invalid.
            AgentPausedError: If the conversation waits for responses, the prompt is something else, and `if_busy` is `queue`.
            InterruptNotOpenError: If the prompt responds to an interrupt that is not open.
            Exception: As `Client.stream_async`.
        """
        call_options(self.stream_async, keywords)
        return stream_events(partial(self._begin, prompt, invocation_state or {}, metadata, if_busy, keywords))

    async def invoke_async(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
        if_busy: IfBusy = "queue",
        **keywords: Unpack[CallKeywords],
    ) -> AgentResult:
        """Run the agent in the fleet and wait for its result, which may be an interrupt. Raises as `stream_async`."""
        call_options(self.invoke_async, keywords)
        run, _ = await self._begin(prompt, invocation_state or {}, metadata, if_busy, keywords)
        return await run.result()

    async def structured_output_async(self, output_model: type[T], prompt: Prompt = None) -> T:
        """Run the agent in the fleet, and return its structured output; as `Agent.structured_output_async`."""
        result = await self.invoke_async(prompt, structured_output_model=output_model)
        return requested_output(output_model, result)

    def structured_output(self, output_model: type[T], prompt: Prompt = None) -> T:
        """`structured_output_async` for code that is not async."""
        return requested_output(output_model, self(prompt, structured_output_model=output_model))

    def __call__(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
        if_busy: IfBusy = "queue",
        **keywords: Unpack[CallKeywords],
    ) -> AgentResult:
        """Like `invoke_async`, for code that is not async: in a thread, with its own client."""
        call_options(self.__call__, keywords)

        async def invoke() -> AgentResult:
            async with self._client.clone() as client:
                remote = RemoteAgent(self.name, client=client, session_id=self.session_id)
                remote._output_class = self._output_class
                try:
                    return await remote.invoke_async(
                        prompt,
                        invocation_state=invocation_state,
                        metadata=metadata,
                        if_busy=if_busy,
                        **keywords,
                    )
                finally:
                    self._output_class = remote._output_class

        return run_apart(invoke)

    async def messages(self) -> list[Message]:
        """The conversation up to now, oldest first, also what its current run has said so far.

        It is what `messages`, a list, is of an in-process `Agent`; here it has to be asked for: `await agent.messages()`.
        """
        return list((await self._client.session(self.session_id).conversation()).messages)

    async def cancel(self, *, message: str | None = None, after_current_tools: bool = False) -> None:
        """Cancel the conversation's current run, if there is one: queued, running or paused. The arguments are as for `Run.cancel`."""
        run = await self._client.run_of_session(self.session_id)
        if run is not None:
            await run.cancel(message=message, after_current_tools=after_current_tools)

    async def _begin(
        self,
        prompt: Prompt,
        invocation_state: dict[str, Any],
        metadata: Metadata | None,
        if_busy: IfBusy,
        keywords: CallKeywords,
    ) -> tuple[Run, Cursor | None]:
        """Start the run or respond to it, and return it with the cursor before its events."""
        answers = interrupt_responses(prompt)
        run = await self._client.run_of_session(self.session_id)
        pause = await run.pause() if run is not None else None
        if run is not None and pause is not None and (answers is not None or if_busy == "queue"):
            if answers is None:
                raise AgentPausedError(self.name, [one.id for one in pause.interrupts])
            await run.respond(answers, invocation_state=invocation_state)
            run.output_class = output_class(keywords.get("structured_output_model")) or self._output_class
            return run, pause.cursor
        if answers is not None:
            raise InterruptNotOpenError("", list(answers))
        started = await self._client.start(
            self.name,
            prompt,
            session_id=self.session_id,
            invocation_state=invocation_state,
            metadata=metadata,
            if_busy=if_busy,
            **keywords,
        )
        self._output_class = started.output_class
        return started, None
