"""What is said of a run's second and later owners: how each came to the run, and what ran when the former one ended."""

from __future__ import annotations

from playhead.runtime.core.owner_changes import OwnerChanges
from playhead.runtime.core.records import (
    ModelStarted,
    RunClaimed,
    RunHandedOver,
    RunSubmitted,
    StepFinished,
    ToolStarted,
)
from tests.support.eventful import Eventful, eventful

__all__: list[str] = []


def said(run: Eventful) -> list[str]:
    changes = OwnerChanges()
    return [text for entry in run.entries if (text := changes.feed(entry))]


def test_a_takeover_a_pause_and_a_hand_over_are_told_apart():
    changes = OwnerChanges()
    found = [text for entry in eventful() if (text := changes.feed(entry))]
    assert found == [
        "worker-1 died or was cut off while a call of its model (record 7) ran; worker-2 takes the run over, owner 2",
        "worker-2 goes on after the pause, owner 3",
        "worker-3 goes on with it, owner 4",
    ]


def test_a_takeover_names_the_tools_that_ran_with_the_records_that_began_them():
    run = Eventful()
    run.opening("How is Paris?")
    for index, name in enumerate(("weather", "book")):
        run.add(ToolStarted(at=0, index=index, tool_use=run.call(index, name), effect_key="k"))
    run.add(RunClaimed(at=0, worker="worker-2"), RunClaimed(at=0, worker="worker-3"))
    assert said(run) == [
        "worker-1 died or was cut off while the tools 'weather' (record 5), 'book' (record 6) ran; worker-2 takes the run "
        "over, owner 2",
        "worker-2 died or was cut off while no step ran; worker-3 takes the run over, owner 3",
    ]


def test_a_worker_that_was_cut_off_may_take_its_own_run_over():
    run = Eventful()
    run.opening("How is Paris?")
    run.add(RunClaimed(at=0, worker="worker-1"))
    assert said(run) == [
        "worker-1 was cut off or started again while no step ran; it takes the run over itself, owner 2"
    ]


def test_of_a_guest_whose_steps_the_log_has_at_their_end_nothing_is_said_that_may_be_wrong():
    run = Eventful()
    run.opening("How is Paris?")
    run.add(ModelStarted(at=0, lane="/model:1"), StepFinished(at=0, key="/model:1"))
    run.add(RunClaimed(at=0, worker="worker-2"))
    run.add(ToolStarted(at=0, index=0, tool_use=run.call(0, "pay"), effect_key="k", lane="/call_0"))
    run.add(RunClaimed(at=0, worker="worker-3"))
    assert said(run) == [
        "worker-1 died or was cut off; worker-2 takes the run over, owner 2",
        "worker-2 died or was cut off while the tool 'pay' (record 8) ran; worker-3 takes the run over, owner 3",
    ]


def test_without_the_first_records_the_former_worker_has_no_name():
    run = Eventful()
    run.opening("How is Paris?")
    run.add(RunClaimed(at=0, worker="worker-2"), RunHandedOver(at=0, worker="worker-2"), RunClaimed(at=0, worker="w3"))
    changes = OwnerChanges()
    found = [text for entry in run.entries[3:] if (text := changes.feed(entry))]
    assert found == [
        "the former worker died or was cut off while no step ran; worker-2 takes the run over, owner 2",
        "w3 goes on with it, owner 3",
    ]


def test_the_first_owner_of_a_fork_takes_nothing_over_and_a_later_one_does():
    run = Eventful()
    run.add(RunSubmitted(at=0, agent="agent", prompt="Hi", options={"fork": {"run": "0-parent", "at": 2}}))
    for number in range(1, 4):
        run.add(RunClaimed(at=0, worker=f"worker-{number}"))
    assert said(run) == [
        "forked from run 0-parent at record 2; worker-2 goes on, owner 2",
        "worker-2 died or was cut off while no step ran; worker-3 takes the run over, owner 3",
    ]


def test_a_fork_of_the_submission_tells_its_parent_at_its_first_claim():
    run = Eventful()
    run.add(RunSubmitted(at=0, agent="agent", prompt="Hi", options={"fork": {"run": "0-parent", "at": 1}}))
    run.add(RunClaimed(at=0, worker="worker-1"))
    assert said(run) == ["forked from run 0-parent at record 1; worker-1 goes on, owner 1"]
