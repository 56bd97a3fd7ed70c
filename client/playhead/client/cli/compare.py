"""The command that compares two runs: `diff`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from playhead.client.cli.look import counted
from playhead.client.cli.reach import opened
from playhead.client.cli.render import print_json, printable, seconds, short
from playhead.client.cli.watch import Json, Prefix, RunOrFile, Url
from playhead.runtime.core.run_acts import RunAct
from playhead.runtime.core.run_diff import ActPair, RunDiff, RunSummary

__all__ = ["diff"]


def diff(
    left: RunOrFile,
    right: RunOrFile,
    everything: Annotated[bool, typer.Option("--all", help="Also show what both did alike.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Compare two runs: where they part, and side by side what each did. Exit 1 if they did different things."""

    async def main() -> RunDiff:
        async with opened(left, url, prefix) as mine, opened(right, url, prefix) as theirs:
            return await mine.diff(theirs)

    found = anyio.run(main)
    if as_json:
        _print_json(found)
    else:
        _print(found, left, right, everything=everything)
    raise typer.Exit(0 if found.same else 1)


def _print_json(found: RunDiff) -> None:
    print_json({"common": found.common, "same": found.same, "left": asdict(found.left), "right": asdict(found.right)})
    for pair in found.pairs:
        sides = {"left": pair.left and _plain(pair.left), "right": pair.right and _plain(pair.right)}
        print_json({"cycle": pair.either.cycle, "kind": pair.either.kind, "same": pair.same, **sides})


def _plain(act: RunAct) -> dict[str, Any]:
    return {name: value for name, value in asdict(act).items() if name not in ("kind", "place")}


def _print(found: RunDiff, left: str, right: str, *, everything: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(printable(where_they_part(found)), style="bold"))
    shown = [pair for pair in found.pairs if everything or not pair.same]
    if console.is_terminal:
        console.print(_table(found, shown, left, right), soft_wrap=False)
        return
    for mark, name, summary in (("-", left, found.left), ("+", right, found.right)):
        console.print(Text(printable(f"{mark} {name}: {_numbers(summary)}")))
    for pair in shown:
        for line in _lines(pair):
            console.print(Text(printable(line)))


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


def _lines(pair: ActPair) -> list[str]:
    if pair.same:
        return [f"  {_told(pair.either)}"]
    return [f"{mark} {_told(act)}" for mark, act in (("-", pair.left), ("+", pair.right)) if act is not None]


def _table(found: RunDiff, shown: list[ActPair], left: str, right: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("cycle", no_wrap=True)
    for name in (left, right):
        table.add_column(printable(name), ratio=1, overflow="fold")
    table.add_row("", _numbers(found.left), _numbers(found.right), style="dim")
    for pair in shown:
        sides = [Text(printable(_told(act, cycle=False)) if act else "(nothing)") for act in (pair.left, pair.right)]
        if not pair.same:
            sides[0].stylize("red")
            sides[1].stylize("green")
        table.add_row(str(pair.either.cycle or ""), *sides)
    return table


def _numbers(run: RunSummary) -> str:
    tokens = f"{run.usage.get('inputTokens', 0)} + {run.usage.get('outputTokens', 0)} tokens"
    counts = f"{counted(run.cycles, 'cycle')}, {counted(run.tool_calls, 'tool call')}, {counted(run.records, 'record')}"
    own = f", with the model {short(run.model)}" if run.model is not None else ""
    own += f", with the system prompt {short(run.system_prompt)}" if run.system_prompt is not None else ""
    return f"{run.agent} {run.state} after {seconds(run.took_ms)}, {tokens}, {counts}{own}"


def _what(act: RunAct) -> str:
    names = {"submitted": "submission", "model": "model's answer", "end": "end", "question": "question"}
    return names.get(act.kind, f"{act.name} {act.kind}" if act.kind != "tool" else f"tool call {act.name}")


def _told(act: RunAct, *, cycle: bool = True) -> str:
    """An act on one line."""
    content = act.content
    match act.kind:
        case "submitted":
            text = short(content["prompt"])
        case "tool" | "question":
            outcome = {key: value for key, value in content.items() if key != "input"}
            text = f"{act.name} {short(content['input'])} → {short(_outcome(outcome))}"
        case "model":
            text = (
                " ".join(map(_block, content["content"])) if "content" in content else f"{content['text']} (unfinished)"
            )
            text = short(text, longest=400)
        case "message":
            text = f"{act.name}: {short(' '.join(map(_block, content['content'])), longest=400)}"
        case "signal":
            text = f"{act.name}: {short(content['body'])}" if content["body"] is not None else act.name
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
    return short(block.get("json", block))
