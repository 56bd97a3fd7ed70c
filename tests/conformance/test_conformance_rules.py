"""The driver's own rules: which scenarios are said to need a missing feature, and that every difference is seen."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conformance_driver import drive_here
from tests.conformance.conformance_judge import differences
from tests.conformance.conformance_killed import Stage
from tests.conformance.conformance_reader import Reader
from tests.conformance.conformance_recording import Recording
from tests.conformance.conformance_scenarios import HERE, Folder, Scenario, decode, encode, missing_features

__all__: list[str] = []

DATA = Folder(HERE / "data", ours=True)
USER: dict[str, Any] = {"role": "user", "content": [{"text": "hi"}]}
THROTTLED = {"chunks": [], "error": {"kind": "throttled", "message": "slow down"}}
OVERFLOW = {"chunks": [], "error": {"kind": "context_overflow", "message": "too long"}}
MESSAGE: dict[str, Any] = {"chunks": []}


def scenario(**parts: Any) -> Scenario:
    return {"id": "made_up", "model_calls": [MESSAGE], "turns": [{"prompt": "hi"}], **parts}


def with_tool(**behaviour: Any) -> Scenario:
    return scenario(tools=[{"name": "t", "description": "", "input_schema": {}, "behaviour": behaviour}])


@pytest.mark.parametrize(
    ("made", "missing"),
    [
        (scenario(), []),
        (scenario(agent={"system_prompt": "x", "messages": [USER], "tool_executor": "sequential"}), []),
        (scenario(agent={"checkpointing": False, "retry": {"max_attempts": 3}}), []),
        (scenario(agent={"checkpointing": True}), ["checkpoints"]),
        (scenario(agent={"novelty": 1}), ["novelty"]),
        (scenario(approvals=[{"tool": "t"}]), []),
        (scenario(turns=[{"prompt": "hi", "limits": {"turns": 1}}]), []),
        (scenario(turns=[{"prompt": "hi", "structured_output": {"name": "P"}}]), []),
        (scenario(turns=[{"prompt": "hi"}, {"resume": [{"interrupt": 0}]}]), []),
        (scenario(turns=[{"resume_checkpoint": 0}]), ["checkpoints"]),
        (scenario(turns=[{"prompt": None, "invocation_state": {"a": 1}, "cancel_after": {"key": "data"}}]), []),
        (with_tool(kind="stream", yields=[1], wait_for="t"), []),
        (with_tool(kind="interrupt", then={"kind": "template"}), []),
        (with_tool(kind="novelty"), ["novelty"]),
        (with_tool(kind="agent", model_calls=[MESSAGE]), []),
        (with_tool(kind="stop", message="m"), []),
        (scenario(model_calls=[THROTTLED, MESSAGE]), []),
        (scenario(model_calls=[OVERFLOW]), []),
        (scenario(model_calls=[OVERFLOW], agent={"messages": [USER]}), []),
        (scenario(agent={"conversation_manager": {"kind": "sliding_window", "window_size": 1}}), []),
        (scenario(agent={"messages": [USER] * 40}), []),
    ],
)
def test_missing_features_follow_from_the_data(made: Scenario, missing: list[str]):
    assert missing_features(made) == missing


def test_bytes_survive_the_files_form():
    value = {"a": [b"\x00\xff", {"b": b""}], "c": None}
    assert decode(encode(value)) == value


def _drop_event(recording: Recording) -> None:
    del recording.lines[5]


def _alter_event(recording: Recording) -> None:
    recording.lines[6]["event"]["data"] += "!"


def _alter_end(recording: Recording) -> None:
    recording.lines[-1]["end"] = "raise"
    recording.lines[-1]["raise"] = {"type": "RuntimeError", "message": ""}


def _alter_history(recording: Recording) -> None:
    [history] = recording.histories
    assert history
    history[0]["content"] = []


def _drop_turn(recording: Recording) -> None:
    recording.histories.pop()


def _alter_request(recording: Recording) -> None:
    recording.requests[1]["messages"].pop()


def _drop_tools(recording: Recording) -> None:
    recording.requests[0]["tools"] = []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "tamper", [_drop_event, _alter_event, _alter_end, _alter_history, _drop_turn, _alter_request, _drop_tools]
)
async def test_no_difference_goes_unseen(tamper: Callable[[Recording], None], tmp_path: Path):
    [one_tool] = [item for item in DATA.scenarios() if item["id"] == "one_tool"]
    recording = await drive_here(one_tool)
    tampered = deepcopy(recording)
    tamper(tampered)
    for name, tried in (("good", recording), ("bad", tampered)):
        scratch = tmp_path / name
        scratch.mkdir()
        assert bool(differences(DATA, one_tool, tried, scratch=scratch)) == (name == "bad")


@pytest.mark.anyio
async def test_a_reader_that_withdraws_nothing_differs_after_a_kill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    [one_tool] = [item for item in DATA.scenarios() if item["id"] == "one_tool"]
    stage = Stage(one_tool)
    whole = await stage.play()
    kill = next(kill for kill in whole.kills if kill.seq == whole.kills[-1].seq - 4)  # within the last answer
    played = await stage.play(kill)
    assert differences(DATA, one_tool, played.recording, scratch=tmp_path / "good") == []
    monkeypatch.setattr(Reader, "killed", lambda *_: None)
    played = await stage.play(kill)
    assert played.withdrawn != whole.withdrawn
    assert differences(DATA, one_tool, played.recording, scratch=tmp_path / "bad")
