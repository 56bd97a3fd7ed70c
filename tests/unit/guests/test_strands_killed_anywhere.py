"""Whole Strands agents, killed after each record of their runs: the next owner brings each to the same end."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache, partial
from typing import Any

import pytest

from playhead.runtime.core.records import (
    Entry,
    ModelRetried,
    RunFailed,
    StepFinished,
    StructuredOutputProduced,
)
from playhead.runtime.guests.strands import StrandsGuest
from tests.support.guest_owners import Owners, cuts
from tests.support.strands_agents import AGENTS, MANY, WORLD, World

__all__: list[str] = []

pytestmark = pytest.mark.anyio

OURS = frozenset({"slow", "counting", "asks", "fails", "remember"})
VARIES = ("tracking_id", "metadata", "metrics", "execution_time", "accumulated_metrics", "execution_count")


@cache
def guest(name: str) -> StrandsGuest:
    """That agent, made for each owner."""
    World()
    return StrandsGuest(lambda: {**AGENTS, **MANY}[name](WORLD[-1]), name="agent")


def owners(name: str, log: list[Entry] | None = None) -> Owners:
    """The owners of a run of that agent."""
    return Owners(guest(name), list(log or []))


def steady(value: Any) -> Any:
    """Without ids and times that are made up, and the order of a graph's nodes, which Strands has in a set."""
    if isinstance(value, dict):
        sets = {key: sorted(item) for key, item in value.items() if key.endswith("_node_ids")}
        return {key: steady(item) for key, item in value.items() if key not in VARIES} | sets
    return [steady(item) for item in value] if isinstance(value, list) else value


def shown(run: Owners) -> tuple[list[Any], dict[str, list[Any]]]:
    """What a reader sees: in order, and apart from it what calls give that run side by side."""
    rest: list[Any] = []
    apart: dict[str, list[Any]] = {}
    for event in run.events():
        plain = steady(json.loads(json.dumps(event, default=str)))
        if "multiagent" in plain.get("result", {}):  # nodes that run side by side end in any order
            many = plain["result"]["multiagent"]
            rest.append((many["status"], {name: one["result"]["message"] for name, one in many["results"].items()}))
        elif "tool_stream_event" in event:
            call = event["tool_stream_event"]["tool_use"]["toolUseId"]
            told = plain["tool_stream_event"]["data"]
            if told not in apart.setdefault(call, []):  # a call that was cut off repeats its progress
                apart[call].append(told)
        elif "node_id" in event:
            apart.setdefault(event["node_id"], []).append(plain)
        elif "tool_cancel_event" in event or "tool_interrupt_event" in event:
            apart.setdefault("verdicts", []).append(json.dumps(plain, sort_keys=True))
        else:
            rest.append(plain)
    return rest, {key: sorted(set(items)) if key == "verdicts" else items for key, items in apart.items()}


def finished(run: Owners) -> Counter[str]:
    """The tools that have run to their end, by the log."""
    return Counter({name: times for name, times in run.finished().items() if name in OURS})


@pytest.mark.parametrize("name", [*AGENTS, *MANY])
async def test_an_agent_runs_as_it_is(name: str) -> None:
    run, world = owners(name), World()
    await run.to_the_end()
    assert (run.end.type == "run.failed") == (name == "failing"), run.end
    assert finished(run) == world.effects
    assert run.of(ModelRetried) == []


async def test_a_structured_output_is_recorded_as_that_of_any_agent() -> None:
    run = owners("structured")
    World()
    await run.to_the_end()
    (produced,) = run.of(StructuredOutputProduced)
    assert (produced.name, produced.value) == ("Answer", {"total": 3})
    assert run.end.result["structured_output"] == {"total": 3}
    assert [event["structured_output"] for event in run.events() if "structured_output" in event] == [{"total": 3}]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [*AGENTS, *MANY])
async def test_cut_after_any_record_it_comes_to_the_same_end(name: str) -> None:
    whole, first = owners(name), World()
    await whole.to_the_end()
    wanted = shown(whole)
    for run, where in cuts(whole, partial(owners, name), first=2):
        world = World()
        world.throttled = sum(isinstance(one, StepFinished) and one.error is not None for one in run.records)
        done = finished(run)
        await run.to_the_end()
        if isinstance(run.end, RunFailed):
            assert name == "failing", f"{where}: {run.end}"
        assert shown(run) == wanted, where
        assert world.effects + done == first.effects, f"{where}: a finished tool ran again"
