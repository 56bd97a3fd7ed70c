"""Random runs verify without a difference on unchanged code: takeovers, interrupts, steers, cancels, retries, ends."""

from __future__ import annotations

from collections import Counter

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playhead.runtime.replay import verify
from tests.support.recorded_runs import TOOLS, Call, Plan, Play, played

__all__: list[str] = []

CALLS = st.builds(
    Call,
    words=st.integers(0, 3),
    tools=st.just(()) | st.lists(st.sampled_from(TOOLS), min_size=1, max_size=3).map(tuple),
    fault=st.sampled_from(["", "", "", "", "", "", "busy", "busy half-way", "bug half-way"]),
    stop_reason=st.sampled_from(["end_turn", "end_turn", "max_tokens", "stop_sequence"]),
    cancel_at=st.sampled_from([None, None, None, None, None, None, None, 0, 1, 3, 6, 8]),
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
)

seen: Counter[str] = Counter()


def note(play: Play) -> None:
    """Count what the runs were, so that it is known what was verified."""
    types = {record.type for record in play.records}
    seen.update(types)
    seen["takeover"] += play.epoch > 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(PLANS)
def test_nothing_differs_in_a_random_run_on_unchanged_code(plan: Plan) -> None:
    async def check() -> None:
        play = await played(plan)
        note(play)
        for tools in ("recorded", "live"):
            if tools == "live" and any("hang" in call.tools for call in plan.calls):
                continue  # it would wait for a cancel that does not come
            with anyio.fail_after(20):
                verification = await verify(play.recording, play.agent, tools=tools)
            assert verification.same, f"{tools}: {verification.text}"
            assert verification.records == len(play.entries)

    anyio.run(check)
