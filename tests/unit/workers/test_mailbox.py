"""The mailbox: however often waiting signals are announced, they are read in one place and delivered once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RedisAuthError
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import NewRun
from playhead.runtime.loop.control import Control
from playhead.workers.mailbox import Mailbox
from tests.support.jumping import JUMPING

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, object]:
    """Waits between tries take no time."""
    return JUMPING


class Inboxes(MemoryLog):
    """A log that counts looks at inboxes, can keep them waiting, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[str] = []
        self.asked = anyio.Event()
        self.open = anyio.Event()
        self.open.set()
        self.errors: dict[str, list[PlayheadError]] = {}

    async def inbox(self, run_id: str) -> list[Signal]:
        self.looks.append(run_id)
        signals = await super().inbox(run_id)
        self.asked.set()
        await self.open.wait()
        if errors := self.errors.get(run_id):
            raise errors.pop(0)
        return signals

    async def send(self, run_id: str, *signal_ids: str) -> None:
        await self.submit(NewRun(run_id, "agent", RunSubmitted(at=1, agent="agent")))
        for signal_id in signal_ids:
            await self.signal(run_id, Signal(signal_id, "steer", "Hello"))


@asynccontextmanager
async def reading(log: Inboxes) -> AsyncGenerator[Mailbox, None]:
    mailbox = Mailbox(log)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mailbox.run)
            yield mailbox
            tasks.cancel_scope.cancel()


def ids(control: Control) -> list[str]:
    return [signal.signal_id for signal in control.take()]


async def test_a_signal_announced_many_times_is_read_once_and_delivered_once() -> None:
    log, control = Inboxes(), Control()
    await log.send("run", "one", "two")
    async with reading(log) as mailbox:
        mailbox.open("run", control)
        for _ in range(5):
            mailbox.signals_wait("run")
        await mailbox.delivered("run")
        assert log.looks == ["run"]
        mailbox.signals_wait("run")
        await mailbox.delivered("run")
        assert ids(control) == ["one", "two"]


async def test_a_signal_that_comes_while_the_inbox_is_read_is_read_too() -> None:
    log, control = Inboxes(), Control()
    await log.send("run", "one")
    log.open = anyio.Event()
    async with reading(log) as mailbox:
        mailbox.open("run", control)
        mailbox.signals_wait("run")
        await log.asked.wait()
        await log.send("run", "two")
        mailbox.signals_wait("run")
        log.open.set()
        await mailbox.delivered("run")
        assert log.looks == ["run", "run"]
        assert ids(control) == ["one", "two"]


async def test_a_run_for_which_nothing_waits_is_not_held_up_and_one_that_is_not_held_is_not_read() -> None:
    log = Inboxes()
    await log.send("run", "one")
    async with reading(log) as mailbox:
        mailbox.signals_wait("run")
        await mailbox.delivered("run")
        control = Control()
        mailbox.open("run", control)
        mailbox.close("run", control)
        mailbox.signals_wait("run")
        await mailbox.delivered("run")
        for _ in range(5):
            await checkpoint()
        assert log.looks == []


async def test_a_run_claimed_anew_here_keeps_its_control_when_its_former_execution_ends() -> None:
    log, former, present = Inboxes(), Control(), Control()
    await log.send("run", "one")
    async with reading(log) as mailbox:
        mailbox.open("run", former)
        mailbox.open("run", present)
        mailbox.close("run", former)
        mailbox.signals_wait("run")
        await mailbox.delivered("run")
        assert (ids(former), ids(present)) == ([], ["one"])


async def test_signals_said_to_wait_before_a_run_was_claimed_anew_here_are_delivered_to_its_new_execution() -> None:
    log, former, present = Inboxes(), Control(), Control()
    await log.send("run", "one")
    log.open = anyio.Event()
    async with reading(log) as mailbox:
        mailbox.open("other", Control())
        mailbox.signals_wait("other")
        await log.asked.wait()  # what is announced from here on waits for this reply
        mailbox.open("run", former)
        mailbox.signals_wait("run")
        mailbox.open("run", present)
        mailbox.signals_wait("run")
        log.open.set()
        await mailbox.delivered("run")
        assert (ids(former), ids(present)) == ([], ["one"])


async def test_a_log_that_is_away_is_asked_again_until_it_answers() -> None:
    log, control = Inboxes(), Control()
    await log.send("run", "one")
    log.errors["run"] = [LogUnavailableError("away"), LogUnavailableError("still away")]
    async with reading(log) as mailbox:
        mailbox.open("run", control)
        mailbox.signals_wait("run")
        await mailbox.delivered("run")
        assert ids(control) == ["one"]


async def test_an_inbox_that_cannot_be_read_fails_the_wait_for_it_and_harms_no_other_run() -> None:
    log, control = Inboxes(), Control()
    await log.send("good", "one")
    log.errors["bad"] = [PlayheadError("WRONGTYPE")]
    async with reading(log) as mailbox:
        mailbox.open("bad", Control())
        mailbox.open("good", control)
        log.open = anyio.Event()
        mailbox.signals_wait("bad")
        mailbox.signals_wait("good")
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(PlayheadError, match="WRONGTYPE"):
                    await mailbox.delivered("bad")

            tasks.start_soon(wait)
            await log.asked.wait()
            log.open.set()
        await mailbox.delivered("good")
        assert ids(control) == ["one"]


async def test_credentials_that_are_refused_end_it() -> None:
    log = Inboxes()
    log.errors["run"] = [RedisAuthError("WRONGPASS")]
    mailbox = Mailbox(log)
    mailbox.open("run", Control())
    mailbox.signals_wait("run")
    with anyio.fail_after(10), pytest.RaisesGroup(RedisAuthError):
        await mailbox.run()
