"""The lines of a worker about its runs: the step, the error, and a traceback where only that shows the cause."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelStarted,
    Record,
    RunClaimed,
    RunFailed,
    RunSubmitted,
    ToolStarted,
)
from playhead.runtime.core.state import RunState
from playhead.runtime.log.values import Claim
from playhead.workers.log_output import print_lines
from playhead.workers.run_lines import RunLines

__all__: list[str] = []

BEGUN = (RunSubmitted(at=0, agent="shop"), RunClaimed(at=0, worker="w"), CycleStarted(at=0, cycle=1))
USE: Any = {"toolUseId": "1", "name": "pay", "input": {}}
FAILED = RunFailed(at=0, error_type="KeyError", message="'price'")


def unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No logging is configured, as in a process of its own. Not a fixture: pytest adds its handlers for each phase."""
    monkeypatch.setattr(logging.getLogger("playhead"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("playhead"), "level", logging.NOTSET)
    monkeypatch.setattr(logging.root, "handlers", [])


def claim(**changed: Any) -> Claim:
    return replace(Claim("r1", "t", 1, 2, "shop", None, 0, 0), **changed)


def state(*records: Record) -> RunState:
    return fold([Entry(seq, 1, record) for seq, record in enumerate((*BEGUN, *records), 1)])


IN_A_CALL = state(ModelStarted(at=0, attempt=1), FAILED)
IN_A_TOOL = state(
    ModelStarted(at=0, attempt=1),
    MessageAdded(
        at=0, message={"role": "assistant", "content": [{"toolUse": USE}]}, origin="model", stop_reason="tool_use"
    ),
    ToolStarted(at=0, index=0, tool_use=USE, effect_key="k"),
)


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("there", "step"), [(IN_A_CALL, " in a call of its model"), (IN_A_TOOL, " in the tool 'pay'"), (state(), "")]
)
def test_a_failed_run_is_one_line_with_its_agent_step_and_error(
    caplog: pytest.LogCaptureFixture, there: RunState, step: str
) -> None:
    RunLines(claim()).end("failed", FAILED, state=there, raised=raised(KeyError("price")))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.message == f"run r1 of shop failed{step}: KeyError: 'price'"
    assert record.exc_info is not None


def test_an_error_that_says_itself_what_is_wrong_has_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    RunLines(claim()).end("failed", FAILED, state=IN_A_CALL, raised=raised(ModelConfigurationError("no key")))
    assert not caplog.records[0].exc_info


def test_a_run_that_begins_goes_on_and_ends_is_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="playhead.runs")
    RunLines(claim()).begin()
    lines = RunLines(claim(epoch=2, head=9))
    lines.begin()
    lines.end("handed_over", None, state=None, raised=None)
    lines.end("completed", None, state=None, raised=None)
    assert caplog.messages == [
        "run r1 of shop begins",
        "run r1 of shop goes on after record 8",
        "run r1 of shop handed over after 0.0 s",
        "run r1 of shop completed after 0.0 s",
    ]


def test_a_line_of_json_has_the_run_the_agent_the_step_and_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unconfigured(monkeypatch)
    print_lines(level=None, form="json")
    RunLines(claim()).end("failed", FAILED, state=IN_A_CALL, raised=raised(KeyError("price")))
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert "KeyError: 'price'" in told.pop("traceback")
    assert told.pop("seconds") < 60
    assert told == {
        "level": "ERROR",
        "logger": "playhead.runs",
        "message": "run r1 of shop failed in a call of its model: KeyError: 'price'",
        "run": "r1",
        "agent": "shop",
        "epoch": 1,
        "outcome": "failed",
        "step": "a call of its model",
        "error": "KeyError",
    }


def test_a_control_character_of_an_error_does_nothing_to_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unconfigured(monkeypatch)
    print_lines(level=None, form="text")
    written = RunFailed(at=0, error_type="KeyError", message="\x1b]0;owned\x07\x9b2J")
    RunLines(claim()).end("failed", written, state=None, raised=None)
    assert capsys.readouterr().err.endswith("failed: KeyError: \\x1b]0;owned\\x07\\x9b2J\n")


def test_half_a_character_of_an_error_does_not_keep_its_traceback_from_a_file(
    tmp_path: Path,
) -> None:
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    logger = logging.getLogger("playhead.runs")
    logger.addHandler(handler)
    try:
        RunLines(claim()).end("failed", FAILED, state=IN_A_CALL, raised=raised(ValueError("half: \ud83d")))
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text(encoding="utf-8").endswith("\nValueError: half: \ufffd\n")
