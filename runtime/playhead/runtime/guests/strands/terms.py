"""The terms of a run as the arguments of a Strands agent's call."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from strands import Agent

from playhead.runtime.core.json_schema import schema_flaws
from playhead.runtime.core.structured_output import OutputSchema, output_schema
from playhead.runtime.core.terms import Terms

__all__ = ["call_terms"]


def call_terms(agent: Agent, options: Mapping[str, Any]) -> dict[str, Any]:
    """The structured output and the limits of a run whose record 1 has these options."""
    terms = Terms.read(options)
    given: dict[str, Any] = {"limits": dict(terms.limits) or None, "structured_output_prompt": terms.prompt}
    if terms.output is not None:
        given["structured_output_model"] = _own_class(agent, terms.output) or _class_of(terms.output)
    return given


def _own_class(agent: Agent, wanted: OutputSchema) -> type[BaseModel] | None:
    """The class of the agent's own structured output, if it is the one that the run asks for."""
    own = vars(agent)["_default_structured_output_model"]  # Strands has no public name for it
    return cast("type[BaseModel]", own) if own is not None and output_schema(own) == wanted else None


def _class_of(output: OutputSchema) -> type[BaseModel]:
    """A class whose instances are what a JSON schema allows: the class of the client is not in the log."""

    def check(cls: type[BaseModel], value: Any) -> Any:
        del cls
        if flaws := schema_flaws(output.schema, value):
            raise ValidationError.from_exception_data(output.name, [_told(path, text) for path, text in flaws])
        return value

    class Schema(BaseModel):
        model_config = ConfigDict(extra="allow")

        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return deepcopy(dict(output.schema))

    described = output.schema.get("description")
    return create_model(
        output.name,
        __base__=Schema,
        __doc__=described if isinstance(described, str) else None,
        __validators__={"check": cast("Any", model_validator(mode="before")(cast("Any", classmethod(check))))},
    )


def _told(path: tuple[str | int, ...], text: str) -> InitErrorDetails:
    """A flaw as pydantic tells it."""
    return InitErrorDetails(type=PydanticCustomError("schema", cast("Any", text)), loc=path, input=None)
