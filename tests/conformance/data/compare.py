"""Compare a runtime's recording with the one real Strands made. Standard library only.

    python compare.py one_tool path/to/actual.jsonl              # profile core (default)
    python compare.py one_tool path/to/actual.jsonl --profile strict
    python compare.py --all path/to/dir                          # every <id>.jsonl found there

The actual file has the same line shape as ``expected/<id>.jsonl``:
``{"turn": 0, "event": {...}}``, ``{"turn": 0, "end": "ok"}``, ``{"turn": 0, "end": "raise", "raise": {...}}``.
Lines with ``client`` are notes by the driver and are ignored on both sides. Exit status 0: equal.

Profiles
  core    the event's own keys; keys merged from the invocation state are dropped, ids that a runtime
          may choose freely (tracking_id, interrupt ids) are dropped, ``result`` is cut to what a caller reads.
  strict  everything, after numbering uuids.
"""

# pyright: basic
from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FREE_KEYS = {"tracking_id", "timeToFirstByteMs"}
SYSTEM_STATE = {
    "agent", "model", "messages", "system_prompt", "tool_config", "request_state", "event_loop_cycle_id",
    "event_loop_parent_cycle_id", "event_loop_cycle_trace", "event_loop_cycle_span", "invocation_state",
}  # fmt: skip
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\$uuid:\d+")


def load(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [line for line in lines if "client" not in line]


def strip(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("$base") == "BaseModel":
            return strip(value["value"])
        return {k: strip(v) for k, v in value.items() if k not in FREE_KEYS and k != "$live"}
    if isinstance(value, list):
        return [strip(v) for v in value]
    return value


def tool_text(value: Any) -> Any:
    """Cut pydantic's wording out of tool error results."""
    if isinstance(value, dict):
        if set(value) == {"text"} and isinstance(value["text"], str) and value["text"].startswith("Error: Validation"):
            return {"text": "Error: Validation failed"}
        return {k: tool_text(v) for k, v in value.items()}
    if isinstance(value, list):
        return [tool_text(v) for v in value]
    return value


def core_result(result: dict) -> dict:
    metrics = result.get("metrics") or {}
    return {
        "stop_reason": result.get("stop_reason"),
        "message": strip(result.get("message")),
        "text": result.get("text"),
        "interrupts": [core_interrupt(i) for i in result.get("interrupts") or []],
        "structured_output": strip(result.get("structured_output")),
        "usage": metrics.get("invocation_usage"),
        "cycles": metrics.get("invocation_cycles"),
    }


def core_interrupt(interrupt: dict) -> dict:
    return {"name": interrupt.get("name"), "reason": interrupt.get("reason")}


def core_event(event: dict, merged: set[str]) -> dict:
    out: dict[str, Any] = {}
    for key, value in event.items():
        # In an event with "message", "messages" etc. are never own keys; in delta events they are merged state.
        if key in merged or (key in SYSTEM_STATE and key != "message"):
            continue
        if key == "result" and isinstance(value, dict) and "stop_reason" in value:
            out[key] = core_result(value)
        elif key == "tool_interrupt_event":
            out[key] = {
                "tool_use": strip(value["tool_use"]),
                "interrupts": [core_interrupt(i) for i in value["interrupts"]],
            }
        elif key == "tool_stream_event" and isinstance(value.get("data"), dict):
            data = value["data"]
            nested = "delta" in data or "event" in data or "init_event_loop" in data or "message" in data
            out[key] = {
                "tool_use": strip(value["tool_use"]),
                "data": core_event(data, set()) if nested else strip(data),
            }
        else:
            out[key] = strip(value)
    return tool_text(out)


def normalise(lines: list[dict], profile: str, caller_state: list[set[str]]) -> list[dict]:
    ids: dict[str, int] = {}

    def number(value: Any) -> Any:
        if isinstance(value, str):
            return UUID.sub(lambda m: f"$uuid:{ids.setdefault(m.group(), len(ids) + 1)}", value)
        if isinstance(value, dict):
            return {k: number(v) for k, v in value.items() if k != "timeToFirstByteMs"}
        if isinstance(value, list):
            return [number(v) for v in value]
        return value

    out = []
    for line in lines:
        turn = line.get("turn", 0)
        if "event" in line:
            if profile == "core":
                mine = caller_state[turn] if turn < len(caller_state) else set()
                body = core_event(line["event"], set(line.get("merged", [])) | mine)
                # The invocation state a caller passes must still come back in init and delta events.
                body["$caller_state"] = sorted(k for k in mine if k in line["event"])
            else:
                body = number(line["event"])
            out.append({"turn": turn, "event": body})
        else:
            body = {"turn": turn, "end": line["end"]}
            if "raise" in line:
                body["raise"] = line["raise"]["type"]
            out.append(body)
    return out


def per_tool(lines: list[dict]) -> list[dict]:
    """Sort each run of consecutive tool_stream events by toolUseId, keeping each tool's own order."""
    out: list[dict] = []
    run: list[dict] = []

    def flush() -> None:
        out.extend(sorted(run, key=lambda x: x["event"]["tool_stream_event"]["tool_use"]["toolUseId"]))
        run.clear()

    for line in lines:
        if "tool_stream_event" in line.get("event", {}):
            run.append(line)
        else:
            flush()
            out.append(line)
    flush()
    return out


def compare(scenario: dict, actual_path: Path, profile: str) -> list[str]:
    state = [set(turn.get("invocation_state", {})) for turn in scenario["turns"]]
    expected = normalise(load(HERE / "expected" / f"{scenario['id']}.jsonl"), profile, state)
    actual = normalise(load(actual_path), profile, state)
    if scenario.get("compare", {}).get("order") == "per_tool":
        expected, actual = per_tool(expected), per_tool(actual)
    problems = []
    for i in range(max(len(expected), len(actual))):
        want = expected[i] if i < len(expected) else None
        got = actual[i] if i < len(actual) else None
        if want != got:
            problems.append(
                f"line {i}\n    want {json.dumps(want, sort_keys=True)}\n    got  {json.dumps(got, sort_keys=True)}"
            )
            if len(problems) == 5:
                problems.append("(more differences not shown)")
                break
    return problems


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", nargs="?")
    parser.add_argument("actual", nargs="?", type=Path)
    parser.add_argument("--all", type=Path, metavar="DIR")
    parser.add_argument("--profile", choices=["core", "strict"], default="core")
    args = parser.parse_args()
    known = {s["id"]: s for s in json.loads((HERE / "scenarios.json").read_text())["scenarios"]}
    if args.all:
        jobs = [(known[p.stem], p) for p in sorted(args.all.glob("*.jsonl")) if p.stem in known]
        missing = sorted(set(known) - {p.stem for _, p in jobs})
    elif args.scenario and args.actual:
        jobs, missing = [(known[args.scenario], args.actual)], []
    else:
        parser.error("name a scenario and a file, or --all DIR")
    failed = 0
    for scenario, path in jobs:
        problems = compare(scenario, path, args.profile)
        print(("FAIL " if problems else "ok   ") + scenario["id"])
        for problem in problems:
            print("  " + problem)
        failed += bool(problems)
    print(f"{len(jobs) - failed} equal, {failed} differ, {len(missing)} not recorded")
    if missing:
        print("  not recorded:", ", ".join(missing))
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
