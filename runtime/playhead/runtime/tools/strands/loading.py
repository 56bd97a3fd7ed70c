"""Tools from what Strands' `tools=` takes, by Strands' own registry."""

from __future__ import annotations

import inspect
import logging
import reprlib
import weakref
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, cast

from strands.agent.base import AgentBase
from strands.tools.registry import ToolRegistry
from strands.tools.tool_provider import ToolProvider
from strands.tools.tools import normalize_tool_spec
from strands.types.tools import AgentTool

from playhead.runtime.core.converse import ToolSpec
from playhead.runtime.core.plain import plain
from playhead.runtime.core.tool_results import invalid_name
from playhead.runtime.tools.hints import outcome_by_hints
from playhead.runtime.tools.quiet import without_errors_of
from playhead.runtime.tools.strands.adapter import adapted
from playhead.runtime.tools.tool import OnUnknownOutcome, Tool

__all__ = ["from_strands", "is_of_strands"]

logger: logging.Logger = logging.getLogger(__name__)

_LOGGERS: Final = ("strands.tools.registry", "strands.tools.loader", "strands.tools.mcp.mcp_client")
"""They log one failure at each level."""


def is_of_strands(item: object) -> bool:
    """Whether Strands' `tools=` takes it: an `AgentTool` (such as `@tool` functions), a `ToolProvider` (such as `MCPClient`), an agent, a module, a path or name, or a dict with a path."""
    if isinstance(item, Mapping):
        return isinstance(item, dict) and "path" in item
    return isinstance(item, AgentTool | ToolProvider | AgentBase | ModuleType | str)


def from_strands(
    item: object, *, timeout: float | None = None, on_unknown_outcome: OnUnknownOutcome | None = None
) -> list[Tool]:
    """Make tools of one item of Strands' `tools=`. `Agent` does so itself; call it to give the arguments of `@tool`.

    A `ToolProvider` is started here and stopped when the last of its tools is gone, or at the end of the process.

    Args:
        item: See `is_of_strands`.
        timeout: As for `@tool`.
        on_unknown_outcome: As for `@tool`; None for that of the tool's MCP annotations, else `retry`.

    Raises:
        TypeError: If Strands does not take it, or a tool is a method that was taken from its class.
        ValueError: If it cannot be loaded or has no tool, a name or schema is invalid, or two tools share a name.
    """
    if not is_of_strands(item):
        raise TypeError(f"{reprlib.repr(item)} of type {type(item).__name__} is not a tool of Strands")
    registry = ToolRegistry()
    try:
        with without_errors_of(*_LOGGERS):
            names = registry.process_tools([item])
    except ValueError as error:
        _release(*_providers(registry))
        raise ValueError(f"tools: {_shown(item)} cannot be loaded: {_root(error)}") from error
    if providers := _providers(registry)[0]:
        weakref.finalize(registry, _release, providers, _providers(registry)[1])
    elif not names:
        raise ValueError(f"tools: {_shown(item)} has no tool")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two tools of {_shown(item)} are named '{twice[0]}'; give one of them another name")
    tools: list[Tool] = []
    for inner in registry.registry.values():
        spec = _spec(inner, registry)
        outcome = on_unknown_outcome or outcome_by_hints(cast("Any", inner.tool_spec).get("annotations"))
        tools.append(adapted(inner, spec, holds=registry, timeout=timeout, on_unknown_outcome=outcome))
    return tools


def _providers(registry: ToolRegistry) -> tuple[list[ToolProvider], str]:
    """The providers of a registry, and its id among their consumers. Strands has no public name for them."""
    inside = vars(registry)
    return inside["_tool_providers"], inside["_registry_id"]


def _release(providers: list[ToolProvider], consumer: str) -> None:
    for provider in providers:
        try:
            provider.remove_consumer(consumer)
        except Exception as error:  # an MCPClient whose server has died raises here, too
            logger.warning("the %s of an agent's tools raised when it was released: %s", type(provider).__name__, error)


def _shown(item: object) -> str:
    if isinstance(item, ModuleType):
        return f"the module {item.__name__}"
    return reprlib.repr(item) if isinstance(item, str | dict) else f"the {type(item).__name__} given"


def _root(error: BaseException) -> str:
    """The first cause of an error, which names the file, module or server."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return f"{type(error).__name__}: {error}"


def _spec(inner: AgentTool, registry: ToolRegistry) -> ToolSpec:
    name = inner.tool_name
    if flaw := invalid_name(name):
        raise ValueError(f"{flaw}: a tool's name has 1 to 64 letters, digits, '_' and '-'")
    fn = getattr(inner, "_tool_func", None)
    if inspect.isfunction(fn) and next(iter(inspect.signature(fn).parameters), None) in ("self", "cls"):
        raise TypeError(f"tool '{name}' is a method: pass it from an instance, as in tools=[thing.{name}]")
    try:
        spec = normalize_tool_spec(inner.tool_spec)
        registry.validate_tool_spec(spec)
        schema = cast("dict[str, Any]", spec["inputSchema"])["json"]
    except Exception as error:  # the specification is the user's, and may be anything
        raise ValueError(f"tool '{name}' has an invalid specification: {error}") from error
    return {"name": name, "description": str(spec["description"]), "inputSchema": {"json": plain(schema)}}
