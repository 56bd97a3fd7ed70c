"""The seams in the OpenAI Agents SDK: tools and models of each agent that runs, runs within a run, and spans."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from agents import AgentBase, Model, RunConfig
from agents.run import get_default_agent_runner
from agents.tracing import get_trace_provider

from playhead.runtime.core.errors import OutcomeUnknownError
from playhead.runtime.guests.openai_agents import forms
from playhead.runtime.guests.seams import Call, answer, apart, argument, hosted, once, outcome
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.put_once import put_once

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
        put_once(model, "get_response", hosted(_responds))
        put_once(model, "stream_response", hosted(_streams))
    return model


def _streams(ctx: GuestContext, call: Call) -> AsyncIterator[Any]:
    return ctx.model(_asked(call), apart(call), form=forms.CHUNK)


def _responds(ctx: GuestContext, call: Call) -> Awaitable[Any]:
    return answer(ctx.model(_asked(call), once(call), form=forms.RESPONSE))


def _asked(call: Call) -> dict[str, Any]:
    _see_tools(argument(call, 3, "tools") or ())  # also those that a class of agents of one's own has added
    return {"instructions": argument(call, 0, "system_instructions"), "messages": argument(call, 1, "input")}


async def _all_tools(ctx: GuestContext, call: Call) -> list[Any]:
    """The tools of an agent that runs, which is asked for them before each call of its model."""
    del ctx
    agent, tools = call.args[0], await call()
    _see_model(getattr(agent, "model", None))
    _see_tools(tools)
    return tools


def _see_tools(tools: Iterable[Any]) -> None:
    for tool in tools:
        invoker, calls = getattr(tool, "on_invoke_tool", None), hosted(partial(_tool_call, tool))
        if hasattr(invoker, "_invoke_tool_impl"):  # within the SDK's own one: its handling of errors runs again
            put_once(invoker, "_invoke_tool_impl", calls)
        elif invoker is not None:
            put_once(tool, "on_invoke_tool", calls)


async def _tool_call(tool: Any, ctx: GuestContext, call: Call) -> Any:
    """Make a call of a tool. That of an agent is entered again after a takeover, because its own calls are recorded."""
    tool_context, arguments = call.args
    use_id = getattr(tool_context, "tool_call_id", tool.name)
    if getattr(tool, "_agent_instance", None) is not None:
        with ctx.within(f"{tool.name}#{use_id}"):
            return await call()
    use = {"name": tool.name, "input": forms.input_of(arguments), "toolUseId": use_id}
    known = outcome(ctx, tool.name, forms.hints_of(tool))
    try:
        return await ctx.tool(use, call, on_unknown_outcome=known, shared=tool_context.context, form=forms.OUTPUT)
    except OutcomeUnknownError as error:
        return str(error)  # of an exception the SDK tells the model to try again


async def _runs(ctx: GuestContext, call: Call) -> Any:
    """Run an agent within a hosted run: that of a guardrail, of a tool, or one that a tool runs."""
    with _within(ctx, call) as runs:
        return await runs()


def _runs_streamed(ctx: GuestContext, call: Call) -> Any:
    with _within(ctx, call) as runs:
        return runs()


@contextmanager
def _within(ctx: GuestContext, call: Call) -> Generator[Call]:
    with ctx.within(argument(call, 0, "starting_agent").name):
        yield partial(call, run_config=recorded_config(call.keywords.get("run_config"), ctx))


def quiet_spans() -> None:
    """Let no processor of the SDK's provider get spans while a log answers. Another provider is left as it is."""
    processors = vars(get_trace_provider()).get("_multi_processor")  # all of them, also those that are added later
    for name in () if processors is None else ("on_span_start", "on_span_end"):
        put_once(processors, name, hosted(lambda ctx, tell: None if ctx.replaying else tell()))


put_once(AgentBase, "get_all_tools", hosted(_all_tools))
put_once(get_default_agent_runner(), "run", hosted(_runs))
put_once(get_default_agent_runner(), "run_streamed", hosted(_runs_streamed))
