"""The agents of the fleet: one model, which follows the plan in its prompt, and tools that write traces.

A tool's body first appends a line to its run's file, which outlives the process, to record that it has started.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgpack
import redis

from chaos.plan import PlannedMessage, plan_in, planned_message, tool_text
from playhead.runtime import Agent, BeforeToolCallEvent, NullConversationManager, ToolContext, tool
from playhead.runtime.core.converse import Chunk, Message, Messages, ToolChoice, ToolSpec
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.models import chunks as c

__all__ = ["AGENTS", "TRACES", "ChainedModel", "Traces"]


class Traces:
    """Where bodies write traces, and the servers on which they check their start; set before the first run."""

    def __init__(self) -> None:
        self.folder = Path()
        self.ports: Sequence[int] = ()
        self.keys = Keys()

    def begin(self, context: ToolContext, *, look: bool = False) -> None:
        """Record that a body has started; with `look`, first ask the server whether its start is stored."""
        line = {
            "call": context.tool_use["toolUseId"],
            "key": context.effect_key,
            "attempt": context.attempt,
            "at": time.time_ns() // 1_000_000,
            "pid": os.getpid(),
            "input": context.tool_use["input"],
            "stored": self._is_stored(context) if look else None,
        }
        file = os.open(self.folder / context.run_id, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)

    def _is_stored(self, context: ToolContext) -> bool | None:
        """Whether a primary has a `tool.started` of this call; None if no server replies."""
        told = [self._has(port, context) for port in self.ports]
        return None if set(told) == {None} else any(told)

    def _has(self, port: int, context: ToolContext) -> bool | None:
        try:
            with redis.Redis(port=port, protocol=2, socket_timeout=2.0) as client:
                role: Any = client.execute_command("ROLE")
                entries: Any = client.xrevrange(self.keys.log(context.run_id), count=500)
        except (redis.RedisError, OSError):
            return None
        if role[0] != b"master":
            return None
        records = [msgpack.unpackb(fields[b"r"], strict_map_key=False) for _, fields in entries]
        started = [record for record in records if isinstance(record, dict) and record.get("type") == "tool.started"]
        return context.effect_key in [record["effect_key"] for record in started]


TRACES: Final = Traces()


@tool
async def swift(link: str, ms: int, context: ToolContext) -> str:
    """A body on the event loop."""
    TRACES.begin(context)
    await anyio.sleep(ms / 1000)
    return tool_text("swift", link)


@tool
def threaded(link: str, ms: int, context: ToolContext) -> str:
    """A body in a thread."""
    TRACES.begin(context)
    time.sleep(ms / 1000)
    return tool_text("threaded", link)


@tool
def witness(link: str, ms: int, context: ToolContext) -> str:
    """A body that asks the server whether its start is in the log."""
    TRACES.begin(context, look=True)
    time.sleep(ms / 1000)
    return tool_text("witness", link)


@tool(on_unknown_outcome="fail")
def careful(link: str, ms: int, context: ToolContext) -> str:
    """A body that must not be run again after a takeover."""
    TRACES.begin(context)
    time.sleep(ms / 1000)
    return tool_text("careful", link)


@tool
async def talking(link: str, ms: int, context: ToolContext) -> AsyncGenerator[str, None]:
    """A body that streams its progress."""
    TRACES.begin(context)
    for third in range(3):
        await anyio.sleep(ms / 3000)
        yield f"{third} of 3"
    yield tool_text("talking", link)


@tool
async def asking(link: str, ms: int, context: ToolContext) -> str:
    """A body that asks a human, and so runs twice."""
    TRACES.begin(context)
    await anyio.sleep(ms / 2000)
    said = context.interrupt("which", reason=link)
    await anyio.sleep(ms / 2000)
    return f"{tool_text('asking', link)} {said}"


@tool(on_unknown_outcome="ask")
async def unsure(link: str, ms: int, context: ToolContext) -> str:
    """A body whose outcome a human must give if its worker dies."""
    TRACES.begin(context)
    await anyio.sleep(ms / 1000)
    return tool_text("unsure", link)


class ScriptedFailure(RuntimeError):
    """The model's own failure, if the plan has one."""


class ChainedModel:
    """Streams the message of the plan in its history; see `plan`. It can continue after a partial message."""

    continues_partial = True

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks of one message."""
        begun = messages[-1] if messages[-1].get("role") == "assistant" else None
        told = messages[:-1] if begun else messages
        plan, messages_after = plan_in(told)
        said = planned_message(plan, messages_after + 1, told)
        yield c.message_start()
        yield c.block_start()
        for word in said.words[_place(said, begun) :]:
            await anyio.sleep(plan.pause_ms / 1000)
            yield c.text_delta(word)
        if said.breaks:
            raise ScriptedFailure(f"as run {plan.run} asked for")
        for chunk in _ending(said):
            yield chunk


def _place(said: PlannedMessage, begun: Message | None) -> int:
    """How many of the words were streamed before; a partial message with another beginning is an error."""
    text = "".join(block.get("text", "") for block in begun.get("content", [])) if begun else ""
    for place in range(len(said.words) + 1):
        if "".join(said.words[:place]) == text:
            return place
    raise ValueError(f"{text!r} is not the beginning of this message")


def _ending(said: PlannedMessage) -> list[Chunk]:
    chunks = [c.block_stop()]
    for call in said.calls:
        text = json.dumps(call["input"])
        halves = text[: len(text) // 2], text[len(text) // 2 :]
        chunks += [c.tool_start(call["toolUseId"], call["name"]), *map(c.tool_delta, halves), c.block_stop()]
    usage = c.metadata(input_tokens=1, output_tokens=len(said.words), latency_ms=0)
    return [*chunks, c.message_stop("tool_use" if said.calls else "end_turn"), usage]


def guard(event: BeforeToolCallEvent) -> None:
    """Change some calls, and ask a human about others."""
    name, given = event.tool_use["name"], event.tool_use["input"]
    if name in ("swift", "careful"):
        given["ms"] += 1
    elif name == "threaded":
        event.interrupt("allowed", reason=given["link"])


_TOOLS: Final = [swift, threaded, witness, careful, talking, asking, unsure]

_KEEP: Final = NullConversationManager()  # the checks follow each history from its first message on

AGENTS: Final = [
    Agent(ChainedModel(), name="together", tools=_TOOLS, callback_handler=None, conversation_manager=_KEEP),
    Agent(
        ChainedModel(),
        name="in_turn",
        tools=_TOOLS,
        callback_handler=None,
        conversation_manager=_KEEP,
        tool_executor="sequential",
    ),
    Agent(
        ChainedModel(),
        name="continuing",
        tools=_TOOLS,
        callback_handler=None,
        conversation_manager=_KEEP,
        on_partial="continue",
    ),
    Agent(
        ChainedModel(),
        name="guarded",
        tools=_TOOLS,
        callback_handler=None,
        conversation_manager=_KEEP,
        hooks=[guard],
    ),
]
"""`guarded` has a hook. `continuing` keeps the text of a former owner's model, and continues after it; the others retract it."""
