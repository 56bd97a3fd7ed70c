"""Models and agents that a test can hold in the middle of their work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.models import chunks as c

__all__ = ["HeldModel", "Steps"]


class HeldModel:
    """Streams `before` word by word, waits until `go` is set, streams `after`; once `go` is set it waits no more.

    Attributes:
        held: It waits.
        go: Set it, and the model goes on.
        closed: A stream of it has been closed or has ended.
        calls: What each call was given.
    """

    def __init__(self, before: Sequence[str] = ("one ", "two "), after: Sequence[str] = ("three",)) -> None:
        self.before = before
        self.after = after
        self.held = anyio.Event()
        self.go = anyio.Event()
        self.closed = anyio.Event()
        self.calls: list[Messages] = []
        self._called = anyio.Event()

    async def called(self, times: int) -> None:
        """Wait until it has been called that often."""
        while len(self.calls) < times:
            await self._called.wait()

    @property
    def text(self) -> str:
        """The whole message."""
        return "".join([*self.before, *self.after])

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """One message."""
        self.calls.append(messages)
        self._called.set()
        self._called = anyio.Event()
        try:
            yield c.message_start()
            yield c.block_start()
            for word in self.before:
                yield c.text_delta(word)
            self.held.set()
            await self.go.wait()
            for word in self.after:
                yield c.text_delta(word)
            yield c.block_stop()
            yield c.message_stop("end_turn")
            yield c.metadata(input_tokens=1, output_tokens=3, latency_ms=0)
        finally:
            self.closed.set()


class Steps:
    """An agent that calls one tool three times, one after the other; the tool can be held.

    The model looks at the history and nothing else, as a real one does, so any worker can go on with a run.
    """

    def __init__(self, *, hold: int | None = None) -> None:
        self.done: list[int] = []
        self.held = anyio.Event()
        self.go = anyio.Event()

        @tool
        async def step(number: int) -> str:
            """One step."""
            self.done.append(number)
            if number == hold:
                self.held.set()
                await self.go.wait()
            return f"{number} done"

        def script(messages: Messages) -> Any:
            number = sum("toolResult" in block for message in messages for block in message.get("content", [])) + 1
            return tool_call("step", {"number": number}, f"t{number}") if number < 4 else "All done."

        self.agent = Agent(ScriptedModel([script], repeat=True), name="steps", tools=[step], callback_handler=None)
