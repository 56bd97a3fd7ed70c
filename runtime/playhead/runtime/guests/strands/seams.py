"""Puts the seams of a host into a Strands agent: its innermost middleware, its models, its waits and its printing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any
from weakref import WeakSet

from strands import Agent, ModelRetryStrategy
from strands.handlers import null_callback_handler
from strands.hooks import AfterInvocationEvent, AfterModelCallEvent, BeforeModelCallEvent, MessageAddedEvent
from strands.middleware import ExecuteToolStage, InvokeModelContext, InvokeModelStage
from strands.types.events import TypedEvent

from playhead.runtime.guests.strands.hosted import HOSTED, replaying
from playhead.runtime.guests.strands.models import RecordedModel, ShownModel, bare_model
from playhead.runtime.guests.strands.steering import steer_after, steer_before
from playhead.runtime.guests.strands.telemetry import quiet_telemetry
from playhead.runtime.guests.strands.tools import recorded_tool_call
from playhead.runtime.host.current import in_scope
from playhead.runtime.host.keys import SCOPE

__all__ = ["put_seams"]

_HAVE: WeakSet[Agent] = WeakSet()


def put_seams(agent: Agent) -> None:
    """Let an agent, and the agents among its tools, be recorded in the runs of a host. Elsewhere they work as before."""
    quiet_telemetry()
    if agent in _HAVE:
        return
    _HAVE.add(agent)
    inside = vars(agent)  # Strands has no public names for these
    agent.model = RecordedModel(agent.model)
    if inside["_aux_model"] is not None:
        agent.aux_model = RecordedModel(inside["_aux_model"])
    _wait_once(inside["_retry_strategy"])
    agent.callback_handler = _quiet(agent.callback_handler)
    for tool in agent.tool_registry.registry.values():
        if isinstance(inner := getattr(tool, "agent", None), Agent):
            put_seams(inner)
    agent.hooks.add_callback(MessageAddedEvent, _message_added)
    agent.hooks.add_callback(AfterModelCallEvent, _model_called)
    agent.hooks.add_callback(BeforeModelCallEvent, steer_before)
    agent.hooks.add_callback(AfterInvocationEvent, steer_after)
    agent.add_middleware(InvokeModelStage, _recorded_model_call)
    agent.add_middleware(ExecuteToolStage, recorded_tool_call)


def _message_added(event: MessageAddedEvent) -> None:
    run = HOSTED.get()
    if run is not None and event.agent is run.top:
        run.events.message_added(event)


def _model_called(event: AfterModelCallEvent) -> None:
    run = HOSTED.get()
    if run is not None and event.agent is run.top:
        run.events.model_called(event)


async def _recorded_model_call(
    context: InvokeModelContext, next_fn: Callable[[InvokeModelContext], AsyncGenerator[TypedEvent, None]]
) -> AsyncGenerator[TypedEvent, None]:
    run = HOSTED.get()
    shown = run is not None and context.agent is run.top and not SCOPE.get()
    model = (ShownModel if shown else RecordedModel)(bare_model(context.model))
    events = next_fn(context.replace(model=model))
    scope = "" if run is None else run.scope_of(context.agent)
    try:
        if scope == SCOPE.get():
            async for event in events:
                yield event
            return
        while True:
            with in_scope(scope):
                event = await anext(events, None)
            if event is None:
                return
            yield event
    finally:
        await events.aclose()


def _wait_once(strategy: object) -> None:
    """Let a strategy not wait again where the log answers: that wait is over."""
    if not isinstance(strategy, ModelRetryStrategy) or "_calculate_delay" in vars(strategy):
        return
    name = "_calculate_delay"
    waits: Callable[[int], float] = getattr(strategy, name)
    setattr(strategy, name, lambda attempt: 0 if replaying() else waits(attempt))


def _quiet(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A callback handler that is not called for what it was called for before."""
    if handler is null_callback_handler:
        return handler

    def quiet(**event: Any) -> None:
        if not replaying():
            handler(**event)

    return quiet
