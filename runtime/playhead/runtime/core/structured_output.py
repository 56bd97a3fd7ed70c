"""The structured output that a run is asked for: an object by a JSON schema, which the model gives as a tool call. Pure.

Strands' rules: the schema is offered as a tool beside the agent's own. A call of it is checked instead of run, and ends the
run when it is valid. A model that ends its turn without it is told to give it, and is then offered that tool alone; if it
answers in text again, the text must be one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError

from playhead.runtime.core.arguments import check_text
from playhead.runtime.core.converse import Message, ToolChoice, ToolSpec
from playhead.runtime.core.errors import StructuredOutputException
from playhead.runtime.core.json_schema import check_schema
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.tool_results import invalid_name

__all__ = [
    "DEFAULT_PROMPT",
    "NO_OUTPUT_TEXT",
    "OutputModel",
    "OutputSchema",
    "class_flaws",
    "json_object_of",
    "output_class",
    "output_schema",
    "requested_output",
    "typed_output",
]

T = TypeVar("T", bound=BaseModel)

OutputModel = type[BaseModel] | Mapping[str, Any]
"""What a caller passes as `structured_output_model`: a pydantic class, or a JSON schema of an object with a title."""

DEFAULT_PROMPT: Final = "You must format the previous response as structured output."
"""The user message to a model that ended its turn without the structured output, in Strands' words."""

NO_OUTPUT_TEXT: Final = "The model did not produce structured output: it neither called the structured output tool nor returned a JSON object."

_DEFAULT_NAME: Final = "StructuredOutput"
_DESCRIPTION: Final = (
    "IMPORTANT: This StructuredOutputTool should only be invoked as the last and final tool before returning the completed "
    "result to the caller. <description>{}</description>"
)


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """A structured output.

    Attributes:
        name: The name of its tool.
        schema: The JSON schema of its value.
        cls: The pydantic class that the schema is of, where it is at hand: it is not in the log. Not compared.
    """

    name: str
    schema: Mapping[str, Any]
    cls: type[BaseModel] | None = field(default=None, compare=False)

    @property
    def tool_spec(self) -> ToolSpec:
        """The tool by which the model gives it."""
        told = str(self.schema.get("description") or f"{self.name} structured output tool")
        return {
            "name": self.name,
            "description": _DESCRIPTION.format(told),
            "inputSchema": {"json": dict(self.schema)},
        }

    def offered(self, specs: Sequence[ToolSpec], *, forced: bool) -> tuple[list[ToolSpec], ToolChoice | None]:
        """The tools of a model call whose agent has `specs`, and its tool choice: its tool last, or alone if `forced`."""
        own = self.tool_spec
        return ([own], {"tool": {"name": self.name}}) if forced else ([*specs, own], None)


def output_schema(given: object) -> OutputSchema:
    """Read what a caller passes as `structured_output_model`.

    A schema's `title` names its tool; without one the tool is called `StructuredOutput`. A schema that only refers to one of
    its own definitions, as that of a recursive class does, is that definition.

    Raises:
        TypeError: If it is neither a pydantic class nor a mapping, or a class without a JSON schema.
        ValueError: If the name cannot be that of a tool, or the schema is invalid, is not of an object, or refers to what it
            does not hold.
    """
    name, schema = _named_schema(given)
    if flaw := invalid_name(name):
        raise ValueError(
            f"structured_output_model: {flaw}: its name is that of a tool, 1 to 64 letters, digits, '_', '-'"
        )
    check_schema(name, schema)
    schema = _at_top(schema)
    if schema.get("type") != "object":
        raise ValueError(
            f"structured_output_model {name} must be an object, because a model gives it as the input of a tool; its schema "
            f"has the type {schema.get('type')!r}"
        )
    return OutputSchema(name, schema, output_class(given))


def _named_schema(given: object) -> tuple[str, dict[str, Any]]:
    if (cls := output_class(given)) is not None:
        try:
            schema = cls.model_json_schema()
        except Exception as error:  # pydantic's own, or that of a type's schema hook
            raise TypeError(f"structured_output_model {cls.__name__} has no JSON schema: {error}") from error
        return cls.__name__, schema
    if not isinstance(given, Mapping):
        raise TypeError(f"structured_output_model must be a pydantic class or a JSON schema, not {given!r:.80}")
    schema = dict(cast("Mapping[str, Any]", given))
    check_text("the title of structured_output_model", title := schema.get("title", _DEFAULT_NAME))
    return title, schema


def _at_top(schema: dict[str, Any]) -> dict[str, Any]:
    place = schema.get("$ref")
    kept: Any = schema.get("$defs", {})
    found = kept.get(place.removeprefix("#/$defs/")) if isinstance(place, str) else None
    return (
        {**found, **{key: item for key, item in schema.items() if key != "$ref"}} if isinstance(found, dict) else schema
    )


def output_class(given: object) -> type[BaseModel] | None:
    """What a caller passed as `structured_output_model`, if it is a pydantic class."""
    return given if isinstance(given, type) and issubclass(given, BaseModel) else None


def json_object_of(message: Message) -> dict[str, Any] | None:
    """The JSON object that a message's text is; None if the text is anything else."""
    try:
        found = json.loads("".join(block.get("text", "") for block in message.get("content", [])))
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def typed_output(cls: type[BaseModel] | None, value: Any, *, run_id: str) -> Any:
    """A run's structured output as an instance of the reader's class; as it is in the log if there is no class.

    Raises:
        StructuredOutputException: If the class refuses it, or one of its validators raises.
    """
    if cls is None or value is None:
        return value
    try:
        if flaws := class_flaws(cls, value):
            raise ValueError("; ".join(f"{'.'.join(map(str, path)) or 'it'}: {message}" for path, message in flaws))
        return cls.model_validate(value)
    except Exception as error:  # a validator may raise anything
        raise StructuredOutputException(
            f"run {run_id} produced a structured output that its JSON schema allows and {cls.__name__} refuses: {error}. "
            "Read without the class, its result has it as a dict"
        ) from error


def class_flaws(cls: type[BaseModel], value: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """What a class finds wrong with a value, as `schema_flaws` tells it.

    Raises:
        Exception: What a validator of the class raises that pydantic does not take for a refusal.
    """
    try:
        cls.model_validate(value)
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        return [(one["loc"], one["msg"]) for one in told]
    return []


def requested_output(cls: type[T], result: AgentResult) -> T:
    """The structured output of a run that was asked for an instance of `cls`.

    Raises:
        StructuredOutputException: If the run ended, or paused, before the model gave it.
    """
    output = result.structured_output
    if not isinstance(output, cls):
        raise StructuredOutputException(f"the run ended with {result.stop_reason!r} and gave no {cls.__name__}")
    return output
