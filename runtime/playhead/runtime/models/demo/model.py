"""An offline model that follows fixed rules and needs no key, network or download."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Self

import anyio

from playhead.runtime.core.arguments import check_number
from playhead.runtime.core.converse import Chunk, ContentBlock, Messages, ToolChoice, ToolSpec
from playhead.runtime.models import chunks as c
from playhead.runtime.models.demo.arithmetic import find_expressions

__all__ = ["DemoModel"]

_CALCULATOR = "calculator"
_WHO = "I am playhead's offline demo model: I follow fixed rules."
_ABOUT = (
    f"{_WHO} I understand no language, I only look for arithmetic. "
    'Ask me something like "What is 17 * 23?" and I call the calculator tool and tell you what it found. '
    "Every word of this message is a record in the run's log: leave, come back, and read on where you stopped. "
    "For a real model set OPENAI_API_KEY, or name one in PLAYHEAD_MODEL."
)


class DemoModel:
    """A `Model` that follows fixed rules and is deterministic except for its timing.

    If the latest user text contains arithmetic, it calls the tool `calculator` with `{"expression": …}`, once per
    expression, and then reports the results. Without that tool it says that it has none; without arithmetic it explains
    itself. Every final message says that this is the demo model. Tool choice, system prompt
    and parameters are ignored.

    Args:
        delay: Seconds before each piece of output, which is about half a word.

    The token counts that it reports are word counts. It raises no errors.
    """

    def __init__(self, *, delay: float = 0.03) -> None:
        check_number("delay", delay)
        self._delay = delay
        self._params: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"DemoModel(delay={self._delay})"

    def get_config(self) -> dict[str, Any]:
        """The description of this model that is stored with the runs."""
        config = {"model_id": "demo", "delay": self._delay}
        return {**config, "params": self._params} if self._params else config

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """This model with parameters, which it ignores."""
        taken = copy.copy(self)
        taken._params = {**self._params, **params}
        return taken

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """Follow the rules; see the class."""
        started = time.monotonic()
        text, calls = _answer(messages, {spec["name"] for spec in tool_specs or []})
        yield c.message_start()
        for chunk in _blocks(text, calls):
            if "contentBlockDelta" in chunk:
                await anyio.sleep(self._delay)
            yield chunk
        yield c.message_stop("tool_use" if calls else "end_turn")
        spoken = text + "".join(f" {call['input']['expression']}" for call in calls)
        yield c.metadata(
            input_tokens=len((system_prompt or "").split()) + sum(len(_all_text(m).split()) for m in messages),
            output_tokens=len(spoken.split()),
            latency_ms=round((time.monotonic() - started) * 1000),
        )


def _answer(messages: Messages, tools: set[str]) -> tuple[str, list[ContentBlock]]:
    """The text to stream, and the tool calls to make after it."""
    results = [block["toolResult"] for block in _last_content(messages) if "toolResult" in block]
    if results:
        return f"{_report(messages, results)} ({_WHO})", []
    expressions = find_expressions(_last_user_text(messages))
    if not expressions:
        return _ABOUT, []
    if _CALCULATOR not in tools:
        return f"{_WHO} I have no calculator tool here, so I cannot work out {' and '.join(expressions)}.", []
    stem = _call_stem(messages)
    calls = [
        {"toolUseId": f"{stem}-{number}", "name": _CALCULATOR, "input": {"expression": expression}}
        for number, expression in enumerate(expressions, start=1)
    ]
    return "Let me ask the calculator.", calls


def _call_stem(messages: Messages) -> str:
    """The same id for the same history in every process; the digest distinguishes histories of equal length."""
    digest = hashlib.blake2s(repr(messages).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"demo-{len(messages)}-{digest}"


def _blocks(text: str, calls: list[ContentBlock]) -> Iterator[Chunk]:
    yield c.block_start()
    for piece in re.findall(r"\s*\S{1,5}", text):
        yield c.text_delta(piece)
    yield c.block_stop()
    for call in calls:
        yield c.tool_start(call["toolUseId"], call["name"])
        json_text = json.dumps(call["input"])
        for at in range(0, len(json_text), 6):
            yield c.tool_delta(json_text[at : at + 6])
        yield c.block_stop()


def _report(messages: Messages, results: list[dict[str, Any]]) -> str:
    asked = {
        block["toolUse"]["toolUseId"]: block["toolUse"].get("input")
        for message in messages
        for block in message.get("content", [])
        if "toolUse" in block
    }
    return " ".join(_sentence(asked.get(result["toolUseId"]), result) for result in results)


def _sentence(tool_input: Any, result: dict[str, Any]) -> str:
    expression = tool_input.get("expression", "that") if isinstance(tool_input, dict) else "that"
    found = " ".join(_block_text(block) for block in result.get("content", [])).strip()
    if result.get("status") == "error":
        return f"The calculator could not work out {expression}: {found.rstrip('.')}."
    value = re.sub(r"^(?:result|answer)\s*[:=]\s*", "", found, flags=re.IGNORECASE).rstrip(".")
    return f"{value}." if "=" in value else f"{expression} = {value}."


def _last_content(messages: Messages) -> list[ContentBlock]:
    return messages[-1].get("content", []) if messages else []


def _last_user_text(messages: Messages) -> str:
    """The text of the last user message with text."""
    for message in reversed(messages):
        text = " ".join(block["text"] for block in message.get("content", []) if "text" in block)
        if message.get("role") == "user" and text:
            return text
    return ""


def _all_text(message: Any) -> str:
    return " ".join(_block_text(block) for block in message.get("content", []))


def _block_text(block: ContentBlock) -> str:
    if "text" in block:
        return str(block["text"])
    if "json" in block:
        return json.dumps(block["json"], default=str)
    if "toolResult" in block:
        return " ".join(_block_text(inner) for inner in block["toolResult"].get("content", []))
    return ""
