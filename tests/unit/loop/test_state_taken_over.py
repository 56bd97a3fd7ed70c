"""The agent's state after a takeover after any record: what the log has, so no change is lost and none is made twice."""

from __future__ import annotations

import anyio
import pytest

from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import ToolFinished
from tests.support.recorded_runs import Call, Plan, played

__all__: list[str] = []

CALLS = (Call(tools=("keeps", "look", "keeps")), Call(tools=("keeps",)))
WHOLE = len(anyio.run(played, Plan(calls=CALLS, keeps=True)).entries)


@pytest.mark.parametrize("records", range(1, WHOLE - 2))
def test_the_next_owner_has_the_changes_of_the_calls_that_ended(records: int) -> None:
    entries = anyio.run(played, Plan(calls=CALLS, keeps=True, owners=((records, False),))).entries
    state = fold(entries).agent_state
    assert state is not None
    ended = [entry.record.name for entry in entries if isinstance(entry.record, ToolFinished)]
    kept = ended.count("keeps")
    assert (state.get("kept", 0), "began" in state) == (kept, kept == 0)
    assert state.get("tools", 0) - len(ended) in (0, 1), "a hook that an owner died in is asked again"
