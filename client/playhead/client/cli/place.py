"""`playhead show --at`: the run as it was after one of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from playhead.client.cli.render import print_json, printable, record_line, short, shown_content
from playhead.client.reader import RunReader
from playhead.client.states import StateAt
from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.open_calls import OpenCall
from playhead.runtime.core.state import RunState
from playhead.runtime.core.steps import (
    AddAnswer,
    AddMessage,
    CallModel,
    CancelTools,
    Fail,
    Finish,
    Pause,
    ProduceOutput,
    ReadOutput,
    Reduce,
    Resume,
    RunTools,
    SayCancelled,
    StartCycle,
    Step,
)

__all__ = ["ROLE_WIDTH", "doing", "message_lines", "next_step", "show_at"]

ROLE_WIDTH: Final = 11
"""How many characters of a line of `message_lines` name the role."""

_LONGEST = 1000


async def show_at(run: RunReader, *, seq: int, as_json: bool) -> int:
    """Print the state of a run at record `seq`."""
    found = await run.states().at(seq)
    if as_json:
        print_json(_as_json(found))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(printable(record_line(found.entry)), style="bold"))
    console.print(Text(printable(f"\n{doing(found.state, found.open_calls)}")))
    console.print()
    if not found.history_known:
        console.print(Text("(the messages that it began from are not in the log)", style="dim"))
    for message in found.state.messages:
        for line in message_lines(message):
            console.print(Text(printable(line)))
    if found.state.agent_state:
        console.print(Text(printable(f"state: {short(found.state.agent_state)}")))
    for call in found.open_calls:
        console.print(Text(printable(f"open: {_call_line(call)}"), style="cyan"))
    for one in found.state.interrupts.values():
        console.print(Text(printable(f"asks: {one.get('name')}: {short(one.get('reason'))}"), style="yellow"))
    for steer in found.state.steers:
        console.print(Text(printable(f"told: {short(shown_content(steer.get('content', [])))}"), style="yellow"))
    console.print(
        Text(
            printable(f"next: {next_step(found.step, guest=found.guest)}"),
            style="bold",
        )
    )
    return 0


def _as_json(found: StateAt) -> dict[str, Any]:
    state = found.state
    return {
        "run_id": found.run_id,
        "seq": found.entry.seq,
        "epoch": found.entry.epoch,
        "record": dict(found.entry.record),
        "status": state.status,
        "cycle": state.cycle,
        "history": state.history,
        "history_known": found.history_known,
        "messages": list(state.messages),
        "open_calls": [asdict(call) for call in found.open_calls],
        "interrupts": list(state.interrupts.values()),
        "agent_state": state.agent_state,
        "steers": list(state.steers),
        "usage": dict(state.totals.usage),
        "next": None if found.step is None else {"step": type(found.step).__name__, **asdict(found.step)},
    }


def doing(state: RunState, calls: Sequence[OpenCall]) -> str:
    """What the run does at that record, on one line."""
    parts: list[str] = [state.status, *([f"cycle {state.cycle}"] if state.cycle else [])]
    parts.append(f"{len(state.messages)} message{'' if len(state.messages) == 1 else 's'}")
    if state.call_open is not None:
        parts.append(f"a model call is open since record {state.call_open}")
    for word in ("running", "waiting", "ready"):
        names = [short(call.tool_use["name"], longest=40) for call in calls if call.state == word]
        if names:
            parts.append(f"{word}: {', '.join(names)}")
    tokens = state.totals.usage
    parts.append(f"{tokens.get('inputTokens', 0)} + {tokens.get('outputTokens', 0)} tokens")
    return " · ".join(parts)


_STEPS: Final[Mapping[type[Step], str]] = {
    AddAnswer: "add the model's message, all of which a former owner stored",
    Pause: "pause, and wait for a response",
    Resume: "go on after the pause",
    SayCancelled: "add a message that says that the run was cancelled",
    ReadOutput: "read the structured output from the answer's text",
}


def next_step(step: Step | None, *, guest: bool = False) -> str:
    """The step that `decide` returns at that record, in words. `guest`: the run is one of a guest, which is at work."""
    if guest:
        return "what the agent does: it runs again over the records up to here, and goes on"
    match step:
        case None:
            return "nothing: it has ended, or waits for a response"
        case CallModel(attempt, supersedes, partial, failed):
            text = f"call the model{' for a summary' if step.summarizes else ''}, attempt {attempt}"
            text += f", and withdraw records {supersedes[0]} to {supersedes[1]}" if supersedes else ""
            text += ", which continues its own text" if partial is not None else ""
            return text + (f", after what remains of {failed.delay:.1f} s" if failed else "")
        case RunTools(calls) | CancelTools(calls):
            verb = "run" if isinstance(step, RunTools) else "cancel"
            return f"{verb} {', '.join(short(call['name'], longest=40) for _, call in calls)}"
        case AddMessage(origin="tools"):
            return "add the results of the tools to the history"
        case AddMessage(message, origin):
            return f"add to the history, as {origin}: {short(shown_content(message.get('content', [])))}"
        case StartCycle(cycle):
            return f"begin cycle {cycle}"
        case ProduceOutput(name, value):
            return f"store the structured output {name}: {short(value)}"
        case Reduce(reduction, reason):
            what = "shorten tool results" if reduction.cut is not None else "leave the oldest messages out"
            return f"reduce the history ({reason}): {what}"
        case AddAnswer() | Pause() | Resume() | SayCancelled() | ReadOutput():
            return _STEPS[type(step)]
        case Finish(result, cancelled):
            return "end as cancelled" if cancelled else f"end as completed: {result.get('stop_reason')}"
        case Fail(error_type, message):
            return f"fail: {error_type}: {short(message)}"


def _call_line(call: OpenCall) -> str:
    return f"{call.tool_use['name']} {short(call.tool_use['input'])} ({call.state})"


def message_lines(message: Message) -> list[str]:
    """A message for people to read, one line per block."""
    return [
        f"{message.get('role', '?'):>{ROLE_WIDTH - 2}}  {_block_text(block)}" for block in message.get("content", [])
    ]


def _block_text(block: ContentBlock) -> str:
    if "text" in block:
        return short(block["text"], longest=_LONGEST)
    if "toolUse" in block:
        return f"→ {block['toolUse']['name']} {short(block['toolUse']['input'], longest=_LONGEST)}"
    if "toolResult" in block:
        result = block["toolResult"]
        mark = "✓" if result.get("status") == "success" else "✗"
        return f"{mark} {short(shown_content(result.get('content', [])), longest=_LONGEST)}"
    return short(block)
