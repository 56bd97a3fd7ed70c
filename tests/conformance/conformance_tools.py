"""Tools from plain data: a real `@tool` function for each input schema and behaviour."""

from __future__ import annotations

import inspect
import operator
from collections.abc import AsyncIterator, Callable
from functools import reduce
from typing import Annotated, Any, Final, Literal, cast

import anyio
from pydantic import BaseModel, create_model

from playhead.runtime import Tool, ToolContext, tool
from tests.conformance.conformance_scenarios import Scenario, decode

__all__ = ["build_tools", "output_class"]

MakeAgent = Callable[[dict[str, Any], list[Tool]], Tool]

GIVE_UP_S: Final = 5.0
_TYPES: Final[dict[str, Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[Any],
    "object": dict[str, Any],
    "null": None,
}
_ERRORS: Final[dict[str, type[Exception]]] = {"ValueError": ValueError, "RuntimeError": RuntimeError}


class _Finished:
    """Which tools of which run have finished."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], anyio.Event] = {}

    def note(self, run_id: str, name: str) -> None:
        self._of(run_id, name).set()

    async def wait(self, run_id: str, name: str | None) -> None:
        if name is not None:
            with anyio.move_on_after(GIVE_UP_S):
                await self._of(run_id, name).wait()

    def _of(self, run_id: str, name: str) -> anyio.Event:
        return self._events.setdefault((run_id, name), anyio.Event())


def build_tools(
    scenario: Scenario, *, agent: MakeAgent, make: Callable[..., Any] = tool, context: type[Any] = ToolContext
) -> list[Tool]:
    """The scenario's tools. Where one waits for another, or one asks, they are coroutines, else run in threads.

    Args:
        scenario: The scenario.
        agent: Makes a tool of an agent among them, of its specification and its own tools.
        make: The decorator of the tools.
        context: The class of the context that they are given.

    Raises:
        NotImplementedError: A behaviour needs what playhead does not have.
    """
    return _build_tools(scenario.get("tools", []), agent=agent, make=make, context=context)


def _build_tools(
    specs: list[dict[str, Any]], *, agent: MakeAgent, make: Callable[..., Any], context: type[Any]
) -> list[Tool]:
    asking = any(spec["behaviour"]["kind"] == "interrupt" for spec in specs)  # threads would ask in any order
    together = asking or any("wait_for" in spec["behaviour"] for spec in specs)
    finished = _Finished()
    return [
        agent(one, _build_tools(one["behaviour"].get("tools", []), agent=agent, make=make, context=context))
        if one["behaviour"]["kind"] == "agent"
        else make(name=one["name"], description=one["description"])(_function(one, finished, together, context))
        for one in specs
    ]


def _function(spec: dict[str, Any], finished: _Finished, together: bool, context: type[Any]) -> Callable[..., Any]:
    behaviour: dict[str, Any] = spec["behaviour"]
    if behaviour["kind"] == "stream":
        body = _streaming(behaviour, name=spec["name"], finished=finished)
    elif behaviour["kind"] not in ("return", "template", "sum", "tool_result", "raise", "interrupt", "stop"):
        raise NotImplementedError(f"a tool with the behaviour {behaviour['kind']!r}")
    else:
        body = _in_turn(behaviour, name=spec["name"], finished=finished) if together else _at_once(behaviour)
    made = cast("Any", body)
    made.__name__ = spec["name"]
    made.__signature__ = _signature(spec["input_schema"], context)
    made.__annotations__ = {name: item.annotation for name, item in made.__signature__.parameters.items()}
    return made


def _signature(schema: dict[str, Any], kind: type[Any]) -> inspect.Signature:
    required: list[str] = schema.get("required", [])
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=_annotation(item, optional=name not in required and item.get("default") is None),
            default=inspect.Parameter.empty if name in required else item.get("default"),
        )
        for name, item in schema.get("properties", {}).items()
    ]
    context = inspect.Parameter("tool_context", inspect.Parameter.KEYWORD_ONLY, annotation=kind)
    return inspect.Signature([*parameters, context])


def output_class(name: str, schema: dict[str, Any]) -> type[BaseModel]:
    """The pydantic class of a turn's structured output."""
    required: list[str] = schema.get("required", [])
    fields: dict[str, Any] = {
        key: (_annotation(item, optional=key not in required), ... if key in required else item.get("default"))
        for key, item in schema.get("properties", {}).items()
    }
    return create_model(name, __doc__=schema.get("description"), **fields)


def _annotation(item: dict[str, Any], *, optional: bool) -> Any:
    if "enum" in item:
        kind: Any = Literal[tuple(item["enum"])]
    else:
        names = item.get("type", [])
        kinds = [_TYPES[name] for name in ([names] if isinstance(names, str) else names)]
        kind = reduce(operator.or_, kinds) if kinds else Any
    if item.get("type") == "array" and "items" in item:
        kind = list[_annotation(item["items"], optional=False)]
    if optional:
        kind = kind | None
    return Annotated[kind, item["description"]] if "description" in item else kind


def _at_once(behaviour: dict[str, Any]) -> Callable[..., Any]:
    def body(*, tool_context: ToolContext, **values: Any) -> Any:
        return _outcome(behaviour, values, tool_context)

    return body


def _in_turn(behaviour: dict[str, Any], *, name: str, finished: _Finished) -> Callable[..., Any]:
    async def body(*, tool_context: ToolContext, **values: Any) -> Any:
        try:
            await finished.wait(_run_of(tool_context), behaviour.get("wait_for"))
            return _outcome(behaviour, values, tool_context)
        finally:
            finished.note(_run_of(tool_context), name)

    return body


def _outcome(behaviour: dict[str, Any], values: dict[str, Any], context: ToolContext) -> Any:
    match behaviour["kind"]:
        case "return":
            return decode(behaviour["value"])
        case "template":
            return behaviour["text"].format(**values)
        case "sum":
            return sum(values[name] for name in behaviour["args"])
        case "interrupt":
            response = context.interrupt(behaviour["name"], decode(behaviour.get("reason")))
            return _outcome(behaviour["then"], {**values, "response": response}, context)
        case "stop":
            context.agent.cancel(message=behaviour["message"], after_current_tools=True)
            return behaviour["message"]
        case "tool_result":
            return {"status": behaviour["status"], "content": decode(behaviour["content"])}
        case _:
            raise _ERRORS[behaviour["error"]](behaviour["message"])


def _run_of(context: Any) -> str:
    """The run; empty in Strands, whose tools are made for one play of a scenario."""
    return getattr(context, "run_id", "")


def _streaming(behaviour: dict[str, Any], *, name: str, finished: _Finished) -> Callable[..., Any]:
    async def body(*, tool_context: ToolContext, **values: Any) -> AsyncIterator[Any]:
        del values
        try:
            for value in behaviour["yields"]:
                yield decode(value)
            await finished.wait(_run_of(tool_context), behaviour.get("wait_for"))
            if error := behaviour.get("then_raise"):
                raise _ERRORS[error[0]](error[1])
        finally:
            finished.note(_run_of(tool_context), name)

    return body
