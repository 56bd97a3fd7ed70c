"""The checker of the chaos knows the verdicts of hooks: a log of the loop passes, cut anywhere, and a broken one does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaos.check import check_run
from chaos.evidence import Evidence
from playhead.runtime.core.records import Entry, Record, ToolDecided, ToolStarted
from tests.unit.chaos.chaos_logs import again, kinds, made, place, plan, with_more

__all__: list[str] = []

pytestmark = pytest.mark.anyio

GUARDED = plan(agent="guarded", batches=(("swift", "threaded", "careful"),))


@pytest.mark.parametrize("record", [ToolDecided, ToolStarted])
async def test_a_run_with_hooks_passes_whole_and_taken_over(tmp_path: Path, record: type[Record]) -> None:
    whole = await made(GUARDED, folder=tmp_path)
    assert check_run(whole) == []
    assert [entry.record.type for entry in whole.entries].count("tool.decided") == 2
    cut = place(whole, record) + 1
    assert check_run(await made(replace(GUARDED, run="0-bbbbbb"), cut, folder=tmp_path)) == []


async def test_a_verdict_that_is_asked_for_twice_is_found(tmp_path: Path) -> None:
    whole = await made(GUARDED, folder=tmp_path)
    assert kinds(again(ToolDecided)(whole)) == {"verdict"}


def dropping(evidence: Evidence) -> tuple[int, Entry]:
    """After the start of the first call: a hook drops its result."""
    at = place(evidence, ToolStarted)
    started = evidence.entries[at].record
    assert isinstance(started, ToolStarted)
    verdict = ToolDecided(at=started.at, index=started.index, tool_use=started.tool_use, verdict="retry")
    return at + 1, evidence.entries[at]._replace(record=verdict)


async def test_an_owner_may_start_a_call_again_whose_result_a_hook_dropped(tmp_path: Path) -> None:
    whole = await made(plan(batches=(("swift",),)), folder=tmp_path)
    assert "rerun" in kinds(again(ToolStarted)(whole))
    assert "rerun" not in kinds(again(ToolStarted, after=ToolDecided)(with_more(dropping)(whole)))
