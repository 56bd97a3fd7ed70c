"""How messages become attributes and events of spans: OpenTelemetry's conventions for generative AI, as Strands uses them.

The environment variable `OTEL_SEMCONV_STABILITY_OPT_IN` selects among them, by the words that Strands reads in it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.telemetry.operations import Attribute, Attributes, Content, SpanEvent

__all__ = ["REDACTED", "Conventions", "serialized", "usage_attributes"]

REDACTED: Final = "[REDACTED]"
"""The replacement for content that is not to be told."""

_OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
_UNREDACTED: Final = "gen_ai_unredacted_attributes="
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "LANGFUSE_BASE_URL")
_DETAILS: Final = "gen_ai.client.inference.operation.details"
_INPUT: Final = "gen_ai.input.messages"
_OUTPUT: Final = "gen_ai.output.messages"
_SYSTEM: Final = "gen_ai.system_instructions"
_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
_RESULT: Final = "gen_ai.tool.call.result"


@dataclass(frozen=True, slots=True)
class Conventions:
    """Which attributes and events the content of a run becomes.

    Attributes:
        latest: The newest conventions, with one event for all messages, instead of one event for each message.
        tool_definitions: The agent's span has the definitions of its tools.
        attributes_only: What the newest conventions tell in an event is in attributes instead, as Langfuse needs it.
        since_resumed: The agent's span counts the tokens since the run last resumed after a pause, not those of the run.
        langfuse: The traces go to Langfuse.
        unredacted: The names of the attributes that are told, each perhaps with `*` at its end; None for all.
    """

    latest: bool = False
    tool_definitions: bool = False
    attributes_only: bool = False
    since_resumed: bool = False
    langfuse: bool = False
    unredacted: tuple[str, ...] | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Those that the environment variables select."""
        words = {word.strip() for word in environment.get(_OPT_IN, "").split(",")}
        listed = next((word for word in sorted(words) if word.startswith(_UNREDACTED)), None)
        names = None if listed is None else listed.removeprefix(_UNREDACTED).split(";")
        langfuse = any("langfuse" in environment.get(name, "") for name in _ENDPOINTS)
        return cls(
            latest="gen_ai_latest_experimental" in words,
            tool_definitions="gen_ai_tool_definitions" in words,
            attributes_only=langfuse or "gen_ai_span_attributes_only" in words,
            since_resumed="gen_ai_use_latest_invocation_tokens" in words,
            langfuse=langfuse,
            unredacted=None if names is None else tuple(name.strip() for name in names if name.strip()),
        )

    def common(self, operation: str) -> dict[str, Attribute]:
        """The attributes of every span."""
        return {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name" if self.latest else "gen_ai.system": "playhead",
        }

    def system_prompt(self, text: str | None, *, of_agent: bool) -> Content:
        """The system prompt, for the span of an agent or of a call of its model."""
        if text is None:
            return Content()
        blocks: list[dict[str, Any]] = [{"text": text}]
        if not self.latest:
            return _event("gen_ai.system.message", content=self._told(_SYSTEM, blocks))
        told: Attributes = {_SYSTEM: self._told(_SYSTEM, _parts(blocks))}
        return Content(told) if of_agent else self._details(told)

    def messages(self, messages: Sequence[Message]) -> Content:
        """The messages that an agent, a cycle or a model gets."""
        if self.latest:
            told = [{"role": one.get("role"), "parts": _parts(_content(one))} for one in messages]
            return self._details({_INPUT: self._told(_INPUT, told)})
        return Content(events=tuple(map(self._message, messages)))

    def _message(self, message: Message) -> SpanEvent:
        role = message.get("role", "user")
        content = _content(message)
        name = "tool" if any("toolResult" in block for block in content) else role
        told = self._told(_OUTPUT if role == "assistant" else _INPUT, content)
        return SpanEvent(f"gen_ai.{name}.message", {"content": told})

    def answer(self, message: Message, reason: str) -> Content:
        """The message of a model."""
        content = _content(message)
        if self.latest:
            told = {"role": message.get("role"), "parts": _parts(content), "finish_reason": reason}
            return self._details({_OUTPUT: self._told(_OUTPUT, [told])})
        return _event("gen_ai.choice", finish_reason=reason, message=self._told(_OUTPUT, content))

    def result(self, text: str, reason: str) -> Content:
        """What an agent gives."""
        if self.latest:
            told = {"role": "assistant", "parts": _parts([{"text": text}]), "finish_reason": reason}
            return self._details({_OUTPUT: self._told(_OUTPUT, [told])})
        return _event("gen_ai.choice", message=text if self._is_told(_OUTPUT) else REDACTED, finish_reason=reason)

    def results(self, said: Sequence[Any], message: Message) -> Content:
        """The results of the tools of a cycle, in which the model said `said`."""
        results = _content(message)
        if self.latest:
            told = {"role": message.get("role"), "parts": _parts(results)}
            return self._details({_INPUT: self._told(_INPUT, [told])})
        told = {"message": self._told(_OUTPUT, said), "tool.result": self._told(_INPUT, results)}
        return Content(events=(SpanEvent("gen_ai.choice", told),))

    def call(self, use: ToolUse) -> Content:
        """The call of a tool."""
        given = use.get("input")
        if not self.latest:
            told = self._told(_INPUT, given)
            return _event("gen_ai.tool.message", role="tool", content=told, id=use["toolUseId"])
        part = {"type": "tool_call", "name": use["name"], "id": use["toolUseId"], "arguments": given}
        told = self._told(_INPUT, [{"role": "tool", "parts": [part]}])
        return Content({_ARGUMENTS: self._told(_ARGUMENTS, given)}) + self._details({_INPUT: told})

    def outcome(self, result: Mapping[str, Any]) -> Content:
        """The result of a call of a tool."""
        status, content, use_id = result.get("status", ""), result.get("content", []), result.get("toolUseId", "")
        begun = Content({"gen_ai.tool.status": str(status)})
        if not self.latest:
            return begun + _event("gen_ai.choice", message=self._told(_OUTPUT, content), id=use_id)
        if status != "error":  # a failure is in the status of the span
            begun += Content({_RESULT: self._told(_RESULT, content)})
        part = {"type": "tool_call_response", "id": use_id, "response": content}
        return begun + self._details({_OUTPUT: self._told(_OUTPUT, [{"role": "tool", "parts": [part]}])})

    def _details(self, told: Attributes) -> Content:
        return Content(told) if self.attributes_only else Content(events=(SpanEvent(_DETAILS, told),))

    def _told(self, attribute: str, value: object) -> str:
        """The value as JSON, if the attribute by which the conventions know such content is told."""
        return serialized(value) if self._is_told(attribute) else REDACTED

    def _is_told(self, attribute: str) -> bool:
        if self.unredacted is None:
            return True
        return any(
            attribute.startswith(name[:-1]) if name.endswith("*") else attribute == name for name in self.unredacted
        )


