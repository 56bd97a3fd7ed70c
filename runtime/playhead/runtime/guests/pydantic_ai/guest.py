"""`PydanticAIGuest`: an agent of pydantic-ai as a TARGET, by its interfaces for wrapped models, toolsets and capabilities."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar

from pydantic_ai import AgentRunResultEvent, ModelResponse, ToolFailed
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.durable_exec import replay_scope
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent
from pydantic_ai.models import CompletedStreamedResponse, Model, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.toolsets import AbstractToolset, WrapperToolset
from pydantic_core import to_jsonable_python

from playhead.runtime.core.errors import OutcomeUnknownError
from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.guests.pydantic_ai import forms
from playhead.runtime.guests.seams import once, outcome
from playhead.runtime.host.context import GuestContext, context_here
from playhead.runtime.host.forms import VARIES, digest, steady

__all__ = ["PydanticAIGuest"]


class PydanticAIGuest(MadeGuest):
    """Runs each run by a `pydantic_ai.Agent` as it is.

    After a takeover the agent runs again from its top: its model calls and tool calls get from the log what they gave. So
    its hooks, instructions and output functions run again, too.

    Args:
        source: An agent, or a function without arguments that makes one after each claim of a run.
        deps: What makes the `deps` of a run, from its context: `ctx.invocation_state` has the caller's values.
        more: As for `MadeGuest`.

    Raises:
        TypeError: If `source` is neither, or the function returns something else.
        ValueError: If the agent has a `deps_type` and there is no `deps`, or the name is invalid.
        AgentFactoryError: If the function raises.
    """

    kinds: ClassVar[tuple[type, ...]] = (AbstractAgent,)
    told = "a pydantic_ai.Agent"
    distribution = "pydantic-ai-slim"
    varies: ClassVar[frozenset[str]] = VARIES | {"enqueue_id"}

    def __init__(self, source: Any, *, deps: Callable[[GuestContext], Any] | None = None, **more: Any) -> None:
        self._deps = deps
        super().__init__(source, **more)

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
            run_id=ctx.run_id if ctx.invocation == 1 else f"{ctx.run_id}-{ctx.invocation}",  # unique in a history
            conversation_id=ctx.session_id or ctx.run_id,
            capabilities=[_Recorded()],
            infer_name=False,
        )
        with replay_scope(is_replaying=lambda: ctx.replaying):
            async with recorded as events:
                async for event in events:
                    if isinstance(event, AgentRunResultEvent):
                        ctx.result = to_jsonable_python(event.result.output)
                        ctx.items = forms.dump(forms.MESSAGES, event.result.new_messages())
                    elif not isinstance(event, PartStartEvent | PartDeltaEvent):
                        yield forms.dump(forms.EVENT, event)


class _Recorded(AbstractCapability[Any]):
    """Sends model calls and tool calls through the host: innermost, so that all that the agent has around them stays there."""

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="innermost")

    def get_wrapper_model(self, model: Model) -> Model:
        return _Model(model)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        return _Toolset(toolset)

    async def before_model_request(self, ctx: RunContext[Any], request_context: Any) -> Any:
        """Tell the model what was sent to the running run."""
        for steer in context_here().steers():
            prompt: Any = forms.prompt_of(steer)
            ctx.enqueue(*(prompt if isinstance(prompt, list) else [prompt]))
        return request_context

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults:
        """Ask a human whether a tool may run, and for the result of one that runs elsewhere."""
        asked = [("approve", one) for one in requests.approvals] + [("result of", one) for one in requests.calls]
        told = requests.metadata
        responses = await context_here().ask_all(
            (
                f"{what} {one.tool_name}",
                {"tool": one.tool_name, "input": one.args_as_dict(), **told.get(one.tool_call_id, {})},
            )
            for what, one in asked
        )
        results = DeferredToolResults()
        for (what, one), response in zip(asked, responses, strict=True):
            if what == "approve":
                results.approvals[one.tool_call_id] = forms.allowed(response)
            else:
                results.calls[one.tool_call_id] = forms.RESULT.load(response)
        return results


class _Model(WrapperModel):
    """A model whose answers are recorded. The agent gets one when it is whole, as pydantic-ai's own durable engines give it."""

    async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
        asks = partial(self.wrapped.request, messages, model_settings, model_request_parameters)
        return await _recorded(messages, once(asks))

    @asynccontextmanager
    async def request_stream(
        self, messages: Any, model_settings: Any, model_request_parameters: Any, run_context: Any = None
    ) -> AsyncGenerator[StreamedResponse]:
        async def asks() -> AsyncIterator[Any]:
            given = (messages, model_settings, model_request_parameters, run_context)
            async with self.wrapped.request_stream(*given) as response:
                async for event in response:
                    if isinstance(event, PartStartEvent | PartDeltaEvent):  # the others follow from these
                        yield event
                yield response.get()

        whole = await _recorded(messages, asks)
        yield CompletedStreamedResponse(whole, model_request_parameters=model_request_parameters, replay_events=True)

    def _start_request_deadline(self, model_settings: Any, *, stream: bool) -> Any:
        del stream  # `first_event_timeout` would be over before the agent gets the first event of a long answer
        return super()._start_request_deadline(model_settings, stream=False)


async def _recorded(messages: Any, asks: Callable[[], AsyncIterator[Any]]) -> ModelResponse:
    """What a model answers to messages."""
    items = context_here().model(forms.dump(forms.MESSAGES, messages), asks, form=forms.ITEM)
    return [item async for item in items][-1]


class _Toolset(WrapperToolset[Any]):
    """Tools whose results are recorded."""

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: Any) -> Any:
        call = {"name": name, "input": to_jsonable_python(tool_args), "toolUseId": ctx.tool_call_id}
        do, here = partial(self.wrapped.call_tool, name, tool_args, ctx, tool), context_here()
        known = outcome(here, name, (tool.tool_def.metadata or {}).get("annotations"))
        try:
            return await here.tool(call, do, on_unknown_outcome=known, shared=ctx.deps, form=forms.RESULT)
        except OutcomeUnknownError as error:
            raise ToolFailed(str(error)) from error
