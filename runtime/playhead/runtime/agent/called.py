"""The calls of an agent in this process: as events, as a result, as a structured output, with and without async."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar, Unpack, cast

from pydantic import BaseModel

from playhead.runtime.agent.caller_signal import check_cancel_signal
from playhead.runtime.agent.defined import DefinedAgent
from playhead.runtime.agent.direct_calls import ToolCaller
from playhead.runtime.concurrency import run_apart
from playhead.runtime.core.arguments import check_mapping
from playhead.runtime.core.call_keywords import CallKeywords, call_options
from playhead.runtime.core.cancels import cancel_of
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.events import Event
from playhead.runtime.core.metadata import Metadata, checked_metadata
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.structured_output import requested_output
from playhead.runtime.core.terms import check_no_clash

__all__ = ["CalledAgent"]

T = TypeVar("T", bound=BaseModel)


class CalledAgent(DefinedAgent):
    """The base class of `Agent` that has its calls."""

    @property
    def tool(self) -> ToolCaller:
        """Its tools as methods: `agent.tool.add(a=1, b=2)` calls `add` here, without the model, and returns its result.

        With `record_direct_tool_call`, which a call may replace by its own keyword, the call and its result are then in
        `messages`, in Strands' form; the keyword `user_message_override` is a text before it. The invocation state of the
        call is its input, as in Strands.

        Raises:
            AttributeError: If it has no tool of that name.
            AgentBusyError: If an invocation is in progress, and the call is recorded.
            AgentPausedError: If the last invocation waits for responses.
            RuntimeError: If the tool asks a human.
        """
        return ToolCaller(self, self._runs)

    @property
    def tool_caller(self) -> ToolCaller:
        """The same as `tool`."""
        return self.tool

    def cancel(self, *, message: str | None = None, after_current_tools: bool = False) -> None:
        """Ask the current invocation to stop: its next event is the "Cancelled by user" message. From any thread.

        Without one, give up the invocation that waits for responses, if any.

        Args:
            message: The text of that message, or of one after the results of tools that have run.
            after_current_tools: Let the tools that the model called run to their end first. If the model answers without a
                call, the invocation ends as if there were no cancel.

        Raises:
            TypeError: If an argument has the wrong type.
        """
        self._runs.cancel(cancel_of(message, after_current_tools))

    @property
    def cancel_signal(self) -> threading.Event:
        """Set when the current invocation is being cancelled. Do not set it: `cancel` does. For a call without one, not set."""
        return self._runs.cancel_signal

    def stream_async(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        cancel_signal: threading.Event | None = None,
        metadata: Metadata | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AsyncGenerator[Event, None]:
        """Run the agent here and yield its events as they happen, the `result` last.

        If a tool asks a human, the result has stop reason `interrupt`; the next call responds and resumes. Leaving the
        iterator ends the run; the next call may be made at once, and waits until the abandoned stream is closed.

        Args:
            prompt: Text, content blocks, messages, or None to continue from the history. After an interrupt: a list of
                `{"interruptResponse": {"interruptId": …, "response": …}}`.
            invocation_state: Passed to tools unchanged; its plain-data keys come back in the events.
            cancel_signal: Cancels the call when it is set, from any thread.
            metadata: As for a run of a fleet: up to 16 texts, numbers and bools, by key. It is in record 1; no list of runs
                has a run of this process, so it finds nothing here.
            **keywords: What this call has instead of the agent's own, if its `allow_overrides` allow it: `model`,
                `system_prompt`, `tools` (names) and `params` (of the model). And its terms: `structured_output_model`, a
                pydantic class, of which `result.structured_output` is then an instance, or the JSON schema of an object,
                for a dict; `structured_output_prompt`, the user message to a model that ended its turn without it. `limits`: after how many `turns` (cycles), `total_tokens` or `output_tokens` the
                run ends, with the stop reason `limit_turns` and so on. A call
                that responds keeps those of the call
                that it resumes.

        Raises:
            TypeError, ValueError: At once, for a keyword that is unknown or invalid, or for such metadata.
            OverrideRefusedError: If the agent does not allow an override.
            StructuredOutputException: If the model did not give the structured output, although it was asked for it.
            AgentBusyError: If an invocation is in progress on this object.
            AgentPausedError: If the last invocation waits for responses and the prompt is something else.
            InterruptNotOpenError: If the prompt responds to an interrupt that is not open; nothing is changed.
            Exception: Any exception of the model, after a `force_stop` event.
            EncodingError, RecordTooLargeError: If the prompt, a response, or the model's output cannot be stored: it is
                not plain data, or over the limit of a record.
            MaxTokensReachedException: If the model stopped at its token limit.
            InvalidMessageError: If a part of the prompt cannot be sent to a model.
            ValueError: If the prompt has no known form.
        """
        asked = call_options(self.stream_async, keywords)
        check_no_clash(asked.terms, self.tools)
        check_cancel_signal(cancel_signal)
        check_mapping("invocation_state", invocation_state, optional=True)
        asked = asked._replace(metadata=checked_metadata(metadata or {}))
        return self._runs.stream(self, prompt, invocation_state or {}, asked, cancel_signal=cancel_signal)

    async def invoke_async(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        cancel_signal: threading.Event | None = None,
        metadata: Metadata | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AgentResult:
        """Run the agent here to its end; raises as `stream_async`."""
        call_options(self.invoke_async, keywords)
        result: AgentResult | None = None
        given: dict[str, Any] = {
            "invocation_state": invocation_state,
            "cancel_signal": cancel_signal,
            "metadata": metadata,
            **keywords,
        }
        async with aclosing(self.stream_async(prompt, **given)) as events:
            async for event in events:
                result = event.get("result", result)
        return cast("AgentResult", result)

    async def structured_output_async(self, output_model: type[T], prompt: Prompt = None) -> T:
        """Run the agent here, and return its structured output: `invoke_async` with `structured_output_model`.

        Unlike in Strands, the prompt and the answer stay in the conversation, and the agent may use its tools.

        Raises:
            StructuredOutputException: Also if the run ended, or paused, before the model gave it.
            Exception: As `stream_async`.
        """
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
        cancel_signal: threading.Event | None = None,
        metadata: Metadata | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AgentResult:
        """`invoke_async` for code that is not async; works with and without a running event loop."""
        call_options(self.__call__, keywords)

        async def invoke() -> AgentResult:
            return await self.invoke_async(
                prompt,
                invocation_state=invocation_state,
                cancel_signal=cancel_signal,
                metadata=metadata,
                **keywords,
            )

        return run_apart(invoke)