def serialized(value: object) -> str:
    """A value as JSON; bytes, and what else JSON does not have, as `<replaced>`."""
    try:
        return json.dumps(value, ensure_ascii=False, default=lambda _: "<replaced>")
    except (TypeError, ValueError):  # a key that is not a text, or a value that holds itself
        return '"<replaced>"'


def usage_attributes(usage: Mapping[str, int], *, latest: bool, cache: bool = False) -> dict[str, Attribute]:
    """The tokens of a call or a run. Those read from a cache or written to it are told if there are any, or with `cache`."""
    given, answered, total = (usage.get(name, 0) for name in ("inputTokens", "outputTokens", "totalTokens"))
    read, written = usage.get("cacheReadInputTokens"), usage.get("cacheWriteInputTokens")
    if given + answered != total:  # the provider counts the tokens of its cache besides the input, not in it
        given += (read or 0) + (written or 0)
    made: dict[str, Attribute] = {
        "gen_ai.usage.prompt_tokens": given,
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.completion_tokens": answered,
        "gen_ai.usage.output_tokens": answered,
        "gen_ai.usage.total_tokens": total,
    }
    for tokens, name, old in ((read, "cache_read", "cache_read"), (written, "cache_creation", "cache_write")):
        if tokens is not None or cache:
            made[f"gen_ai.usage.{name}.input_tokens"] = tokens or 0
            if not latest:
                made[f"gen_ai.usage.{old}_input_tokens"] = tokens or 0
    return made


def _event(name: str, **attributes: Attribute) -> Content:
    return Content(events=(SpanEvent(name, attributes),))


def _content(message: Message) -> list[dict[str, Any]]:
    return message.get("content", [])


def _parts(blocks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Content blocks in the form of the newest conventions."""
    return [part for block in blocks for part in _parts_of(block)]


def _parts_of(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    match block:
        case {"interruptResponse": answer}:
            return [{"type": "interrupt_response", "id": answer["interruptId"], "response": answer["response"]}]
        case {"text": text}:
            return [{"type": "text", "content": text}]
        case {"toolUse": use}:
            called = {"name": use["name"], "id": use["toolUseId"], "arguments": use.get("input")}
            return [{"type": "tool_call", **called}]
        case {"toolResult": result}:
            told = {"id": result["toolUseId"], "response": result.get("content")}
            return [{"type": "tool_call_response", **told}]
        case _:
            return [{"type": kind, "content": value} for kind, value in block.items()]
