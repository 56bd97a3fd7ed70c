"""A record is encoded once on its way to the log."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Entry, RunClaimed, RunSubmitted, ToolFinished, ToolProgressed
from playhead.runtime.core.segments import Encoded
from playhead.runtime.core.submission import submission
from playhead.runtime.log.values import NewRun
from playhead.runtime.loop.loop import Loop
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.workers.appends.run_writer import RunWriter

__all__: list[str] = []


class Commit:
    """A group commit that sends nothing."""

    waiting = 0

    def mark(self, writer: RunWriter) -> None:
        """Do nothing."""

    def forget(self, writer: RunWriter) -> None:
        """Do nothing."""


@tool
def look():
    """Look."""
    yield "near"
    yield "far"


@pytest.mark.anyio
async def test_what_a_tool_gives_is_queued_as_the_bytes_that_its_size_was_checked_by() -> None:
    agent = Agent(ScriptedModel([tool_call("look", {}), "Done."]), tools=[look], callback_handler=None)
    log = [
        Entry(1, 0, RunSubmitted(at=0, agent="agent", prompt="go")),
        Entry(2, 1, RunClaimed(at=0, worker="w")),
    ]
    writer = RunWriter(Commit(), ownership=Ownership("r"), token="t", head=2, limit=1 << 20)
    given: list[Encoded] = []
    async with aclosing(Loop(agent.spec, run_id="r", state=fold(log), head=2).records()) as items:
        async for item in items:
            if isinstance(item, Encoded):
                given.append(item)
                await writer.put(item)
    assert [type(one.record) for one in given] == [ToolProgressed, ToolProgressed, ToolFinished]
    assert [decode_record(one.data) for one in given] == [one.record for one in given]
    batch = writer.begin(10)
    assert batch is not None
    assert all(sent is one.data for sent, one in zip(batch.records, given, strict=True))


def test_a_submission_is_given_to_the_log_as_the_bytes_that_its_size_was_checked_by() -> None:
    record, data = submission("agent", "go", invocation_state={}, limit=1000)
    assert NewRun("r", "agent", record, data=data).data is data
    assert NewRun("r", "agent", record).data == data == encode_record(record)
