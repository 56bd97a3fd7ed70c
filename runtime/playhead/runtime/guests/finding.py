"""Which values are agents of other frameworks, without importing a framework that is not there."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections import abc
from typing import Any, Final, NamedTuple, cast

from playhead.runtime.core.checks import check_agent
from playhead.runtime.guests.sources import Kinds, made_by
from playhead.runtime.host.guest import Guest
from playhead.runtime.host.versions import framework_of

__all__ = ["framework_agent", "framework_guest", "is_to_be_made", "makes_framework_agent", "takes_nothing"]


_GIVES: Final = (abc.AsyncGenerator, abc.AsyncIterator, abc.Generator, abc.Iterator)


class _Framework(NamedTuple):
    """How a framework's agents are known, and what runs them: classes by their modules and names.

    Attributes:
        told: What its agents are, for people.
        distribution: What it is installed as.
        guest: The class of the guest: its module and name.
        agents: The classes whose objects are TARGETs.
        made: Further classes whose objects a function may make.
        unnamed: The name of an agent that got none.
    """

    told: str
    distribution: str
    guest: tuple[str, str]
    agents: tuple[tuple[str, str], ...]
    made: tuple[tuple[str, str], ...] = ()
    unnamed: str = ""


_FRAMEWORKS: Final = (
    _Framework(
        "a strands.Agent, a Graph or a Swarm",
        "strands-agents",
        ("playhead.runtime.guests.strands.guest", "StrandsGuest"),
        agents=(("strands.agent.agent", "Agent"),),
        made=(("strands.multiagent.base", "MultiAgentBase"),),
        unnamed="Strands Agents",
    ),
    _Framework(
        "a pydantic_ai.Agent",
        "pydantic-ai-slim",
        ("playhead.runtime.guests.pydantic_ai", "PydanticAIGuest"),
        agents=(("pydantic_ai.agent.abstract", "AbstractAgent"),),
    ),
    _Framework(
        "an agents.Agent of the OpenAI Agents SDK",
        "openai-agents",
        ("playhead.runtime.guests.openai_agents", "OpenAIAgentsGuest"),
        agents=(("agents.agent", "Agent"),),
    ),
    _Framework(
        "a compiled graph of LangGraph",
        "langgraph",
        ("playhead.runtime.guests.langgraph", "LangGraphGuest"),
        agents=(("langgraph.pregel.main", "Pregel"),),
        unnamed="LangGraph",
    ),
)


def _framework(kind: object, *, made: bool) -> _Framework | None:
    """The framework that has this class, or a base of it, as an agent; with `made` also as what a function makes."""
    names = {(one.__module__, one.__name__) for one in cast("list[type]", getattr(kind, "__mro__", []))}
    return next((one for one in _FRAMEWORKS if names & {*one.agents, *(one.made if made else ())}), None)


def framework_agent(value: object) -> bool:
    """Whether a value is an agent of a framework that a worker runs as it is."""
    return _framework(type(value), made=False) is not None


def is_to_be_made(value: object) -> bool:
    """Whether a value is not a TARGET itself, but what a function makes is: a graph or a swarm keeps what a run did in it."""
    return not framework_agent(value) and _framework(type(value), made=True) is not None


def takes_nothing(value: object) -> bool:
    """Whether a value is a function that is called without arguments; it may be async."""
    return inspect.isfunction(value) and not inspect.signature(value).parameters


def makes_framework_agent(value: object) -> bool:
    """Whether a function says by its annotation that it makes an agent of a framework: `() -> strands.Agent`."""
    return _annotated(value) is not None


def _annotated(value: object) -> _Framework | None:
    if not takes_nothing(value):
        return None
    try:
        made = typing.get_type_hints(value).get("return")
        if typing.get_origin(made) in _GIVES:  # of a context manager
            made = typing.get_args(made)[0]
        return _framework(typing.get_origin(made) or made, made=True)
    except Exception:  # a name that is known to type checkers only
        return None


def framework_guest(source: Any, *, name: str | None) -> Guest:
    """The guest of an agent of a framework, or of a function without arguments that makes one.

    Args:
        source: It. A function without an annotation is called, to see what it makes.
        name: Where it was found, for an agent without a name that clients could use.

    Raises:
        TypeError: If the function makes something else.
        ValueError: As the guest; or if the framework is of a version that cannot be hosted.
        AgentFactoryError: If the function raises.
    """
    framework = _framework(type(source), made=False) or _annotated(source) or _framework_made_by(source)
    module, guest = framework.guest
    own = None if takes_nothing(source) else getattr(source, "name", None)
    if own is not None and own != framework.unnamed and _names_agents(own):
        name = own
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        here = framework_of(framework.distribution)
        lacks = str(error).partition(" (/")[0]  # without the path of a file
        raise ValueError(f"{here} cannot be hosted ({lacks}): pip install -U {framework.distribution}") from error
    return getattr(found, guest)(source, name=name)


def _framework_made_by(make: Any) -> _Framework:
    def found(made: object) -> _Framework | None:
        return _framework(type(made), made=True)

    known = "; ".join(one.told for one in _FRAMEWORKS)
    kinds = Kinds(lambda one: False, lambda one: found(one) is not None, f"which is none of: {known}")
    framework = found(made_by(make, kinds))
    assert framework is not None, "as `kinds` says"
    return framework


def _names_agents(name: object) -> bool:
    try:
        check_agent(name)
    except ValueError:
        return False
    return True
