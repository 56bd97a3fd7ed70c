"""Puts the seams of a host into agents of the OpenAI Agents SDK. Outside of hosted runs they work as before."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import update_wrapper, wraps
from typing import Any, Final

from agents import Agent, Handoff, RunConfig
from agents.run import AgentRunner, set_default_agent_runner

from playhead.runtime.guests.openai_agents import forms
from playhead.runtime.guests.openai_agents.models import RecordedProvider, recorded_model
from playhead.runtime.guests.openai_agents.tracing import trace_of
from playhead.runtime.host.context import GuestContext, current_context

__all__ = ["put_seams", "recorded_config"]

_LOCK: Final = threading.Lock()


def put_seams(agent: Any) -> None:
    """Let an agent, and those that it hands over to, be recorded."""
    with _LOCK:
        agent.model = recorded_model(agent.model)
        if "get_all_tools" in vars(agent):
            return
        agent.get_all_tools = _recorded_tools(agent.get_all_tools)
    for one in agent.handoffs:
        if isinstance(one, Handoff):
            one.on_invoke_handoff = _to_seams(one.on_invoke_handoff)
        else:
            put_seams(one)


def recorded_config(given: Any, ctx: GuestContext) -> RunConfig:
    """The configuration of a run, with its models recorded, and its spans in the trace of the hosted run."""
    config = RunConfig(**given) if isinstance(given, dict) else given or RunConfig()
    provider = config.model_provider
    provider = provider if isinstance(provider, RecordedProvider) else RecordedProvider(provider)
    trace, group = config.trace_id or trace_of(ctx.run_id), config.group_id or ctx.session_id
    return replace(config, model=recorded_model(config.model), model_provider=provider, trace_id=trace, group_id=group)


def _to_seams(invoke: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(invoke)
    async def invoked(*given: Any) -> Any:
        agent = await invoke(*given)
        put_seams(agent)
        return agent

    return invoked


def _recorded_tools(get_all_tools: Callable[..., Awaitable[list[Any]]]) -> Callable[..., Awaitable[list[Any]]]:
    @wraps(get_all_tools)
    async def tools(run_context: Any) -> list[Any]:
        found = await get_all_tools(run_context)
        for tool in found:
            invoker = getattr(
                tool, "on_invoke_tool", None
            )  # within the SDK's own one, its handling of errors runs again
            name = "_invoke_tool_impl" if hasattr(invoker, "_invoke_tool_impl") else "on_invoke_tool"
            holder = tool if name == "on_invoke_tool" else invoker
            call = getattr(holder, name, None)
            if call is not None and not isinstance(call, _RecordedCall):
                setattr(holder, name, _RecordedCall(call, tool))
        return found

    return tools


class _RecordedCall:
    """The calls of a tool. That of an agent is entered again after a takeover, because its own calls are recorded."""

    def __init__(self, call: Callable[[Any, str], Awaitable[Any]], tool: Any) -> None:
        update_wrapper(self, call)
        self._call = call
        self._name: str = tool.name
        self._is_agent = getattr(tool, "_agent_instance", None) is not None

    async def __call__(self, tool_context: Any, arguments: str) -> Any:
        async def do() -> Any:
            return forms.output_of(await self._call(tool_context, arguments))

        ctx = current_context()
        if ctx is None:
            return await self._call(tool_context, arguments)
        call_id = getattr(tool_context, "tool_call_id", self._name)
        if self._is_agent:
            with ctx.within(call_id):
                return await self._call(tool_context, arguments)
        use = {"name": self._name, "input": forms.input_of(arguments), "toolUseId": call_id}
        return await ctx.tool(use, do, shared=tool_context.context)


class _Runner(AgentRunner):
    """The SDK's runner, which also runs the agents within a hosted run: guardrails, agents as tools, those that tools run."""

    async def run(self, starting_agent: Agent[Any], input: Any, **given: Any) -> Any:  # noqa: A002
        ctx = current_context()
        if ctx is None:
            return await super().run(starting_agent, input, **given)
        with ctx.within(f"run of {starting_agent.name}"):
            return await super().run(starting_agent, input, **_seen(starting_agent, given, ctx))

    def run_streamed(self, starting_agent: Agent[Any], input: Any, **given: Any) -> Any:  # noqa: A002
        ctx = current_context()
        if ctx is None:
            return super().run_streamed(starting_agent, input, **given)
        with ctx.within(f"run of {starting_agent.name}"):
            return super().run_streamed(starting_agent, input, **_seen(starting_agent, given, ctx))


def _seen(agent: Agent[Any], given: dict[str, Any], ctx: GuestContext) -> dict[str, Any]:
    put_seams(agent)
    return {**given, "run_config": recorded_config(given.get("run_config"), ctx)}


set_default_agent_runner(_Runner())
