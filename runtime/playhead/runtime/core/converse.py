"""The Converse-shaped vocabulary that models, tools and messages share (source: Bedrock ConverseStream, as in Strands).

Values are plain dicts at run time; the TypedDicts only document, for readers and type checkers, what the dicts contain.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic requires this one below Python 3.12

__all__ = [
    "Chunk",
    "ContentBlock",
    "Message",
    "Messages",
    "Metrics",
    "Prompt",
    "ToolChoice",
    "ToolResult",
    "ToolSpec",
    "ToolUse",
    "Usage",
]

Chunk = dict[str, Any]
"""One raw stream chunk: a dict with one key of `messageStart`, `contentBlockStart`, `contentBlockDelta`,
`contentBlockStop`, `messageStop`, `metadata`, `redactContent`."""

ContentBlock = dict[str, Any]
"""One of `{"text"}`, `{"image"}`, `{"document"}`, `{"toolUse"}`, `{"toolResult"}`, `{"reasoningContent"}`, …"""

ToolChoice = dict[str, Any]
"""`{"auto": {}}`, `{"any": {}}` or `{"tool": {"name": …}}`."""


class Usage(TypedDict):
    """The tokens of one model call, or of a whole run."""

    inputTokens: int
    outputTokens: int
    totalTokens: int


class Metrics(TypedDict):
    """The times of one model call, in milliseconds."""

    latencyMs: int


class Message(TypedDict, total=False):
    """A message in the history; `metadata` and `tracking_id` are never sent to a model."""

    role: Literal["user", "assistant"]
    content: list[ContentBlock]
    metadata: dict[str, Any]
    tracking_id: str


Messages = list[Message]

Prompt = str | list[ContentBlock] | list[Message] | None
"""Text, content blocks, messages, or None to continue from the history."""


class ToolUse(TypedDict):
    """A model's request to call a tool; `input` is the parsed JSON object."""

    toolUseId: str
    name: str
    input: Any


class ToolResult(TypedDict):
    """The result of a tool call: content blocks of `{"text"}`, `{"json"}`, `{"image"}` or `{"document"}`."""

    toolUseId: str
    status: Literal["success", "error"]
    content: list[ContentBlock]


class ToolSpec(TypedDict):
    """The description of a tool as sent to the model; `inputSchema` is `{"json": <JSON schema>}`."""

    name: str
    description: str
    inputSchema: dict[str, Any]
