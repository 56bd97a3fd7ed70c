"""`PydanticAIGuest`: an agent of pydantic-ai as a TARGET, by its interfaces for wrapped models, toolsets and capabilities."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import anyio
from pydantic_ai import AgentRunResultEvent
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.durable_exec import replay_scope
from pydantic_ai.messages import ModelResponse, PartDeltaEvent, PartStartEvent
from pydantic_ai.models import CompletedStreamedResponse, Model, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.toolsets import AbstractToolset, WrapperToolset
from pydantic_core import to_jsonable_python

from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.guests.pydantic_ai import forms
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.forms import VARIES, digest, steady

__all__ = ["PydanticAIGuest"]


class PydanticAIGuest(MadeGuest):
    """Runs each run by a `pydantic_ai.Agent` as it is.

    After a takeover the agent runs again from its top: its model calls and tool calls get from the log what they gave. So
    its hooks, instructions and output functions run again, too.

    Args:
        source: An agent, or a function without arguments that makes one after each claim of a run.
        name: The name that clients use; None for the function's, or the agent's own.
        deps: What makes the `deps` of a run, from its context: `ctx.invocation_state` has the caller's values.
        max_record_bytes: The size limit of one record.
        own_loop: Give each run an event loop of its own: for an agent that blocks its loop.

    Raises:
        TypeError: If `source` is neither, or the function returns something else.
        ValueError: If the agent has a `deps_type` and there is no `deps`, or the name is invalid.
        AgentFactoryError: If the function raises.
    """

    kinds: ClassVar[tuple[type, ...]] = (AbstractAgent,)
    told = "a pydantic_ai.Agent"
    distribution = "pydantic-ai-slim"
    varies: ClassVar[frozenset[str]] = VARIES | {"enqueue_id"}

    def __init__(
        self,
        source: Any,
        *,
        name: str | None = None,
        deps: Callable[[GuestContext], Any] | None = None,
        max_record_bytes: int = MAX_RECORD_BYTES,
        own_loop: bool = False,
    ) -> None:
        self._deps = deps
        super().__init__(source, name=name, max_record_bytes=max_record_bytes, own_loop=own_loop)

    def check(self, agent: AbstractAgent[Any, Any]) -> None:
        """Refuse an agent whose `deps` are not known.

        Raises:
            ValueError: The message says what to do.
        """
        if self._deps is None and agent.deps_type not in (object, type(None)):
            needs = getattr(agent.deps_type, "__name__", agent.deps_type)
            raise ValueError(f"{self.name} needs deps ({needs}): serve PydanticAIGuest(…, deps=lambda ctx: …)")

    def lane_of(self, event: dict[str, Any]) -> str:
        """Tools that run side by side tell in any order, so their events have lanes of their own."""
        return "" if event["event_kind"] in ("final_result", "part_end") else digest(steady(event, self.varies))

    async def run(self, agent: AbstractAgent[Any, Any], ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any, None]:
        """Run the agent. Its events are the run's, without the chunks of its models, which are recorded as they pass."""
        recorded = agent.run_stream_events(
            forms.prompt_of(prompt),
            message_history=forms.MESSAGES.validate_python(ctx.past(forms.message_of, with_prompts=True)),
            deps=self._deps and self._deps(ctx),
            run_id=ctx.run_id,
            conversation_id=ctx.session_id or ctx.run_id,
            capabilities=[_Recorded(ctx)],
            infer_name=False,
        )
        with replay_scope(is_replaying=lambda: ctx.replaying):
            async with recorded as events:
                async for event in events:
                    if isinstance(event, AgentRunResultEvent):
                        result = event.result
                        ctx.result, ctx.usage = to_jsonable_python(result.output), forms.usage_of(result.usage)
                        ctx.items = forms.dump(forms.MESSAGES, result.new_messages())
                    elif not isinstance(event, PartStartEvent | PartDeltaEvent):
                        yield forms.dump(forms.EVENT, event)


