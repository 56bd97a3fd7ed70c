"""The recorder is trusted because it gives what was handed to us: else our own recordings would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conformance_judge import differences
from tests.conformance.conformance_scenarios import HERE, Folder, Scenario
from tests.conformance.record_strands import record, write

__all__: list[str] = []

pytestmark = pytest.mark.anyio

DATA = Folder(HERE / "data", ours=True)


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one["id"]) for one in DATA.scenarios()])
async def test_strands_does_again_what_was_recorded(scenario: Scenario, tmp_path: Path):
    recording = await record(scenario)
    assert differences(DATA, scenario, recording, scratch=tmp_path / "judge") == []
    write(scenario, recording, tmp_path)
    written = Folder(tmp_path, ours=False)
    recording.lines = written.expected_lines(scenario)
    assert differences(DATA, scenario, recording, scratch=tmp_path / "again") == [], (
        "and so do the files that it writes"
    )
