"""Every log of an earlier version verifies: the agents that recorded it would do the same today."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from playhead.runtime.core.records import RunClaimed, RunSubmitted
from playhead.runtime.replay import verify
from tests.golden.record import owners
from tests.support.old_runs import FILES, OldRun
from tests.support.sweeps import sweep

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("file", sweep(FILES, step=4), ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_nothing_differs_in_a_log_of_an_earlier_version(file: Path) -> None:
    old = OldRun(file)
    agents = owners(file.stem)
    fork = cast("RunSubmitted", old.entries[0].record).options.get("fork", {"at": 0})
    claims = [entry for entry in old.entries if isinstance(entry.record, RunClaimed) and entry.seq > fork["at"]]
    for place, agent in enumerate(agents):
        found = await verify(old.recording, agent, after=claims[place].seq - 1 if claims else 0)
        if place + 1 == len(agents):
            assert found.same, found.text
            assert not found.notes
        else:  # the next owner ran another version of the agent
            assert found.difference is not None
            assert found.difference.epoch == claims[place + 1].epoch, found.text
