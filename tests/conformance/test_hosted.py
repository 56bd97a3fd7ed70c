"""The fourth way: the Strands agents of the recordings themselves, as guests: through a fleet, and killed after every record.

Each scenario's agent is the `strands.Agent` with which it was recorded. Its events, history and requests are those of the recording,
also when its owner was killed after any record. What differs is in `docs/hosting.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from playhead.runtime.core.records import SignalReceived, ToolFinished, ToolStarted
from playhead.runtime.host.tool_calls import OUTCOME_UNKNOWN
from tests.conformance import conformance_tools
from tests.conformance.conformance_driver import drive_fleet
from tests.conformance.conformance_hosted import Cut, HostedPlay, HostedStage
from tests.conformance.conformance_hosted_fleet import HostedFleet, guests_keep_step
from tests.conformance.conformance_judge import differences
from tests.conformance.conformance_scenarios import Folder, Scenario, asks_for_checkpoints, folders
from tests.support.fleet import Fleet
from tests.support.sweeps import WHOLE

__all__: list[str] = []

pytestmark = pytest.mark.anyio

ALL: Final = [(folder, one) for folder in folders() for one in folder.scenarios() if not asks_for_checkpoints(one)]
EVERY_PLACE: Final = frozenset(
    {
        *("parallel_tools", "model_throttled_then_ok", "context_overflow_recovered", "hook_interrupt_one_of_two"),
        *("cancel_during_tools", "structured_output_forced", "agents_side_by_side", "agent_as_tool_asks"),
        *("agent_as_tool_delegates", "agent_as_tool_raises"),
    }
)
"""One of each kind: they are cut after each record also in a usual run."""
BEGUN_BEFORE: Final = frozenset({"cancel_after_tools"})
"""A cancel that comes between the results of tools and the next call of the model: the cycle has begun here."""
GROUPS: Final = 8


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before a model is asked again take no time, and a tool does not wait long for one that does not run again."""
    now = SimpleNamespace(sleep=lambda _: asyncio.sleep(0))
    monkeypatch.setattr("strands.event_loop._retry.asyncio", now)
    monkeypatch.setattr(conformance_tools, "GIVE_UP_S", 0.2)


@pytest.mark.parametrize("group", range(GROUPS))
async def test_a_hosted_agent_in_a_fleet_does_what_it_does_alone(fleet: Fleet, group: int, tmp_path: Path) -> None:
    tried = ALL[group::GROUPS]
    async with HostedFleet.of(fleet, [scenario for _, scenario in tried]) as hosted:
        for folder, scenario in tried:
            recording = await drive_fleet(scenario, fleet, served=hosted.serving)
            recording.requests += hosted.stages[scenario["id"]].requests[""]
            problems = differences(folder, scenario, recording, scratch=tmp_path / scenario["id"])
            assert bool(problems) == (scenario["id"] in BEGUN_BEFORE), "\n".join([scenario["id"], *problems])


def _sampled() -> Iterator[Any]:
    for number, (folder, scenario) in enumerate(ALL):
        if WHOLE or scenario["id"] in EVERY_PLACE or number % 6 == 0:
            yield pytest.param(folder, scenario, id=scenario["id"])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("folder", "scenario"), list(_sampled()))
async def test_a_hosted_agent_whose_owner_is_killed_after_any_record_does_the_same(
    folder: Folder, scenario: Scenario, tmp_path: Path
) -> None:
    stage = HostedStage(scenario)
    with guests_keep_step():
        whole = await stage.play()
        for cut in _tried(scenario, whole):
            play = whole.upto(cut)
            if play.ended_by_log:  # a cancel was sent that no owner has received
                continue
            await play.go_on()
            problems = _problems(folder, scenario, play, whole, cut, scratch=tmp_path / f"{cut.run}-{cut.seq}")
            assert not problems, "\n".join([f"killed after record {cut.seq} of run {cut.run}", *problems])


def _tried(scenario: Scenario, whole: HostedPlay) -> list[Cut]:
    """Each place, or the first one after a record of each type."""
    if WHOLE or scenario["id"] in EVERY_PLACE:
        return whole.cuts
    firsts: dict[str, Cut] = {}
    for cut in whole.cuts:
        firsts.setdefault(whole.runs[cut.run].log[cut.seq - 1].record.type, cut)
    return list(firsts.values())


def _problems(
    folder: Folder, scenario: Scenario, play: HostedPlay, whole: HostedPlay, cut: Cut, *, scratch: Path
) -> list[str]:
    if scenario["id"] in BEGUN_BEFORE:
        got, wanted = ([list(line.get("event", ())) for line in one.recording.lines] for one in (play, whole))
        return [] if got == wanted else [f"want {wanted}", f"got {got}"]
    if _is_cut_off_and_cancelled(play, cut):
        results = [one.record for one in play.runs[cut.run].log if isinstance(one.record, ToolFinished)]
        told = any(OUTCOME_UNKNOWN in str(one.result) for one in results)
        ended = play.runs[cut.run].log[-1].record.type
        return [] if told and ended == "run.cancelled" else [f"ended as {ended} with {results}"]
    return differences(folder, scenario, play.recording, scratch=scratch)


def _is_cut_off_and_cancelled(play: HostedPlay, cut: Cut) -> bool:
    """Whether a cancel was in force, and a tool had begun: the next owner does not run that again."""
    records = [one.record for one in play.runs[cut.run].log[: cut.seq]]
    begun = {one.lane for one in records if isinstance(one, ToolStarted)}
    begun -= {one.lane for one in records if isinstance(one, ToolFinished)}
    return bool(begun) and any(isinstance(one, SignalReceived) and one.kind == "cancel" for one in records)
