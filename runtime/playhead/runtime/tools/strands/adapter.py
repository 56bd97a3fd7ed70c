"""Makes a `Tool` of a Strands `AgentTool`: its stream is the body, so time limits, cancels and fences hold for it, too."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, cast

from strands.interrupt import Interrupt, InterruptException
from strands.types._events import AgentAsToolStreamEvent, ToolInterruptEvent, ToolResultEvent, ToolStreamEvent
from strands.types.tools import AgentTool

from playhead.runtime.core.converse import ToolSpec
from playhead.runtime.core.plain import plain
from playhead.runtime.core.tracebacks import exc_info
from playhead.runtime.tools.body import Returned
from playhead.runtime.tools.context import BodyInterrupted, ToolContext
from playhead.runtime.tools.schema import CONTEXT_ONLY
from playhead.runtime.tools.strands.facade import AgentOfCall
from playhead.runtime.tools.tool import OnUnknownOutcome, Tool

__all__ = ["adapted"]

logger: logging.Logger = logging.getLogger(__name__)

_LIVE: Final = frozenset(
    [
        "agent",
        "model",
        "messages",
        "system_prompt",
        "tool_config",
        "event_loop_cycle_id",
        "event_loop_parent_cycle_id",
        "event_loop_cycle_trace",
        "event_loop_cycle_span",
    ]
)
"""What Strands merges into the events of an agent: live objects, and the whole history again with each piece of text."""

_MISSING: Final = object()


def adapted(
    inner: AgentTool, spec: ToolSpec, *, holds: object, timeout: float | None, on_unknown_outcome: OnUnknownOutcome
) -> Tool:
    """The tool that runs `inner`, under the name in `spec`; it keeps `holds` alive."""

    async def on_loop(context: ToolContext) -> AsyncGenerator[object, None]:
        async with aclosing(_values(inner, context)) as values:
            async for value in values:
                yield value

    def in_thread(context: ToolContext) -> object:
        # Strands runs a sync function in the loop's own small thread pool: there it could begin after a wait, with the
        # run lost meanwhile. An event loop of its own has a pool of its own, so the function begins at once.
        return asyncio.run(_last(inner, context))

    body: Callable[..., object] = in_thread if _blocks(inner) else on_loop
    body.__name__ = spec["name"]
    body.__doc__ = spec["description"]
    vars(body)["holds"] = holds
    return Tool(body, spec, reads=CONTEXT_ONLY, timeout=timeout, on_unknown_outcome=on_unknown_outcome)


def _blocks(inner: AgentTool) -> bool:
    """Whether it is a sync function, which Strands would run in a thread."""
    fn = getattr(inner, "_tool_func", None)
    return fn is not None and not inspect.iscoroutinefunction(fn) and not inspect.isasyncgenfunction(fn)


async def _last(inner: AgentTool, context: ToolContext) -> object:
    last: object = None
    async with aclosing(_values(inner, context)) as values:
        async for value in values:
            last = value.value if isinstance(value, Returned) else value
    return last


async def _values(inner: AgentTool, context: ToolContext) -> AsyncGenerator[object, None]:
    """What the tool yields, then its result, if it has one of its own, as `Returned`.

    Raises:
        BodyInterrupted, BaseExceptionGroup: If it asks a human one question, or several.
        BaseException: What its `stream` raises.
    """
    use = copy.deepcopy(context.tool_use)
    # Strands makes the ids of interrupts of it, so it must differ if a model uses an id again in one run.
    use["toolUseId"] = context.effect_key.removeprefix(f"{context.run_id}/")
    before = dict(context.invocation_state)
    state: dict[str, Any] = {**before, "agent": AgentOfCall(context)}
    try:
        async with aclosing(inner.stream(cast("Any", use), state)) as events:
            async for event in events:
                if isinstance(event, ToolInterruptEvent):
                    raise _asked(event.interrupts)
                if isinstance(event, ToolResultEvent):
                    if event.exception is not None:
                        said = exc_info(event.exception)
                        logger.warning("run %s: the tool %r raised", context.run_id, inner.tool_name, exc_info=said)
                    yield Returned(event.tool_result)
                    return
                yield _shown(event)
    except InterruptException as error:
        raise _asked([error.interrupt]) from None
    finally:
        changed = {name: value for name, value in state.items() if value is not before.get(name, _MISSING)}
        changed.pop("agent")
        context.invocation_state.update(changed)  # in Strands all tools of an invocation share one dict


def _shown(event: object) -> object:
    """The value of a progress event; a tool of the user's own class yields the value itself."""
    if not isinstance(event, ToolStreamEvent):
        return event
    data = event["tool_stream_event"]["data"]
    if isinstance(event, AgentAsToolStreamEvent) and isinstance(data, dict):
        return {name: value for name, value in cast("dict[str, Any]", data).items() if name not in _LIVE}
    return data


def _asked(interrupts: Iterable[Interrupt]) -> BaseException:
    asked = [BodyInterrupted({**plain(one.to_dict()), "response": None}) for one in interrupts]
    return asked[0] if len(asked) == 1 else BaseExceptionGroup("questions", asked)
