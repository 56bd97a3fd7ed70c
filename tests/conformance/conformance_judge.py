"""Holds a recording against what Strands did: the events by `compare.py`, then history and requests."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Final

from tests.conformance.conformance_recording import Recording
from tests.conformance.conformance_scenarios import Folder, Scenario

__all__ = ["differences"]


def _load_compare() -> Any:
    path = Path(__file__).resolve().parent / "data" / "compare.py"
    spec = importlib.util.spec_from_file_location("conformance_compare", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_COMPARE: Final = _load_compare()


def differences(folder: Folder, scenario: Scenario, recording: Recording, *, scratch: Path) -> list[str]:
    """How the recording differs from `folder`'s expectation, one readable item each; empty if it conforms.

    Args:
        scratch: A folder that is empty or does not exist, for the files that `compare.py` reads.
    """
    return [*_event_differences(folder, scenario, recording, scratch), *_state_differences(folder, scenario, recording)]


def _event_differences(folder: Folder, scenario: Scenario, recording: Recording, scratch: Path) -> list[str]:
    actual = scratch / "actual.jsonl"
    expected = scratch / "expected" / f"{scenario['id']}.jsonl"
    expected.parent.mkdir(parents=True)
    _write(actual, _comparable(recording.lines, scenario, recording.left_in))
    _write(expected, _comparable(folder.expected_lines(scenario), scenario, recording.left_in))
    _COMPARE.HERE = scratch
    return _COMPARE.compare(scenario, actual, "core")


def _comparable(lines: list[dict[str, Any]], scenario: Scenario, left_in: int | None) -> list[dict[str, Any]]:
    """The lines that can be equal: up to the turn in which the consumer left, and without the "end" of such turns.

    The end of a turn whose consumer left cannot be compared, because its iterator is closed.
    """
    closed = {number for number, turn in enumerate(scenario["turns"]) if turn.get("close_after")}
    return [
        line
        for line in lines
        if not ("end" in line and line["turn"] in closed) and (left_in is None or line["turn"] <= left_in)
    ]


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _state_differences(folder: Folder, scenario: Scenario, recording: Recording) -> list[str]:
    expected = folder.expected_state(scenario)
    turns = len(scenario["turns"]) if recording.left_in is None else recording.left_in
    unknown = [number for number, history in enumerate(recording.histories) if history is None]
    wanted = [_messages(item) for i, item in enumerate(expected["messages_after_turn"][:turns]) if i not in unknown]
    got = [_messages(history) for history in recording.histories if history is not None]
    problems = _unequal("history after turn", wanted, got)
    if recording.left_in is None:
        asked = [_request(request) for request in expected["model_requests"]]
        problems += _unequal("model request", asked, [_request(request) for request in recording.requests])
    return problems


def _messages(messages: list[dict[str, Any]]) -> Any:
    return _COMPARE.tool_text([{"role": message["role"], "content": message["content"]} for message in messages])


def _request(request: dict[str, Any]) -> dict[str, Any]:
    kept = {key: request[key] for key in ("system_prompt", "tools", "tool_choice")}
    return {**kept, "messages": _messages(request["messages"])}


def _unequal(what: str, wanted: list[Any], got: list[Any]) -> list[str]:
    problems = [f"{what}: want {len(wanted)}, got {len(got)}"] if len(wanted) != len(got) else []
    pairs = enumerate(zip(wanted, got, strict=False))
    return problems + [
        f"{what} {number}\n    want {json.dumps(want)}\n    got  {json.dumps(have)}"
        for number, (want, have) in pairs
        if want != have
    ]
