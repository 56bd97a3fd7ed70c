"""The scenario files: where they are, how bytes are spelt in them, and which features of them playhead lacks."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel

__all__ = [
    "HERE",
    "Folder",
    "Scenario",
    "asks_for_checkpoints",
    "decode",
    "encode",
    "folders",
    "missing_features",
]

HERE: Final = Path(__file__).resolve().parent
"""This folder."""

SCENARIOS_VARIABLE: Final = "PLAYHEAD_SCENARIOS"

Scenario = dict[str, Any]
"""One entry of `scenarios.json`, as `README.md` describes it."""


@dataclass(frozen=True)
class Folder:
    """A folder with `scenarios.json` and `expected/`.

    Attributes:
        ours: Whether it belongs to the project. Then `missing_features` is held to it exactly: a scenario said to need
            a missing feature must differ. Of another folder it only says which differences are expected.
    """

    path: Path
    ours: bool

    def scenarios(self) -> list[Scenario]:
        """The scenarios, in order."""
        return json.loads((self.path / "scenarios.json").read_text())["scenarios"]

    def expected_lines(self, scenario: Scenario) -> list[dict[str, Any]]:
        """What Strands yielded, line by line."""
        text = (self.path / "expected" / f"{scenario['id']}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines() if line.strip()]

    def expected_state(self, scenario: Scenario) -> dict[str, Any]:
        """The history after each turn, and the requests to the model."""
        return json.loads((self.path / "expected" / f"{scenario['id']}.state.json").read_text())


def folders() -> list[Folder]:
    """The project's own folders, or the one that `PLAYHEAD_SCENARIOS` names."""
    if foreign := os.environ.get(SCENARIOS_VARIABLE):
        return [Folder(Path(foreign).resolve(), ours=False)]
    return [Folder(HERE / name, ours=True) for name in ("data", "data_extra")]


def decode(value: Any) -> Any:
    """A copy of plain data from a file, with bytes for `{"$bytes": base64}`."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        if set(items) == {"$bytes"}:
            return base64.b64decode(items["$bytes"])
        return {key: decode(item) for key, item in items.items()}
    return [decode(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def encode(value: Any) -> Any:
    """A copy of plain data as JSON can hold it: `{"$bytes": base64}` for bytes, an instance of a class as its fields."""
    if isinstance(value, BaseModel):
        return {"$live": type(value).__name__, "$base": "BaseModel", "value": encode(value.model_dump(mode="json"))}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in cast("dict[str, Any]", value).items()}
    return [encode(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


# What a scenario asks for


_TOP_KEYS: Final = {"id", "title", "group", "agent", "tools", "model_calls", "turns", "compare", "approvals"}
_AGENT_KEYS: Final = {"system_prompt", "messages", "tool_executor", "retry", "conversation_manager"}
_TURN_KEYS: Final = {
    *("prompt", "resume", "invocation_state", "structured_output", "limits"),
    *("cancel_after", "close_after", "second_prompt_after"),
}
_BEHAVIOURS: Final = {"return", "template", "sum", "tool_result", "raise", "stream", "interrupt", "stop", "agent"}
_NAMES: Final = {
    "resume_checkpoint": "checkpoints",
    "checkpointing": "checkpoints",
}
"""Readable names of what we know and lack; whatever else a scenario asks for is named by its key."""


def asks_for_checkpoints(scenario: Scenario) -> bool:
    """Whether its agent is to make checkpoints: a decided difference, see `README.md`."""
    return bool(scenario.get("agent", {}).get("checkpointing"))


def missing_features(scenario: Scenario) -> list[str]:
    """What the scenario needs and playhead does not have, by name; empty when it must pass.

    Decided on the scenario's data alone, never on its id. Unknown keys count as missing features.
    """
    found = [*_unknown_keys(scenario), *_behaviours(scenario)]
    return sorted({_NAMES.get(name, name) for name in found})


def _unknown_keys(scenario: Scenario) -> Iterator[str]:
    agent: dict[str, Any] = scenario.get("agent", {})
    yield from _set_keys(scenario) - _TOP_KEYS
    yield from _set_keys(agent) - _AGENT_KEYS
    for turn in scenario["turns"]:
        yield from _set_keys(turn) - _TURN_KEYS


def _set_keys(mapping: dict[str, Any]) -> set[str]:
    return {key for key, value in mapping.items() if value or key in ("turns", "resume_checkpoint")}


def _tools(specs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for spec in specs:
        yield spec
        yield from _tools(spec["behaviour"].get("tools", []))  # of an agent that is a tool


def _behaviours(scenario: Scenario) -> Iterator[str]:
    for tool in _tools(scenario.get("tools", [])):
        behaviour: dict[str, Any] | None = tool["behaviour"]
        while behaviour:
            if behaviour["kind"] not in _BEHAVIOURS:
                yield behaviour["kind"]
            behaviour = behaviour.get("then")
