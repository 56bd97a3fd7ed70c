"""Random runs verify without a difference on unchanged code: takeovers, interrupts, steers, cancels, retries, ends."""

from __future__ import annotations

from typing import Final

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.records import RECORD_TYPES
from playhead.runtime.replay import verify
from playhead.runtime.replay.verify import Half
from tests.support.recorded_runs import TOOLS, Call, Plan, Play, played

__all__: list[str] = []

HALVES: Final[tuple[Half, ...]] = ("recorded", "live")

CALLS = st.builds(
    Call,
    words=st.integers(0, 3),
    tools=st.just(()) | st.lists(st.sampled_from(TOOLS), min_size=1, max_size=3).map(tuple),
    fault=st.sampled_from(["", "", "", "", "", "", "busy", "busy half-way", "bug half-way", "too long"]),
    stop_reason=st.sampled_from(["end_turn", "end_turn", "max_tokens", "stop_sequence"]),
    cancel_at=st.sampled_from([None, None, None, None, None, None, None, 0, 1, 3, 6, 8]),
    says_object=st.booleans(),
)
PLANS = st.builds(
    Plan,
    calls=st.lists(CALLS, min_size=1, max_size=5).map(tuple),
    owners=st.lists(st.tuples(st.integers(1, 25), st.booleans()), max_size=3).map(tuple),
    steers=st.frozensets(st.integers(2, 60), max_size=2),
    cancel=st.none() | st.none() | st.none() | st.integers(2, 60),
    end=st.sampled_from(["", "", "", "", "", "", "deadline", "crashes", "cancel"]),
    tool_executor=st.sampled_from(["concurrent", "sequential"]),
    on_partial=st.sampled_from(["retract", "continue"]),
    attempts=st.integers(1, 3),
    turns=st.sampled_from([None, None, None, 1, 2]),
    output=st.booleans(),
    window=st.sampled_from([40, 40, 5, 3]),
    summarizes=st.sampled_from([False, False, True]),
    hooks=st.booleans(),
    keeps=st.booleans(),
)

EXAMPLES = [
    Plan(calls=(Call(tools=("pay", "look", "steps")), Call(tools=("asks", "once"))), owners=((20, False), (15, True))),
    Plan(calls=(Call(tools=("broken", "once")),), owners=((14, False),), tool_executor="sequential"),
    Plan(calls=(Call(fault="busy half-way"), Call(fault="busy"), Call()), steers=frozenset({9, 14})),
    Plan(calls=(Call(words=3),), owners=((6, False), (3, False)), on_partial="continue"),
    Plan(calls=(Call(tools=("hang", "look")),)),
    Plan(calls=(Call(cancel_at=3),)),
    # The owner that the cancel broke off left before it recorded the cancel.
    Plan(calls=(Call(words=0, cancel_at=0), Call(words=0)), owners=((6, False),), steers=frozenset({2, 7})),
    Plan(calls=(Call(fault="too long"), Call(tools=("look",)), Call(fault="too long")), window=3),
    Plan(calls=(Call(fault="too long"), Call()), owners=((9, False), (4, False)), summarizes=True),
    # A summary is asked for without the tool that the agent must call.
    Plan(calls=(Call(words=0), Call(words=0, fault="too long")), summarizes=True, output=True),
    # The owner left before it recorded that the history was too long.
    Plan(calls=(Call(fault="too long"), Call()), owners=((4, False),), attempts=1),
    # An unknown tool of an agent without hooks: its result comes before the first body of calls in turn.
    Plan(calls=(Call(tools=("once", "note")),), tool_executor="sequential"),
    Plan(calls=(Call(tools=("note", "look", "note")),), tool_executor="sequential"),
    # A window leaves out the prompt with which a hook has let the run go on.
    Plan(calls=(Call(tools=("look",)), Call(fault="too long"), Call()), window=3, hooks=True),
    Plan(owners=((4, True),), end="deadline"),
    Plan(owners=((4, False),), end="cancel"),
    Plan(calls=(Call(tools=("look",)), Call(tools=("look",))), owners=((9, False),), turns=2),
    Plan(calls=(Call(tools=("stops", "pay", "flags")),), owners=((14, False),), steers=frozenset({20})),
    Plan(calls=(Call(), Call(tools=("look", "note"))), owners=((13, False),), output=True),
    Plan(calls=(Call(), Call(says_object=True)), owners=((16, False),), steers=frozenset({19}), output=True),
    Plan(calls=(Call(tools=("steps", "broken")), Call(words=1), Call(tools=("flaky", "once"))), hooks=True),
    Plan(calls=(Call(tools=("pay", "flaky")), Call(fault="bug half-way")), owners=((24, False),), hooks=True),
    # A cancel came while the call ran whose result a hook dropped.
    Plan(calls=(Call(tools=("flaky", "hang")),), hooks=True),
    # The owner that a hook made call again after a failure left before it recorded the failure.
    Plan(calls=(Call(words=0, fault="bug half-way"),), owners=((7, False),), hooks=True),
    Plan(calls=(Call(tools=("look", "steps", "flaky")),), owners=((16, True), (9, False)), hooks=True),
    Plan(calls=(Call(tools=("steps", "flaky")),), owners=((22, False),), hooks=True, tool_executor="sequential"),
    Plan(
        calls=(Call(tools=("keeps", "look", "keeps")), Call(tools=("pay", "keeps"))), owners=((17, False),), keeps=True
    ),
    # The owner left before it asked the hook that did not take the answer.
    Plan(calls=(Call(words=1, tools=("look",)),), owners=((14, False),), hooks=True, keeps=True),
    Plan(calls=(Call(tools=("keeps", "broken")),), owners=((3, False), (9, True)), keeps=True, hooks=True),
]
"""Each kind of owner, signal, failure and end at least once."""


async def verified(plan: Plan) -> Play:
    """The run of the plan, in which nothing differs on the code that wrote it."""
    play = await played(plan)
    for tools in HALVES:
        # It would wait for a cancel that does not come, or give another result this time. Beside others, `flags` ends the run
        # by a mark that they share: which of them finds it depends on the order in which their bodies run.
        some = [set(call.tools) for call in plan.calls]
        if tools == "live" and any({"hang", "flaky"} & one or ("flags" in one and len(one) > 1) for one in some):
            continue
        with anyio.fail_after(20):
            verification = await verify(play.recording, play.agent, tools=tools)
        assert verification.same, f"{plan}, {tools}: {verification.text}"
        assert verification.records == len(play.entries)
    verification = await verify(play.recording, play.agent, hooks="recorded")
    assert verification.same, f"{plan}, hooks: {verification.text}"
    return play


@pytest.mark.exhaustive
def test_nothing_differs_in_the_examples_and_they_have_each_kind_of_record() -> None:
    async def types() -> set[str]:
        return {record.type for plan in EXAMPLES for record in (await verified(plan)).records}

    of_a_factory = {"agent.made"}  # which its owner writes, and not the loop
    of_children = {"child.started", "child.recorded"}  # which need another agent: see test_children.py
    of_guests = {"event.emitted", "step.finished"}  # which only a worker runs
    assert anyio.run(types) == RECORD_TYPES.keys() - of_a_factory - of_children - of_guests


@pytest.mark.timeout(300)  # a hundred runs, each verified three times
@settings(max_examples=2 * settings().max_examples)
@given(PLANS)
@pytest.mark.exhaustive
def test_nothing_differs_in_a_random_run_on_unchanged_code(plan: Plan) -> None:
    anyio.run(verified, plan)
