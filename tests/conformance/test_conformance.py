"""Playhead against recordings of Strands: the same scripts, the same events, histories and requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conformance_agents import build_agent
from tests.conformance.conformance_driver import drive_fleet, drive_here
from tests.conformance.conformance_judge import differences
from tests.conformance.conformance_parameters import every_scenario
from tests.conformance.conformance_scenarios import Folder, Scenario, asks_for_checkpoints, folders
from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@every_scenario
async def test_an_agent_in_process_does_what_strands_does(folder: Folder, scenario: Scenario, tmp_path: Path):
    recording = await drive_here(scenario)
    problems = differences(folder, scenario, recording, scratch=tmp_path)
    assert not problems, "\n".join(problems)


@every_scenario
async def test_a_fleet_does_what_strands_does(fleet: Fleet, folder: Folder, scenario: Scenario, tmp_path: Path):
    recording = await drive_fleet(scenario, fleet)
    problems = differences(folder, scenario, recording, scratch=tmp_path)
    assert not problems, "\n".join(problems)
    if recording.left_in is None:  # else the run goes on meanwhile
        assert recording.recorded_requests == recording.requests, "the records tell what the model was asked"


def test_an_agent_that_is_to_make_checkpoints_is_refused_because_every_record_is_one():
    asking = [scenario for folder in folders() for scenario in folder.scenarios() if asks_for_checkpoints(scenario)]
    for scenario in asking:
        with pytest.raises(TypeError, match="Strands has checkpointing; here every record is a checkpoint"):
            build_agent(scenario, note=lambda _: None)
    assert asking or not folders()[0].ours
