"""Derives the schema for the model from a Python function, and the function's arguments from a model's input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, ClassVar, Final, Union, cast, get_args, get_origin, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from playhead.runtime.tools.context import ToolContext

__all__ = ["CONTEXT_ONLY", "ToolInput", "read_description", "read_input"]

_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_ARGS_HEADINGS = ("args:", "arguments:", "parameters:", "params:")


@dataclass(frozen=True, slots=True)
class ToolInput:
    """The parameters of a tool's function.

    Attributes:
        model: Validates the model's input; its fields are the parameters that the model fills.
        parameters: Parameter name → field name of `model`, in the function's order.
        context_parameters: Names of the parameters that get the `ToolContext`.
        positional: Names of the positional-only parameters, in order.
        method: Whether the function's first parameter is `self` or `cls` and not bound yet.
        open: Whether the function takes `**kwargs`, and so keys that the schema does not name.
    """

    model: type[BaseModel]
    parameters: dict[str, str]
    context_parameters: tuple[str, ...]
    positional: tuple[str, ...]
    method: bool
    open: bool

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of the input, cleaned as Strands cleans it."""
        return _clean(self.model.model_json_schema(schema_generator=_QuietSchema))

    def arguments(self, data: object, context: ToolContext) -> tuple[list[Any], dict[str, Any]]:
        """Validate a model's input.

        Args:
            data: The parsed JSON; None counts as {}.
            context: The value of the context parameters.

        Returns:
            Positional and keyword arguments, with the annotated types: a parameter annotated with a pydantic model gets
            an instance.

        Raises:
            ValueError: With the message `Validation failed for input parameters: …` and pydantic's explanation.
        """
        try:
            checked = self.model.model_validate({} if data is None else data)
        except Exception as error:  # the annotations may contain the user's validators, which may raise anything
            raise ValueError(f"Validation failed for input parameters: {error}") from error
        values = {name: getattr(checked, field) for name, field in self.parameters.items()}
        if self.open:
            values |= {name: item for name, item in (checked.model_extra or {}).items() if name not in values}
        values |= dict.fromkeys(self.context_parameters, context)
        return [values.pop(name) for name in self.positional], values


class _Unchecked(BaseModel):
    """Any input: the tool checks its own."""

    model_config = ConfigDict(extra="allow")


CONTEXT_ONLY: Final = ToolInput(
    model=_Unchecked, parameters={}, context_parameters=("context",), positional=(), method=False, open=False
)
"""Of a body that is called with `context` only: it reads the model's input in `context.tool_use`."""


def read_input(fn: Callable[..., Any], *, context: bool | str = False) -> ToolInput:
    """Read a function's signature, annotations and docstring, including a dynamic `__signature__` or `__annotations__`.

    Raises:
        TypeError: If an annotation names something that does not exist at run time.
        ValueError: If `context` names no parameter.
    """
    signature = inspect.signature(fn)
    parameters = dict(signature.parameters)
    method = next(iter(parameters), None) in ("self", "cls")
    if method:
        del parameters[next(iter(parameters))]
    hints = _hints(fn, parameters)
    wanted = "tool_context" if context is True else context
    contexts = tuple(name for name in parameters if name == wanted or _is_context(hints.get(name)))
    if wanted is not False and not contexts:
        raise ValueError(f"{_name(fn)} has no parameter named '{wanted}' for the ToolContext that context= asks for")
    shown = {name: item for name, item in parameters.items() if name not in contexts and item.kind not in _VARIADIC}
    fields = {name: _field_name(name) for name in shown}
    texts = _parameter_texts(fn)
    definitions = {
        field: _field(name, shown[name].default, hint=hints.get(name, Any), text=texts.get(name))
        for name, field in fields.items()
    }
    is_open = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    config = ConfigDict(protected_namespaces=(), extra="allow" if is_open else "ignore")
    model = create_model(f"{_name(fn).capitalize()}Tool", __config__=config, **cast(dict[str, Any], definitions))
    positional = tuple(name for name, item in parameters.items() if item.kind is _POSITIONAL_ONLY)
    return ToolInput(model, fields, contexts, positional, method, is_open)


