"""What two runs did, as lines of text: for `playhead diff` in the terminal and on its page."""

from __future__ import annotations

from typing import Any

from playhead.client.cli.render import counted, seconds, short
from playhead.runtime.core.guest_words import worded
from playhead.runtime.core.run_acts import RunAct
from playhead.runtime.core.run_diff import RunDiff, RunSummary

__all__ = ["act_line", "numbers", "where_they_part"]


def where_they_part(found: RunDiff) -> str:
    """Where two runs part, in one line."""
    common = f"the first {counted(found.common, 'record')} are the same" if found.common > 1 else ""
    if found.parted is None:
        return f"both runs did the same; {common}" if common else "both runs did the same"
    pair = found.pairs[found.parted]
    sides = [f"{side} at record {act.first}" for side, act in (("left", pair.left), ("right", pair.right)) if act]
    cycle = f" of cycle {pair.either.cycle}" if pair.either.cycle else ""
    what = f"they part in the {_what(pair.either)}{cycle}: {', '.join(sides)}"
    return f"{common}; {what}" if common else what


def numbers(run: RunSummary, cost: float | None = None) -> str:
    """A run in numbers, in one line."""
    tokens = f"{run.usage.get('inputTokens', 0)} + {run.usage.get('outputTokens', 0)} tokens"
    cycles = f"{counted(run.cycles, 'cycle')}, " if run.cycles else ""  # a guest's run has none
    counts = f"{cycles}{counted(run.tool_calls, 'tool call')}, {counted(run.records, 'record')}"
    paid = "" if cost is None else f", cost {cost:.6g}"
    own = f", with the model {short(run.model)}" if run.model is not None else ""
    own += f", with the system prompt {short(run.system_prompt)}" if run.system_prompt is not None else ""
    return f"{run.agent} {run.state} after {seconds(run.took_ms)}, {tokens}, {counts}{paid}{own}"


def _what(act: RunAct) -> str:
    names = {
        "submitted": "submission",
        "model": "model's answer",
        "end": "end",
        "question": "question",
        "context": "reduced history",
    }
    return names.get(act.kind, f"{act.name} {act.kind}" if act.kind != "tool" else f"tool call {act.name}")


def act_line(act: RunAct, *, cycle: bool = True) -> str:
    """An act on one line."""
    content = act.content
    match act.kind:
        case "submitted":
            text = short(content["prompt"])
        case "tool" | "question":
            outcome = {key: value for key, value in content.items() if key != "input"}
            given = f"{act.name} {short(content['input'])} → " if "input" in content else ""  # a guest asks in no call
            text = f"{given}{short(_outcome(outcome))}"
        case "model":
            text = " ".join(map(_block, content["content"])) if "content" in content else content["text"]
            text = f"{short(text, longest=400)} {'(unfinished)' if content.get('unfinished') else ''}".strip()
        case "message":
            text = f"{act.name}: {short(' '.join(map(_block, content['content'])), longest=400)}"
        case "context":
            text = f"{act.name}: {short(dict(content), longest=400)}"
        case "signal":
            text = f"{act.name}: {short(content['body'])}" if content["body"] is not None else act.name
        case "hook":
            text = f"{act.name} {short({key: value for key, value in content.items() if value})}"
        case "end":
            text = f"{act.name}: {content.get('stop_reason') or _outcome(content)}"
    where = f"{act.cycle} " if cycle and act.cycle else ""
    tokens = f", {act.usage['outputTokens']} tokens" if act.usage.get("outputTokens") else ""
    took = f" ({seconds(act.took_ms)}{tokens})" if act.took_ms or tokens else ""
    return f"{where}{act.kind}  {text}{took}"


def _outcome(content: Any) -> str:
    if "status" in content:
        return f"{content['status']}: {' '.join(map(_block, content['content']))}"
    if "error_type" in content:
        return f"{content['error_type']}: {content['message']}"
    return "(unfinished)" if content.get("unfinished") else short(content.get("asked"))


def _block(block: Any) -> str:
    if "text" in block:
        return str(block["text"])
    if "tool" in block:
        return f"→ {block['tool']} {short(block['input'])}"
    return short(worded(block))
