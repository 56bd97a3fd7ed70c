"""Limits: what is refused, which of them ends a run, and that a run they end can be continued."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.limits import check_limits, limit_reached, read_limits
from playhead.runtime.core.terms import Terms
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify
from tests.support.recorded_runs import Call, Plan, Play, played

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def look() -> str:
    """Look."""
    return "seen"


def looking(**options: Any) -> Agent:
    """An agent whose model asks for its tool again and again: 10 input and 2 output tokens a time."""
    script = [lambda messages: tool_call("look", {}, f"t{len(messages)}")]
    return Agent(ScriptedModel(script, repeat=True), tools=[look], callback_handler=None, **options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "limits must be a dict of turns, total_tokens, output_tokens, not 5"),
        ({"cycles": 1}, "limits has no 'cycles': it has turns, total_tokens, output_tokens"),
        ({"turns": 0}, r"limits\['turns'\] must be a whole number above 0, not 0"),
        ({"total_tokens": -1}, r"limits\['total_tokens'\] must be a whole number above 0, not -1"),
        ({"output_tokens": True}, "not True"),
        ({"turns": 1.0}, "not 1.0"),
        ({"turns": None}, "not None"),
    ],
)
def test_what_is_not_a_limit_is_refused_where_it_is_passed(given: Any, said: str) -> None:
    for call in (
        lambda: check_limits(given),
        lambda: looking(limits=given),
        lambda: looking().stream_async(limits=given),
    ):
        with pytest.raises(TypeError, match=said):
            call()


def test_a_limit_in_a_record_that_was_never_checked_is_left_out() -> None:
    assert read_limits({"turns": 0, "cycles": 1, "total_tokens": 5}) == {"total_tokens": 5}
    assert read_limits("turns") == read_limits(None) == {}
    assert Terms.read({"limits": {"turns": "many"}}) == Terms()


def test_the_limits_are_looked_at_in_strands_order() -> None:
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    every: dict[str, int] = {"output_tokens": 5, "total_tokens": 15, "turns": 1}
    assert limit_reached(every, cycles=1, usage=usage) == "limit_turns"
    assert limit_reached(every, cycles=0, usage=usage) == "limit_total_tokens"
    assert limit_reached({"output_tokens": 5}, cycles=9, usage=usage) == "limit_output_tokens"
    assert limit_reached({"output_tokens": 6, "total_tokens": 16}, cycles=9, usage=usage) is None


async def test_a_calls_limits_come_before_those_of_its_agent_one_by_one() -> None:
    agent = looking(limits={"turns": 3, "output_tokens": 100})
    assert (await agent.invoke_async("go")).metrics.cycle_count == 3
    result = await agent.invoke_async("go", limits={"turns": 5, "total_tokens": 48})
    assert (result.stop_reason, result.metrics.cycle_count) == ("limit_total_tokens", 4)
    assert result.message.get("role") == "user"
    assert agent.messages[-1].get("content") == result.message.get("content"), "the tools have run"


async def test_a_steer_enters_the_history_before_a_limit_ends_the_run() -> None:
    plan = Plan(calls=(Call(tools=("look",)),), turns=1)
    whole = await played(plan)
    steered = await played(Plan(calls=plan.calls, turns=1, steers=frozenset({len(whole.records) - 1})))
    end = dict(steered.records[-1])["result"]
    assert (end["stop_reason"], end["message"]["content"][0]["text"][:4]) == ("limit_turns", "And ")


async def test_the_cycles_of_former_owners_count() -> None:
    plan = Plan(calls=(Call(tools=("look",)),) * 9, turns=3)
    whole = await played(plan)
    for cut in range(1, len(whole.records) - 2, 3):
        play = await played(Plan(calls=plan.calls, turns=3, owners=((cut, False),)))
        assert dict(play.records[-1])["result"]["stop_reason"] == "limit_turns", cut
        assert [record.type for record in play.records].count("cycle.started") == 3, cut


async def test_verify_finds_that_an_agent_would_go_on_now() -> None:
    play = await played(Plan(calls=(Call(tools=("look",)),), turns=1))
    found = await verify(play.recording, Play(Plan()).agent)
    assert found.difference is not None
    assert found.difference.record == "run.completed"
    assert "a run.completed was recorded, and a cycle.started would be written now" in found.text