def read_description(fn: Callable[..., Any]) -> str:
    """The docstring without its Args section, or the function's name if nothing is left."""
    kept: list[str] = []
    skipped_from: int | None = None  # the indent of the Args heading being skipped
    for line in (inspect.getdoc(fn) or "").strip().splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip().lower() in _ARGS_HEADINGS:
            skipped_from = indent
        elif skipped_from is None or (line.strip() and indent <= skipped_from):
            skipped_from = None
            kept.append(line)
    return "\n".join(kept).strip() or _name(fn)


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _hints(fn: Callable[..., Any], parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
    """Parameter → annotation. The return annotation is not read, so it need not exist at run time."""
    declared: dict[str, Any] = getattr(fn, "__annotations__", {})
    annotations = {
        name: declared.get(name) if item.annotation is item.empty else item.annotation
        for name, item in parameters.items()
        if item.annotation is not item.empty or name in declared
    }
    source = inspect.unwrap(fn.func if isinstance(fn, partial) else fn)
    try:
        # get_type_hints reads a namespace as it reads a function, with the globals it is given.
        namespace = cast(Any, SimpleNamespace(__annotations__=annotations))
        return get_type_hints(namespace, getattr(source, "__globals__", {}), include_extras=True)
    except NameError as error:
        raise TypeError(
            f"cannot read the annotations of {_name(fn)}: {error}. Import the name at run time, at module level."
        ) from error


def _is_context(hint: object) -> bool:
    origin = get_origin(hint)
    if origin is Annotated or origin is Union or origin is UnionType:
        return any(_is_context(part) for part in get_args(hint))
    return hint is ToolContext


def _parameter_texts(fn: Callable[..., Any]) -> dict[str, str]:
    parsed = docstring_parser.parse(inspect.getdoc(fn) or "")
    return {item.arg_name: item.description for item in parsed.params if item.description}


def _field_name(name: str) -> str:
    """A field name that pydantic accepts: it refuses a leading underscore, and warns if a name hides one of its attributes."""
    return f"parameter_{name}" if name.startswith("_") or hasattr(BaseModel, name) else name


def _field(name: str, default: Any, *, hint: Any, text: str | None) -> tuple[Any, Any]:
    """The pydantic definition of one parameter. Later metadata wins, so the author's description overrides the docstring's."""
    base, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    own = next((extra for extra in extras if isinstance(extra, str)), None)
    description = own or text or f"Parameter {name}"
    if _field_name(name) == name:
        first: Any = Field(description=description)
    else:
        first = Field(description=description, alias=name)
    annotation = Annotated[(base, first, *(extra for extra in extras if not isinstance(extra, str)))]
    return annotation, ... if default is inspect.Parameter.empty else default


class _QuietSchema(GenerateJsonSchema):
    """Omits a default without a JSON form from the schema, without a warning at import."""

    ignored_warning_kinds: ClassVar[set[JsonSchemaWarningKind]] = {"skipped-choice", "non-serializable-default"}  # pyright: ignore[reportIncompatibleVariableOverride]


def _clean(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop pydantic's titles and `additionalProperties`; show an optional parameter as its type, not `anyOf` null."""
    _drop_metadata(schema)
    required: list[str] = schema.get("required", [])
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    for name, item in properties.items():
        options: list[dict[str, Any]] = item.get("anyOf", [])
        real = [option for option in options if option.get("type") != "null"]
        # A required nullable parameter keeps its anyOf: the model must be able to pass null.
        if name not in required and len(options) == 2 and len(real) == 1:
            item.update(real[0])
            del item["anyOf"]
        _drop_metadata(item)
    return schema


def _drop_metadata(schema: dict[str, Any]) -> None:
    schema.pop("title", None)
    schema.pop("additionalProperties", None)
