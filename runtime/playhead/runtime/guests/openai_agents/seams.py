"""The seams in the OpenAI Agents SDK: tools and models of each agent that runs, runs within a run, and spans."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from agents import Agent, AgentBase, Model, RunConfig
from agents.run import AgentRunner, set_default_agent_runner
from agents.tracing import get_trace_provider

from playhead.runtime.guests.openai_agents import forms
from playhead.runtime.guests.seams import answer, apart, once, put_once, recording
from playhead.runtime.host.context import GuestContext, current_context

__all__ = ["quiet_spans", "recorded_config"]


def recorded_config(given: Any, ctx: GuestContext) -> RunConfig:
    """The configuration of a run: its models are recorded, and its spans are in one trace for all owners of the hosted run."""
    config = RunConfig(**given) if isinstance(given, dict) else given or RunConfig()
    _see_model(config.model)
    put_once(config.model_provider, "get_model", lambda get_model: lambda name: _see_model(get_model(name)))
    trace = f"trace_{hashlib.blake2b(ctx.run_id.encode(), digest_size=16).hexdigest()}"
    return replace(config, trace_id=config.trace_id or trace, group_id=config.group_id or ctx.session_id)


def _see_model(model: Any) -> Any:
    """Let the answers of a model be recorded; a name, or None, is looked up by the provider."""
    if isinstance(model, Model):
        put_once(model, "get_response", _responds)
        put_once(model, "stream_response", _streams)
    return model


def _asked(instructions: Any, messages: Any) -> dict[str, Any]:
    """A request as it is now: the runner of the SDK adds to its list of messages."""
    return {"instructions": instructions, "messages": list(messages) if isinstance(messages, list) else messages}


def _streams(stream: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    def recorded(system_instructions: Any, input: Any, *given: Any, **more: Any) -> AsyncIterator[Any]:  # noqa: A002
        ctx, asks = recording(), partial(stream, system_instructions, input, *given, **more)
        asked = _asked(system_instructions, input)
        return asks() if ctx is None else ctx.model(asked, apart(asks), form=forms.CHUNK)

    return recorded


def _responds(respond: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def recorded(system_instructions: Any, input: Any, *given: Any, **more: Any) -> Any:  # noqa: A002
        ctx, asks = recording(), partial(respond, system_instructions, input, *given, **more)
        asked = _asked(system_instructions, input)
        return await (asks() if ctx is None else answer(ctx.model(asked, once(asks), form=forms.RESPONSE)))

    return recorded


def _all_tools(get_all_tools: Callable[..., Awaitable[list[Any]]]) -> Callable[..., Awaitable[list[Any]]]:
    """An agent that runs is asked for its tools before each call of its model."""

    async def found(self: Any, run_context: Any) -> list[Any]:
        tools = await get_all_tools(self, run_context)
        if current_context() is not None:
            _see_model(getattr(self, "model", None))
            for tool in tools:
                invoker = getattr(tool, "on_invoke_tool", None)
                if hasattr(invoker, "_invoke_tool_impl"):  # within the SDK's own one: its handling of errors runs again
                    put_once(invoker, "_invoke_tool_impl", partial(_called, tool))
                elif invoker is not None:
                    put_once(tool, "on_invoke_tool", partial(_called, tool))
        return tools

    return found


def _called(tool: Any, call: Callable[[Any, str], Awaitable[Any]]) -> Callable[[Any, str], Awaitable[Any]]:
    """The calls of a tool. That of an agent is entered again after a takeover, because its own calls are recorded."""

    async def recorded(tool_context: Any, arguments: str) -> Any:
        ctx, use_id = current_context(), getattr(tool_context, "tool_call_id", tool.name)
        do = partial(call, tool_context, arguments)
        if ctx is None:
            return await do()
        if getattr(tool, "_agent_instance", None) is not None:
            with ctx.within(f"{tool.name}#{use_id}"):
                return await do()
        use = {"name": tool.name, "input": forms.input_of(arguments), "toolUseId": use_id}
        return await ctx.tool(use, do, shared=tool_context.context, form=forms.OUTPUT)

    return recorded


class _Runner(AgentRunner):
    """The SDK's runner, which also runs the agents within a hosted run: guardrails, agents as tools, those that tools run."""

    async def run(self, starting_agent: Agent[Any], input: Any, **given: Any) -> Any:  # noqa: A002
        with _within(starting_agent, given) as options:
            return await super().run(starting_agent, input, **options)

    def run_streamed(self, starting_agent: Agent[Any], input: Any, **given: Any) -> Any:  # noqa: A002
        with _within(starting_agent, given) as options:
            return super().run_streamed(starting_agent, input, **options)


@contextmanager
def _within(agent: Agent[Any], given: dict[str, Any]) -> Generator[Any]:
    ctx = current_context()
    with nullcontext() if ctx is None else ctx.within(agent.name):
        yield given if ctx is None else {**given, "run_config": recorded_config(given.get("run_config"), ctx)}


def quiet_spans() -> None:
    """Let no processor of the SDK's provider get spans while a log answers. Another provider is left as it is."""
    processors = vars(get_trace_provider()).get("_multi_processor")  # all of them, also those that are added later
    for name in () if processors is None else ("on_span_start", "on_span_end"):
        put_once(processors, name, _unless_replaying)


def _unless_replaying(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    def told(span: Any) -> None:
        ctx = current_context()
        if ctx is None or not ctx.replaying:
            tell(span)

    return told


put_once(AgentBase, "get_all_tools", _all_tools)
set_default_agent_runner(_Runner())
