"""Tools: Python functions that a model may call.

    @tool
    def word_count(text: str) -> int:
        '''Count the words of a text.

        Args:
            text: The text.
        '''
        return len(text.split())

The decorated function can still be called as before; the runtime calls `Tool.stream`.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import reprlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast, get_args, overload

from typing_extensions import ParamSpec, TypeVar

from playhead.runtime.core.arguments import check_mapping, check_text
from playhead.runtime.core.converse import ToolSpec
from playhead.runtime.core.tool_results import invalid_name
from playhead.runtime.tools.mcp.server import MCPServer
from playhead.runtime.tools.schema import read_description, read_input
from playhead.runtime.tools.tool import OnUnknownOutcome, Tool

__all__ = ["as_tool", "tool", "tool_index"]

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    inputSchema: dict[str, Any] | None = None,  # noqa: N803
    context: bool | str = False,
    timeout: float | None = None,
    on_unknown_outcome: OnUnknownOutcome = "retry",
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    inputSchema: dict[str, Any] | None = None,  # noqa: N803  (Strands' spelling)
    context: bool | str = False,
    timeout: float | None = None,
    on_unknown_outcome: OnUnknownOutcome = "retry",
) -> Any:
    """Turn a function into a tool. Use it as `@tool` or `@tool(...)`.

    The schema comes from the annotations; descriptions come from the docstring (`Args:`), `Annotated[str, "text"]` or
    pydantic's `Field`. The function may be sync (it runs in a thread), async, or a generator of either kind: each value
    it yields is progress, the last one the result. A parameter annotated `ToolContext` is not shown to the model.

    Args:
        fn: The function.
        name: The tool's name: 1 to 64 letters, digits, `_` and `-`. Defaults to the function's name.
        description: Replaces the docstring.
        inputSchema: A JSON schema, bare or as `{"json": schema}`, shown instead of the derived one. Input is still
            validated against the annotations; `**kwargs` takes keys that they do not name.
        context: The name of a parameter that gets the `ToolContext`, or True for `tool_context`.
        timeout: Seconds from the body's start to its end; an async body is then cancelled, a thread abandoned.
        on_unknown_outcome: After a takeover, what to do with a call that was started and not finished: `retry` runs it
            again (with the same `effect_key`), `fail` tells the model that its outcome is unknown, `ask` pauses the
            run with the interrupt `unknown_outcome`; respond with "retry", "fail" or `{"result": <the result>}`.

    Raises:
        ValueError: If the name, time limit or `on_unknown_outcome` is invalid, or `context` names no parameter.
        TypeError: If `fn` is not a function, or its annotations cannot be read.
    """

    def decorate(fn: Callable[P, R]) -> Tool[P, R]:
        if isinstance(fn, staticmethod | classmethod) or not callable(fn):
            raise TypeError(
                f"@tool takes a function, not {type(cast(object, fn)).__name__}; write @staticmethod or @classmethod above @tool"
            )
        called = _name_of(fn) if name is None else name
        _check_options(called, timeout=timeout, on_unknown_outcome=on_unknown_outcome)
        check_text("description", description, optional=True, empty=True)
        check_mapping("inputSchema", inputSchema, optional=True)
        reads = read_input(fn, context=context)
        schema = {"json": reads.json_schema()} if inputSchema is None else inputSchema
        spec: ToolSpec = {
            "name": called,
            "description": read_description(fn) if description is None else description,
            "inputSchema": schema if "json" in schema else {"json": schema},
        }
        return Tool(fn, spec, reads=reads, timeout=timeout, on_unknown_outcome=on_unknown_outcome)

    return decorate if fn is None else decorate(fn)


def _name_of(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _check_options(name: str, *, timeout: float | None, on_unknown_outcome: str) -> None:
    if flaw := invalid_name(name):
        raise ValueError(f"{flaw}: a tool's name has 1 to 64 letters, digits, '_' and '-'. Pass name=.")
    limit = f"tool '{name}': timeout={timeout!r} must be a number of seconds above 0, or None"
    if isinstance(cast("object", timeout), bool | str):
        raise TypeError(limit)
    if timeout is not None and not (0 < timeout < math.inf):
        raise ValueError(limit)
    if on_unknown_outcome not in get_args(OnUnknownOutcome):
        raise ValueError(f"tool '{name}': on_unknown_outcome={on_unknown_outcome!r} must be retry, fail or ask")


def as_tool(obj: object) -> Tool:
    """Return a `Tool` unchanged, and turn a plain function or bound method into one as `@tool` does.

    Raises:
        TypeError: For anything else, and for a method tool taken from its class rather than from an instance.
    """
    if inspect.ismethod(obj) and isinstance(obj.__func__, Tool):  # @classmethod above @tool, from Python 3.13 on
        obj = cast(Tool, obj.__func__).__get__(obj.__self__, type(obj.__self__))
    if isinstance(obj, Tool):
        if obj.is_unbound_method:
            raise TypeError(f"tool '{obj.name}' is a method: pass it from an instance, as in tools=[thing.{obj.name}]")
        return cast(Tool, obj)
    if inspect.isfunction(obj) or inspect.ismethod(obj):
        return tool(obj)
    raise TypeError(
        f"{reprlib.repr(obj)} of type {type(obj).__name__} is not a tool. "
        "Pass a function decorated with @tool, a plain function, or a list of these. Other forms of tools of Strands need "
        "the extra strands: pip install 'playhead-runtime[strands]'."
    )


def tool_index(tools: Sequence[object]) -> dict[str, Tool]:
    """Index tools by name, in order. Nested lists, tuples and sets are flattened; Strands' tools are adapted.

    Raises:
        TypeError: As `as_tool`.
        ValueError: If two tools have one name, or an item that Strands knows cannot be loaded.
    """
    index: dict[str, Tool] = {}
    for made in _made(tools):
        if made.name in index:
            raise ValueError(
                f"two tools are named '{made.name}'; give one of them another name with @tool(name=…) or as_tool(name=…)"
            )
        index[made.name] = made
    return index


def _made(item: object) -> list[Tool]:
    if isinstance(item, list | tuple | set | frozenset):
        return [made for nested in cast("Sequence[object]", item) for made in _made(nested)]
    if isinstance(item, MCPServer):
        return item.tools()
    loadable = isinstance(item, str | dict | ModuleType)  # else it is of Strands only if Strands has been imported
    if not isinstance(item, Tool) and (loadable or "strands" in sys.modules) and importlib.util.find_spec("strands"):
        from playhead.runtime.tools.strands.loading import from_strands, is_of_strands

        if is_of_strands(item):
            return from_strands(item)
    return [as_tool(item)]
