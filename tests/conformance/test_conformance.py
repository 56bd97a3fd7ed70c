"""Playhead against recordings of Strands: the same scripts, the same events, histories and requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance_driver import drive_fleet, drive_here
from conformance_fleet import Fleet, running_fleet
from conformance_judge import differences
from conformance_scenarios import Folder, Scenario, folders, missing_features

from playhead.client import Client
from playhead.runtime.embedded.server import EmbeddedServer

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def _parameters() -> list[Any]:
    """One parameter set per scenario; those that need what playhead lacks are expected to differ, and named."""
    found: list[Any] = []
    for folder in folders():
        for scenario in folder.scenarios():
            missing = missing_features(scenario)
            reason = f"playhead has no {', no '.join(missing)}"
            expected = (AssertionError, NotImplementedError)
            mark = pytest.mark.xfail(reason=reason, raises=expected, strict=folder.ours)
            found.append(pytest.param(folder, scenario, id=scenario["id"], marks=[mark] if missing else []))
    return found


every_scenario = pytest.mark.parametrize(("folder", "scenario"), _parameters())


@pytest.fixture(scope="module")
def fleet(redis_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker process that hosts the agents of all scenarios."""
    requests = tmp_path_factory.mktemp("requests")
    with running_fleet(folders(), url=redis_server.url, requests=requests) as fleet:
        yield fleet


@every_scenario
async def test_an_agent_in_process_does_what_strands_does(folder: Folder, scenario: Scenario, tmp_path: Path):
    recording = await drive_here(scenario)
    problems = differences(folder, scenario, recording, scratch=tmp_path)
    assert not problems, "\n".join(problems)


@every_scenario
async def test_a_fleet_does_what_strands_does(fleet: Fleet, folder: Folder, scenario: Scenario, tmp_path: Path):
    async with Client(fleet.url, prefix=fleet.prefix) as client:
        recording = await drive_fleet(scenario, client, requests=fleet.requests / f"{scenario['id']}.jsonl")
    problems = differences(folder, scenario, recording, scratch=tmp_path)
    assert not problems, "\n".join(problems)