class _Recorded(AbstractCapability[Any]):
    """Sends model calls and tool calls through the host: innermost, so that all that the agent has around them stays there."""

    def __init__(self, ctx: GuestContext) -> None:
        self._ctx = ctx

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="innermost")

    def get_wrapper_model(self, model: Model) -> Model:
        return _Model(model, self._ctx)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        return _Toolset(toolset, self._ctx)

    async def before_model_request(self, ctx: RunContext[Any], request_context: Any) -> Any:
        """Tell the model what was sent to the running run."""
        for steer in self._ctx.steers():
            prompt: Any = forms.prompt_of(steer)
            ctx.enqueue(*(prompt if isinstance(prompt, list) else [prompt]))
        return request_context

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults:
        """Ask a human whether a tool may run, and for the result of one that runs elsewhere."""
        results = DeferredToolResults()

        async def ask(what: str, call: Any, answers: dict[str, Any], read: Callable[[Any], Any]) -> None:
            reason = {
                "tool": call.tool_name,
                "input": call.args_as_dict(),
                **requests.metadata.get(call.tool_call_id, {}),
            }
            answers[call.tool_call_id] = read(await self._ctx.ask(f"{what} {call.tool_name}", reason))

        async with anyio.create_task_group() as tasks:
            for call in requests.approvals:
                tasks.start_soon(ask, "approve", call, results.approvals, forms.allowed)
            for call in requests.calls:
                tasks.start_soon(ask, "result of", call, results.calls, forms.RESULT.validate_python)
        return results


class _Model(WrapperModel):
    """A model whose answers are recorded."""

    def __init__(self, wrapped: Model, ctx: GuestContext) -> None:
        super().__init__(wrapped)
        self._ctx = ctx

    async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
        async def asks() -> AsyncIterator[Any]:
            yield _end(await self.wrapped.request(messages, model_settings, model_request_parameters))

        (end,) = [item async for item in self._ctx.model(forms.dump(forms.MESSAGES, messages), asks)]
        return forms.RESPONSE.validate_python(end["metadata"]["response"])

    @asynccontextmanager
    async def request_stream(
        self, messages: Any, model_settings: Any, model_request_parameters: Any, run_context: Any = None
    ) -> AsyncGenerator[StreamedResponse]:
        async def asks() -> AsyncIterator[Any]:
            async with self.wrapped.request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as response:
                async for event in response:
                    if isinstance(event, PartStartEvent | PartDeltaEvent):  # the others follow from these
                        yield forms.dump(forms.CHUNK, event)
                yield _end(replace(response.get(), parts=[]))

        begun = ModelResponse([], model_name=self.model_name, provider_name=self.system)
        response = _Response(begun, model_request_parameters=model_request_parameters, replay_events=True)
        response.items = self._ctx.model(forms.dump(forms.MESSAGES, messages), asks)
        try:
            response.first = await anext(response.items)  # what is raised before it is raised here, as without a host
            yield response
        finally:
            await response.items.aclose()


def _end(response: ModelResponse) -> dict[str, Any]:
    """The last item of an answer, by which the host knows that it is whole."""
    usage, whole = forms.usage_of(response.usage), forms.dump(forms.RESPONSE, response)
    return {"metadata": {"usage": usage, "response": whole}}


class _Response(CompletedStreamedResponse):
    """An answer whose items come from the host."""

    items: AsyncGenerator[Any, None]
    first: Any

    async def _get_event_iterator(self) -> AsyncIterator[Any]:
        item = self.first
        while "metadata" not in item:
            event = forms.CHUNK.validate_python(item)
            self._parts_manager.apply_event(event)
            yield event
            item = await anext(self.items)
        ended = forms.RESPONSE.validate_python(item["metadata"]["response"])
        self.response = replace(ended, parts=self._parts_manager.get_parts())
        async for _ in self.items:  # to the record of its end
            pass


@dataclass
class _Toolset(WrapperToolset[Any]):
    """Tools whose results are recorded."""

    ctx: GuestContext

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: Any) -> Any:
        async def calls() -> Any:
            given = await self.wrapped.call_tool(name, tool_args, ctx, tool)
            return forms.RESULT.dump_python(given, mode="json")

        call = {"name": name, "input": to_jsonable_python(tool_args), "toolUseId": ctx.tool_call_id}
        return forms.RESULT.validate_python(await self.ctx.tool(call, calls, shared=ctx.deps))
