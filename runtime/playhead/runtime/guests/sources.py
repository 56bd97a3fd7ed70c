"""What makes the agents of guests: a function without arguments, or an agent itself."""

from __future__ import annotations

from typing import Any

from playhead.runtime.core.errors import AgentFactoryError

__all__ = ["called", "made_by", "name_of_function"]


def name_of_function(make: object) -> str:
    """The function's name, for errors."""
    return getattr(make, "__name__", "the function")


def called(make: Any) -> Any:
    """What the function makes.

    Raises:
        AgentFactoryError: If it raises.
    """
    try:
        return make()
    except Exception as error:
        raise AgentFactoryError(f"{name_of_function(make)} raised {type(error).__name__}: {error}") from error


def made_by(source: Any, *, kind: type | tuple[type, ...], kinds: tuple[type, ...], told: str) -> Any:
    """The agent that a source is or makes.

    Args:
        source: An agent of `kind`, or a function that makes one of `kinds`.
        kind: The classes of agents that are a source themselves.
        kinds: The classes of what a function may make.
        told: What these are, for people.

    Raises:
        TypeError: If the function makes something else.
        AgentFactoryError: If it raises.
    """
    if isinstance(source, kind):
        return source
    made = called(source)
    if not isinstance(made, kinds):
        name = name_of_function(source)
        raise TypeError(f"{name} returned {made!r:.80} of type {type(made).__name__}, not {told}")
    return made
