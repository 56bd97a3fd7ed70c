"""Opens a model's stream with the arguments that Strands passes, as far as the model's `stream` accepts them.

The models of Strands and of its users read them: a system prompt as blocks with cache points, the caller's own values,
a signal to break off a request, the session for a cache key.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.system_prompt import sent_blocks
from playhead.runtime.models.model import Model

__all__ = ["AgentMetadata", "CallContext", "accepted", "open_stream"]

_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentMetadata:
    """What a model is told of the agent that calls it; Strands' class of this name has the same attribute.

    Attributes:
        session_id: The session that the run belongs to, or None.
    """

    session_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallContext:
    """What surrounds the model calls of one ownership of a run.

    Attributes:
        invocation_state: The caller's own values; the tools of the run get the same dict.
        cancel_signal: Set as soon as the run is being cancelled. The stream is closed then, whether the model reads it
            or not.
        session_id: The run's session, or None.
        model_state: A dict of the model's own. It is not in the log, so it is empty after a takeover.
    """

    invocation_state: dict[str, Any] = field(default_factory=dict[str, Any])
    cancel_signal: threading.Event = field(default_factory=threading.Event)
    session_id: str | None = None
    model_state: dict[str, Any] = field(default_factory=dict[str, Any])


def open_stream(model: Model, request: ModelRequest, context: CallContext) -> AsyncIterator[Chunk]:
    """Call a model's `stream` and return its iterator.

    Raises:
        TypeError: If `stream` does not return an async iterable.
        Exception: Any exception of `stream` itself, where it is not a generator.
    """
    offered = {
        "tool_choice": request.tool_choice,
        "system_prompt_content": sent_blocks(request.system_prompt, request.system_prompt_content),
        "invocation_state": context.invocation_state,
        "model_state": context.model_state,
        "cancel_signal": context.cancel_signal,
        "agent_metadata": AgentMetadata(session_id=context.session_id),
    }
    stream: Any = model.stream(
        request.messages, request.tool_specs, request.system_prompt, **accepted(model.stream, offered)
    )
    if not hasattr(stream, "__aiter__"):
        if inspect.iscoroutine(stream):
            stream.close()
        name = f"{type(model).__qualname__}.stream"
        raise TypeError(f"{name} must be an async generator, and returned an object of type {type(stream).__name__}")
    return aiter(stream)


def accepted(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `offered` that a function accepts: all, if it has `**kwargs`."""
    names = _names(getattr(function, "__func__", function))
    return dict(offered) if names is None else {name: offered[name] for name in offered if name in names}


@functools.lru_cache(maxsize=256)
def _names(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names that a function accepts as keywords; None if it accepts any, or does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters if parameter.kind in _NAMED)
