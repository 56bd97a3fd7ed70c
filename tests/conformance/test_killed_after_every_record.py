"""The third way: the worker killed after every record of a scenario gives what Strands gives, and withdraws only what it must.

A reader that takes back what a `retracted` event withdraws has the events of the recording: the same histories, requests
and results too. Such an event comes only at the takeover, and only for a model call that was unfinished there. A tool
call that was cut off runs again, and its progress comes again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conformance_judge import differences
from tests.conformance.conformance_killed import Kill, Played, Stage
from tests.conformance.conformance_parameters import every_scenario
from tests.conformance.conformance_scenarios import Folder, Scenario
from tests.support.sweeps import some

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.exhaustive]


@every_scenario
async def test_a_worker_killed_after_any_record_changes_nothing_for_the_reader(
    folder: Folder, scenario: Scenario, tmp_path: Path
):
    stage = Stage(scenario)
    whole = await stage.play()
    assert not differences(folder, scenario, whole.recording, scratch=tmp_path / "whole")
    for kill in _tried(folder, scenario, whole.kills):
        played = await stage.play(kill)
        problems = _problems(folder, scenario, played, whole, scratch=tmp_path / f"{kill.run}-{kill.seq}")
        assert not problems, "\n".join([f"the worker was killed after record {kill.seq} of run {kill.run}", *problems])


def _tried(folder: Folder, scenario: Scenario, kills: list[Kill]) -> list[Kill]:
    """All of them; of our own scenarios, of which there are many, some."""
    if folder.path.name != "data_extra":
        return kills
    return list(some(kills, step=5, of=scenario["id"]))


def _problems(folder: Folder, scenario: Scenario, played: Played, whole: Played, *, scratch: Path) -> list[str]:
    if played.withdrawn != whole.withdrawn:
        return [f"withdrawn without a kill in them: want {whole.withdrawn}, got {played.withdrawn}"]
    if played.ended_by_log:
        return _problems_of_cancelled(played, whole)
    if _plain(played) == _plain(whole):  # which is what Strands gave
        return []
    return differences(folder, scenario, played.recording, scratch=scratch)


def _problems_of_cancelled(played: Played, whole: Played) -> list[str]:
    """The log ended the run of a killed worker that had not received the consumer's cancel: a decided difference."""
    *before, result, _ = played.recording.lines
    end = result["event"]["result"]["stop_reason"]
    began = json.loads(_plain(whole))["lines"][: len(before)]
    same = json.loads(_plain(played))["lines"][: len(before)] == began
    return [] if same and end == "cancelled" else [f"ended as {end}, after {before}"]


def _plain(played: Played) -> str:
    """What a play gave, without what is made anew each time."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kept(item) for key, item in value.items() if key not in ("tracking_id", "timeToFirstByteMs")}
        return [kept(item) for item in value] if isinstance(value, list) else value

    recording = played.recording
    return json.dumps(kept({"lines": recording.lines, "states": [recording.histories, recording.requests]}))
