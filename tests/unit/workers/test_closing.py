"""The end of an ownership: what a log that refuses it keeps all the same."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from playhead.runtime import Agent
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import NewRun, RunEnd, WriteResult, WriteStatus
from playhead.runtime.models.scripted import ScriptedModel, text_call
from playhead.workers import Worker

__all__: list[str] = []

pytestmark = pytest.mark.anyio

MESSAGE = text_call("Hello there")


class RefusesCompletion(MemoryLog):
    """A log that refuses for good to complete a run, as one does whose session's keys are damaged."""

    async def finish(self, end: RunEnd) -> WriteResult:
        if end.state == "completed":
            raise PlayheadError("WRONGTYPE")
        return await super().finish(end)


class AlwaysWaiting(MemoryLog):
    """A log that reports waiting signals although its inbox has none, as a damaged counter does."""

    async def finish(self, end: RunEnd) -> WriteResult:
        if end.state == "completed":
            return WriteResult(WriteStatus.WAITING, end.batch.head, 1)
        return await super().finish(end)


@pytest.mark.parametrize("log", [RefusesCompletion(), AlwaysWaiting()], ids=["refused", "waiting"])
async def test_a_message_stays_in_the_log_of_a_run_that_its_log_does_not_complete(log: MemoryLog) -> None:
    worker = Worker([Agent(name="agent", model=ScriptedModel([MESSAGE]))], log=log)
    await log.submit(NewRun("run", "agent", RunSubmitted(at=1, agent="agent", prompt="Hi")))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            while not worker.statistics().ended:
                await anyio.lowlevel.checkpoint()
            worker.drain()
    types = [entry.record.type for entry in await log.read("run")]
    assert types[5:] == [*["model.chunk"] * len(MESSAGE), "message.added", "run.failed"]
