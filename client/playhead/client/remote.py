"""`RemoteAgent`: an agent of the fleet that is used like one in this process."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol, Self

from playhead.runtime.events import Event
from playhead.runtime.result import AgentResult
from playhead.runtime.types import Prompt

__all__ = ["Fleet", "RemoteAgent"]


class Fleet(AbstractAsyncContextManager["Fleet"], Protocol):
    """What a remote agent needs of a client."""

    def again(self) -> Self:
        """An unopened client with the same options, for another event loop."""
        ...

    def stream_async(
        self,
        agent: str,
        prompt: Prompt = None,
        *,
        session_id: str | None = None,
        invocation_state: dict[str, Any] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Submit and tail."""
        ...

    async def invoke_async(
        self,
        agent: str,
        prompt: Prompt = None,
        *,
        session_id: str | None = None,
        invocation_state: dict[str, Any] | None = None,
    ) -> AgentResult:
        """Submit and wait."""
        ...


class RemoteAgent:
    """An agent by name, run by a fleet: `client.agent("assistant")` makes it.

    Its calls are one conversation, the session `session_id`; unlike an in-process `Agent` it may be called while busy,
    and the second call waits for the first.
    """

    def __init__(self, name: str, *, client: Fleet, session_id: str) -> None:
        self.name = name
        self.session_id = session_id
        self._client = client

    async def stream_async(
        self, prompt: Prompt = None, *, invocation_state: dict[str, Any] | None = None, **kwargs: Any
    ) -> AsyncGenerator[Event, None]:
        """Run the agent in the fleet and yield its events, the `result` last. Leaving does not stop the run.

        `kwargs` are more keys of `invocation_state`. Raises as `Client.stream_async`.
        """
        given = {**(invocation_state or {}), **kwargs}
        stream = self._client.stream_async(self.name, prompt, session_id=self.session_id, invocation_state=given)
        async with aclosing(stream) as events:
            async for event in events:
                yield event

    async def invoke_async(
        self, prompt: Prompt = None, *, invocation_state: dict[str, Any] | None = None, **kwargs: Any
    ) -> AgentResult:
        """Run the agent in the fleet and wait for its result. Raises as `Client.invoke_async`."""
        given = {**(invocation_state or {}), **kwargs}
        return await self._client.invoke_async(self.name, prompt, session_id=self.session_id, invocation_state=given)

    def __call__(
        self, prompt: Prompt = None, *, invocation_state: dict[str, Any] | None = None, **kwargs: Any
    ) -> AgentResult:
        """`invoke_async` for code that is not async: in a thread, with a client of its own."""

        async def invoke() -> AgentResult:
            async with self._client.again() as client:
                remote = RemoteAgent(self.name, client=client, session_id=self.session_id)
                return await remote.invoke_async(prompt, invocation_state=invocation_state, **kwargs)

        with ThreadPoolExecutor(1) as thread:
            # Not anyio.run: under a running loop the copied context says so, and anyio refuses to start another.
            return thread.submit(contextvars.copy_context().run, lambda: asyncio.run(invoke())).result()
