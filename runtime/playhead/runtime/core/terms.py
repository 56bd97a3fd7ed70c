"""The terms of a run: the structured output that it is asked for, and its limits. Pure.

A call's own terms are in the `options` of `run.submitted`, those of its agent in the agent's definition. The call's come
first, limit by limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict, cast

from pydantic import BaseModel

from playhead.runtime.core.arguments import check_text
from playhead.runtime.core.converse import ToolChoice, ToolSpec
from playhead.runtime.core.limits import Limits, check_limits, read_limits
from playhead.runtime.core.structured_output import DEFAULT_PROMPT, OutputModel, OutputSchema, output_schema

__all__ = ["NO_TERMS", "TERM_OPTIONS", "TermArguments", "Terms", "check_no_clash", "terms_of"]


TERM_OPTIONS: Final = ("structured_output", "limits")
"""The options of `run.submitted` that hold the terms."""


class TermArguments(TypedDict, total=False):
    """The keywords by which a call, or an agent for all its calls, sets terms.

    Attributes:
        structured_output_model: The class of the object that the run is to give, or its JSON schema; see `output_schema`.
        structured_output_prompt: The user message to a model that ended its turn without it.
        limits: After how many cycles or tokens the run ends.
    """

    structured_output_model: OutputModel | None
    structured_output_prompt: str | None
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run is to give, and how much it may use.

    Attributes:
        output: The structured output; None for none.
        prompt: The user message to a model that ended its turn without it; None for the default.
        limits: Those that are set, by name.
    """

    output: OutputSchema | None = None
    prompt: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def output_class(self) -> type[BaseModel] | None:
        """The pydantic class of the structured output, where it is at hand."""
        return None if self.output is None else self.output.cls

    @property
    def asks_for_output(self) -> str:
        """The user message to a model that ended its turn without the structured output."""
        return self.prompt or DEFAULT_PROMPT

    def over(self, defaults: Terms) -> Terms:
        """These terms of a call, with those of its agent where the call has none. An equal schema with its class is kept."""
        own = self.output if self.output is not None and (self.output.cls or self.output != defaults.output) else None
        limits = {**defaults.limits, **self.limits}
        return Terms(output=own or defaults.output, prompt=self.prompt or defaults.prompt, limits=limits)

    def offered(self, specs: Sequence[ToolSpec], *, forced: bool) -> tuple[list[ToolSpec], ToolChoice | None]:
        """The tools of a model call whose agent has `specs`, and its tool choice."""
        return (list(specs), None) if self.output is None else self.output.offered(specs, forced=forced)

    @property
    def options(self) -> dict[str, Any]:
        """The terms in the form of `run.submitted.options`, without what is not set."""
        output: dict[str, Any] = {}
        if self.output is not None:
            output |= {"name": self.output.name, "schema": dict(self.output.schema)}
        if self.prompt is not None:
            output["prompt"] = self.prompt
        options: dict[str, Any] = {"structured_output": output, "limits": dict(self.limits)}
        return {name: value for name, value in options.items() if value}

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Terms:
        """The terms in this form; what has another one was never checked, and is left out."""
        output: Any = options.get("structured_output")
        given = cast("Mapping[str, Any]", output if isinstance(output, Mapping) else {})
        whole = isinstance(given.get("name"), str) and isinstance(given.get("schema"), Mapping)
        prompt = given.get("prompt")
        return cls(
            output=OutputSchema(given["name"], given["schema"]) if whole else None,
            prompt=prompt if isinstance(prompt, str) else None,
            limits=read_limits(options.get("limits")),
        )


NO_TERMS: Final = Terms()


def terms_of(arguments: TermArguments) -> Terms:
    """The terms among the keywords of a call, or of an agent.

    Raises:
        TypeError, ValueError: If one of them is invalid; see `output_schema` and `check_limits`.
    """
    given, prompt = arguments.get("structured_output_model"), arguments.get("structured_output_prompt")
    check_text("structured_output_prompt", prompt, optional=True)
    limits = check_limits(arguments.get("limits"))
    return Terms(output=None if given is None else output_schema(given), prompt=prompt, limits=limits)


def check_no_clash(terms: Terms, tools: Mapping[str, object]) -> None:
    """Refuse a structured output that has the name of one of the agent's tools.

    Raises:
        ValueError: The message names it.
    """
    if terms.output is not None and terms.output.name in tools:
        raise ValueError(
            f"the structured output and a tool of the agent are both named {terms.output.name!r}; give one of them another "
            "name"
        )
