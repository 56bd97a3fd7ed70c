"""Which values are agents of other frameworks, without importing a framework that is not there."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, Final, cast

from playhead.runtime.host.guest import Guest

__all__ = ["is_strands_agent", "makes_strands_agent", "takes_nothing", "strands_guest"]


_AGENT: Final = ("strands.agent.agent", "Agent")
_MANY: Final = ("strands.multiagent.base", "MultiAgentBase")


def _is_class(kind: object, *names: tuple[str, str]) -> bool:
    mro = cast("list[type]", getattr(kind, "__mro__", []))
    return any((one.__module__, one.__name__) in names for one in mro)


def is_strands_agent(value: object) -> bool:
    """Whether a value is a `strands.Agent`."""
    return _is_class(type(value), _AGENT)


def takes_nothing(value: object) -> bool:
    """Whether a value is a function, not an async one, that is called without arguments."""
    if not inspect.isfunction(value) or inspect.iscoroutinefunction(value):
        return False
    return not inspect.signature(value).parameters


def makes_strands_agent(value: object) -> bool:
    """Whether a function says by its annotation that it makes a Strands agent, graph or swarm: `() -> strands.Agent`."""
    if not takes_nothing(value):
        return False
    try:
        return _is_class(typing.get_type_hints(value).get("return"), _AGENT, _MANY)
    except Exception:  # a name that is known to type checkers only
        return False


def strands_guest(source: object, *, name: str | None) -> Guest:
    """The guest of a Strands agent, or of a function without arguments that makes one.

    Args:
        source: It.
        name: Where it was found, for an agent without a name of its own.

    Raises:
        TypeError, ValueError, AgentFactoryError: As `StrandsGuest`.
    """
    from playhead.runtime.guests.strands.guest import StrandsGuest

    if is_strands_agent(source) and getattr(source, "name", "") != "Strands Agents":
        name = None
    return StrandsGuest(cast("Callable[[], Any]", source), name=name)
