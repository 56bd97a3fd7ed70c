"""`playhead.runtime.testing`: what users' tests are given."""

from __future__ import annotations

import pytest

from playhead.runtime import Agent
from playhead.runtime.testing import ScriptedModel, folded_text

__all__: list[str] = []


@pytest.mark.anyio
async def test_the_folded_text_of_a_run_is_all_of_its_text():
    agent = Agent(ScriptedModel(["one two three"]), callback_handler=None)
    assert folded_text([event async for event in agent.stream_async("count")]) == "one two three"
