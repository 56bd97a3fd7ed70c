"""A worker in a process of its own, to be killed, paused and drained by a test.

Its configuration: `url`, `prefix`, `effects` (a file that each tool call adds a line to), `hold` (places to wait
at, such as `step 2` or `word 5, word 9`), `sleep` (one to stop the process at), `die` (one to die at), `options` of the
worker, and perhaps `die_at`, `die_when` and `die_of` (see `MortalLog`) and `durability`. It says what it does as lines of JSON on
standard output, takes the words `go`, which opens the next place, and `drain` on standard input, and ends when that
ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from playhead.runtime import Agent, ModelThrottledException, ToolContext, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.ids import made_at
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Batch, RunEnd, WriteResult
from playhead.runtime.models import ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c
from playhead.workers import Worker, WorkerOptions
from playhead.workers.checkpoints import Checkpoint

__all__: list[str] = []

T = TypeVar("T")

CONFIG: dict[str, Any] = {}
STEPS = 3
THROTTLED_S = 4.0
WORDS = [f"word{number} " for number in range(20)]

gates: dict[str, threading.Event] = {}
"""Where to wait, in the order in which `go` opens them."""

visits: Counter[str] = Counter()


def say(said: str, **more: Any) -> None:
    print(json.dumps({"said": said, **more}), flush=True)


def wait_at(place: str) -> None:
    """Wait here until told to go on, be stopped until woken, or die, if this is the place to."""
    if CONFIG["die"] == place:
        os.kill(os.getpid(), signal.SIGKILL)
    if place in gates:
        say("held")
        gates[place].wait()
    if CONFIG["sleep"] == place:
        CONFIG["sleep"] = ""
        say("asleep")
        os.kill(os.getpid(), signal.SIGSTOP)


async def visit(place: Checkpoint, run_id: str) -> None:
    """Do at a checkpoint what is to be done there: `tools stored 2` names its second visit."""
    visits[place] += 1
    await anyio.to_thread.run_sync(wait_at, f"{place} {visits[place]}", abandon_on_cancel=True)


def record(line: object) -> None:
    """Leave a trace that outlives the process."""
    with Path(CONFIG["effects"]).open("a") as file:
        file.write(f"{line}\n")


@tool
def step(number: int) -> str:
    """One step."""
    record(number)
    wait_at(f"step {number}")
    return f"{number} done"


@tool
def asking(context: ToolContext) -> str:
    """Asks before it acts."""
    response = context.interrupt("approval")
    record(response)
    return "acted"


@tool
async def async_step(number: int) -> str:
    """One step on the event loop."""
    record(number)
    wait_at(f"step {number}")
    return f"{number} done"


@tool
async def traced(number: int, context: ToolContext) -> str:
    """One step of a run among many, which takes a moment."""
    record(f"{context.run_id} {number}")
    await anyio.sleep(0.02)
    return f"{number} done"


@tool(on_unknown_outcome="fail")
def careful(number: int) -> str:
    """One step that must not be repeated blindly."""
    record(number)
    wait_at(f"step {number}")
    return f"{number} done"


@tool
def attempt(context: ToolContext) -> str:
    """Tells which attempt this is, and under which key."""
    record(f"{context.attempt} {context.effect_key}")
    wait_at(f"attempt {context.attempt}")
    return f"attempt {context.attempt}"


@tool
def kill() -> str:
    """Takes the process down with it."""
    record("killed")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@tool
async def block() -> str:
    """Blocks the event loop, as no tool should, where the place says so."""
    record("blocked")
    wait_at("block")
    return "unblocked"


def results_in(messages: Messages) -> int:
    return sum("toolResult" in block for message in messages for block in message.get("content", []))


def one_by_one(name: str) -> Agent:
    """Three calls of a tool, one after the other."""

    def script(messages: Messages) -> Any:
        number = results_in(messages) % STEPS + 1
        fresh = "text" in messages[-1].get("content", [{}])[0]
        if number == 1 and not fresh:
            return "All done."
        return tool_call("careful" if name == "careful" else "step", {"number": number}, f"t{number}")

    model = ScriptedModel([script], repeat=True)
    return Agent(model, name=name, tools=[careful if name == "careful" else step], callback_handler=None)


def family() -> Agent:
    """An agent whose tool is an agent that makes three calls."""
    helper = one_by_one("helper")
    return Agent(once("helper", {"input": "Go"}), name="family", tools=[helper], callback_handler=None)


def at_once(name: str, called: Any, **options: Any) -> Agent:
    """Three calls in one message."""

    def script(messages: Messages) -> Any:
        if results_in(messages):
            return "All done."
        middle: list[Chunk] = []
        for number in range(1, STEPS + 1):
            call = [
                c.tool_start(f"t{number}", called.name),
                c.tool_delta(json.dumps({"number": number})),
                c.block_stop(),
            ]
            middle += call
        return [c.message_start(), *middle, c.message_stop("tool_use")]

    model = ScriptedModel([script], repeat=True)
    return Agent(model, name=name, tools=[called], callback_handler=None, **options)


def traced_steps() -> Agent:
    """Three calls one by one with words before each, then more words."""

    def script(messages: Messages) -> Any:
        prompts = [n for n, m in enumerate(messages) if m.get("role") == "user" and "text" in m.get("content", [{}])[0]]
        number = results_in(messages[prompts[-1] :]) + 1
        words = "".join(WORDS)
        return words if number > STEPS else tool_call("traced", {"number": number}, f"t{number}", text=words)

    model = ScriptedModel([script], repeat=True, delay=0.002)
    return Agent(model, name="traced", tools=[traced], callback_handler=None)


class Talker:
    """Streams all words, and waits after one of them."""

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        yield c.message_start()
        yield c.block_start()
        for number, word in enumerate(WORDS):
            yield c.text_delta(word)
            if f"word {number}" in gates:
                await anyio.to_thread.run_sync(wait_at, f"word {number}", abandon_on_cancel=True)
        yield c.block_stop()
        yield c.message_stop("end_turn")
        yield c.metadata(input_tokens=1, output_tokens=len(WORDS), latency_ms=0)


class Throttled:
    """Refuses the first call of all processes for a while; records each call."""

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        record("called")
        if Path(CONFIG["effects"]).read_text() == "called\n":
            raise ModelThrottledException("slow down", retry_after=THROTTLED_S)
        for chunk in text_call("Here I am."):
            yield chunk


def once(name: str, arguments: dict[str, Any]) -> ScriptedModel:
    """One call of a tool, and the end."""
    return ScriptedModel(
        [lambda messages: "All done." if results_in(messages) else tool_call(name, arguments)], repeat=True
    )


class MortalLog(RedisLog):
    """A log whose writer dies the moment record `die_at` is about to be stored, or has just been.

    `die_of`: only that of a run that is a `child`, or only that of a `parent`; by default of any.
    """

    async def _dying(self, head: int, write: Awaitable[T]) -> T:
        at, when = CONFIG.get("die_at") or 1 << 30, CONFIG.get("die_when")
        if head >= at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        response = await write
        if head >= at:
            os.kill(os.getpid(), signal.SIGKILL)
        return response

    async def append(self, batches: Sequence[Batch]) -> list[WriteResult]:
        heads = [_head(batch) for batch in batches if _may_die(batch)]
        return await self._dying(max(heads, default=0), super().append(batches))

    async def finish(self, end: RunEnd) -> WriteResult:
        return await self._dying(_head(end.batch) if _may_die(end.batch) else 0, super().finish(end))


def _may_die(batch: Batch) -> bool:
    of = CONFIG.get("die_of")
    return not of or (made_at(batch.run_id) is None) == (of == "child")


def _head(batch: Batch) -> int:
    return batch.head + len(batch.records)


KILLER = Agent(once("kill", {}), name="killer", tools=[kill], callback_handler=None)

AGENTS = [
    one_by_one("steps"),
    one_by_one("careful"),
    family(),
    at_once("together", step),
    at_once("together-on-loop", async_step),
    at_once("in-turn", step, tool_executor="sequential"),
    traced_steps(),
    Agent(Talker(), name="talker", callback_handler=None),
    Agent(Throttled(), name="throttled", callback_handler=None),
    KILLER,
    Agent(once("killer", {"input": "Go"}), name="deadly", tools=[KILLER], callback_handler=None),
    Agent(once("block", {}), name="blocker", tools=[block], callback_handler=None),
    Agent(once("attempt", {}), name="attempts", tools=[attempt], callback_handler=None),
    Agent(once("asking", {}), name="asks", tools=[asking], callback_handler=None),
]


def obey(worker: Worker, token: Any) -> None:
    """Do what standard input says, and end with it."""
    for line in sys.stdin:
        if line.strip() == "go":
            next(gate for gate in gates.values() if not gate.is_set()).set()
        elif line.strip() == "drain":
            from_thread.run_sync(worker.drain, token=token)
    os._exit(0)


async def main() -> None:
    durability = CONFIG.get("durability", "memory")
    log = MortalLog(connect(CONFIG["url"]), prefix=CONFIG["prefix"], durability=durability)
    worker = Worker(AGENTS, log=log, options=WorkerOptions(**CONFIG["options"]), visit=visit)
    threading.Thread(target=obey, args=(worker, current_token()), daemon=True).start()
    say("ready", pid=os.getpid())
    await worker.run()
    say("ended", statistics=worker.statistics()._asdict())
    await log.aclose()
    os._exit(0)  # a tool that is still held in its thread must not hold the process


def run(config: dict[str, Any]) -> None:
    """Be the worker, to the end."""
    CONFIG.update(config)
    gates.update({place: threading.Event() for place in CONFIG["hold"].split(", ")})
    anyio.run(main)
