"""What the worker processes of these tests serve."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import anyio

from playhead.runtime import Agent, ModelThrottledException, RetryPolicy, RunContext, ToolContext, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.models import DemoModel, ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c
from playhead.runtime.toolbox import calculator

__all__ = ["asks", "assistant", "boom", "desk", "hostile", "slow", "steps", "stuck", "throttled", "waits"]

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08"


@tool
def escape() -> str:
    """Return text that a terminal would take as commands."""
    return f"result {ESCAPES}"


@tool
def hang() -> str:
    """Never return: a thread cannot be stopped."""
    threading.Event().wait()
    return ""


@tool
async def wait(context: ToolContext) -> str:
    """Wait until the run is cancelled."""
    while not context.cancel_requested:  # noqa: ASYNC110 - what a tool has is a flag
        await anyio.sleep(0.01)
    return "stopped"


@tool
def permit(what: str, context: ToolContext) -> str:
    """Ask whether it may be done."""
    return f"{what}: {context.interrupt('approve', reason=f'May I {what}?')}"


@tool
def step(number: int, context: ToolContext) -> str:
    """One step, which leaves a trace where the environment says."""
    with Path(os.environ["PLAYHEAD_TEST_EFFECTS"]).open("a") as file:
        file.write(f"{context.run_id} {number}\n")
    return f"{number} done"


def _next_step(messages: Messages) -> Any:
    number = sum("toolResult" in block for message in messages for block in message.get("content", [])) + 1
    return tool_call("step", {"number": number}, f"t{number}", text=_WORDS) if number <= 3 else f"All done. {_WORDS}"


_WORDS = " ".join(f"word{n}" for n in range(20))


def _thought(text: str) -> list[Chunk]:
    delta = {"reasoningContent": {"text": f"thinking {text}"}}
    return [c.message_start(), c.block_start(), {"contentBlockDelta": {"delta": delta}}, c.block_stop()]


def _hostile_answer() -> list[Chunk]:
    # A lone surrogate as well: it has no UTF-8 form, so it must not stop what writes it.
    return [*_thought(ESCAPES), *text_call(f"answer {ESCAPES} \ud800 end\u00e9")[1:]]


def _asks(messages: Messages) -> Any:
    said = [block["text"] for message in messages for block in message.get("content", []) if "text" in block]
    if "toolResult" in str(messages):
        return f"{_results(messages)} ({said[-1]})"
    # An id ends where its question's name begins, and a model may put what it likes into it.
    calls = [chunk for number, what in enumerate(said[0].split()) for chunk in _call(f"t={number}", what)]
    return [c.message_start(), *calls, c.message_stop("tool_use")]


def _call(call: str, what: str) -> list[Chunk]:
    return [c.tool_start(call, "permit"), c.tool_delta(json.dumps({"what": what})), c.block_stop()]


def _results(messages: Messages) -> str:
    blocks = [
        block["toolResult"] for message in messages for block in message.get("content", []) if "toolResult" in block
    ]
    return ", ".join(block["content"][0]["text"] for block in blocks)


assistant = Agent(
    name="assistant",
    model=DemoModel(delay=0.0),
    tools=[calculator],
    allow_overrides={"tools", "params", "system_prompt"},
)


def desk(ctx: RunContext) -> Agent:
    """An agent for each session."""
    if ctx.session_id is None:
        raise ValueError("the desk needs a session")
    return Agent(DemoModel(delay=0.0), tools=[calculator, escape], system_prompt=f"You help {ctx.session_id}.")


slow = Agent(name="slow", model=ScriptedModel([" ".join(f"word{n}" for n in range(40))], delay=0.04, repeat=True))
boom = Agent(
    name="boom",
    model=ScriptedModel(
        [ScriptedCall(text_call("half an")[:4], error=RuntimeError(f"no {ESCAPES} luck"))], repeat=True
    ),
)
throttled = Agent(
    name="throttled",
    model=ScriptedModel([ScriptedCall(error=ModelThrottledException("slow down", retry_after=3000))], repeat=True),
    retry=RetryPolicy(max_delay=3600, max_total_delay=3600),
)
hostile = Agent(
    name="hostile",
    model=ScriptedModel([tool_call("escape", {}, text=f"calling {ESCAPES}"), _hostile_answer()], repeat=True),
    tools=[escape],
)
waits = Agent(name="waits", model=ScriptedModel([tool_call("wait", {})], repeat=True), tools=[wait])
steps = Agent(name="steps", model=ScriptedModel([_next_step], delay=0.01, repeat=True), tools=[step])
asks = Agent(name="asks", model=ScriptedModel([_asks], repeat=True), tools=[permit])
stuck = Agent(name="stuck", model=ScriptedModel([tool_call("hang", {})], repeat=True), tools=[hang])
