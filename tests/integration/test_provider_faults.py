"""Providers that fail over HTTP, and a fleet that calls them again: statuses, `Retry-After`, streams that are cut."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.runtime import Agent, RetryPolicy
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.records import ModelFailed, ModelStarted
from playhead.runtime.models import OpenAIModel
from testkit.provider.habits import DONE, PLAIN, delta, event, framed
from testkit.provider.server import Exchange, serving

if TYPE_CHECKING:
    from playhead.client import Client, Run
    from playhead.workers import Worker
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]

QUICK = RetryPolicy(max_attempts=4, initial_delay=0)
LONG = RetryPolicy(max_delay=3600, max_total_delay=3600)
DEADLINE_MS = 1000

Answer = Callable[[Exchange], Awaitable[None]]


def refusing(status: int, *, code: str | None = None, **headers: str) -> Answer:
    """A response with this status and these headers."""
    body = json.dumps({"error": {"message": f"status {status}", "code": code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, status=status, headers=named)

    return answer


def streaming(*texts: str, cut: bool = False) -> Answer:
    """A stream of these texts; one that is cut ends in the middle of the message, with the connection."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for text in texts:
            await exchange.send(framed(PLAIN, delta(content=text)))
        if not cut:
            await exchange.send(framed(PLAIN, event(finish="stop")) + DONE)
            await exchange.end()

    return answer


async def hanging_up(exchange: Exchange) -> None:
    """A connection that is closed without a response."""


class Provider:
    """A server whose n-th request gets the n-th answer, and all further ones the last.

    Attributes:
        asked_at: When each request had arrived, on the monotonic clock.
    """

    def __init__(self, *answers: Answer) -> None:
        self.asked_at: list[float] = []
        self.url = ""
        self._answers = answers

    async def _respond(self, exchange: Exchange) -> None:
        self.asked_at.append(anyio.current_time())
        await self._answers[min(len(self.asked_at), len(self._answers)) - 1](exchange)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Provider]:
        """The server, for a block."""
        async with serving(self._respond) as self.url:
            yield self

    def agent(self, retry: RetryPolicy | None = QUICK) -> Agent:
        """An agent whose model is this server."""
        model = OpenAIModel("m", base_url=self.url, api_key="sk-test-0123456789")
        return Agent(model, name="agent", callback_handler=None, retry=retry)


@asynccontextmanager
async def called(
    fleet: Fleet, *answers: Answer, retry: RetryPolicy = QUICK, lease_ms: int = 10_000
) -> AsyncGenerator[tuple[Provider, Client]]:
    """A provider with these answers, a worker whose agent calls it, and a client."""
    async with (
        Provider(*answers).running() as provider,
        fleet.worker(provider.agent(retry), lease_ms=lease_ms) as worker,
        fleet.client() as client,
    ):
        yield provider, client
        await fleet.until(lambda: _idle(worker))


async def _idle(worker: Worker) -> bool:
    return worker.statistics().running == 0


async def failures(run: Run) -> list[ModelFailed]:
    """The failed calls in the log of a run that has ended."""
    return [entry.record async for entry in run.records() if isinstance(entry.record, ModelFailed)]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
async def test_a_status_that_may_pass_costs_the_run_nothing_but_time(fleet: Fleet, status: int) -> None:
    async with called(fleet, refusing(status), refusing(status), streaming("Hello")) as (provider, client):
        run = await client.start("agent", "Hi")
        assert str(await run.result()) == "Hello\n"
        assert [record.attempt for record in await failures(run)] == [1, 2]
        assert (await run.info()).epoch == 1
    assert len(provider.asked_at) == 3


@pytest.mark.parametrize(
    "answer",
    [refusing(400), refusing(401), refusing(403), refusing(404), refusing(429, code="insufficient_quota")],
    ids=["400", "401", "403", "404", "quota"],
)
async def test_a_status_that_stays_fails_the_run_at_once(fleet: Fleet, answer: Answer) -> None:
    async with called(fleet, answer, streaming("Hello")) as (provider, client):
        run = await client.start("agent", "Hi")
        with pytest.raises(RunFailedError):
            await run.result()
        assert await failures(run) == []
    assert len(provider.asked_at) == 1


async def test_a_server_that_cannot_be_reached_fails_the_run_once_the_attempts_are_used_up(fleet: Fleet) -> None:
    async with called(fleet, hanging_up) as (provider, client):
        run = await client.start("agent", "Hi")
        with pytest.raises(RunFailedError) as raised:
            await run.result()
        assert raised.value.error_type == "APIConnectionError"
        assert len(await failures(run)) == 3
    assert len(provider.asked_at) == 4


async def test_a_stream_that_is_cut_is_withdrawn_and_streamed_again(fleet: Fleet) -> None:
    answers = [streaming("Half ", "an", cut=True), streaming("Half ", "an answer")]
    async with called(fleet, *answers) as (provider, client):
        run = await client.start("agent", "Hi")
        events = [event async for event in run.stream_async()]
        (record,) = await failures(run)
    assert len(provider.asked_at) == 2
    assert str(events[-1]["result"]) == "Half an answer\n"
    told = [event.get("text", event.get("error_type")) for event in events if {"retracted", "retrying"} & event.keys()]
    assert told == ["Half an", record.error_type]
    assert "".join(event["data"] for event in events if "data" in event) == "Half anHalf an answer"


async def test_the_server_is_not_called_before_the_time_it_asked_for(fleet: Fleet) -> None:
    async with called(fleet, refusing(429, retry_after="1"), streaming("Hello"), retry=LONG) as (provider, client):
        run = await client.start("agent", "Hi")
        assert str(await run.result()) == "Hello\n"
        (record,) = await failures(run)
    assert record.delay == 1.0
    first, second = provider.asked_at
    assert second - first >= 0.99


async def waiting(run: Run) -> None:
    """Wait until the run waits."""
    async with aclosing(run.records()) as entries:
        async for entry in entries:
            if isinstance(entry.record, ModelFailed):
                return


async def test_a_cancel_ends_the_wait_at_once(fleet: Fleet) -> None:
    async with called(fleet, refusing(503, retry_after="3000"), streaming("Hello"), retry=LONG) as (provider, client):
        run = await client.start("agent", "Hi")
        await waiting(run)
        failed = await run.failed_call()
        assert failed is not None
        assert failed.delay == 3000
        await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"
        assert await run.failed_call() is None
    assert len(provider.asked_at) == 1


async def test_a_deadline_ends_the_wait(fleet: Fleet) -> None:
    async with called(fleet, refusing(503, retry_after="3000"), retry=LONG, lease_ms=2000) as (provider, client):
        run = await client.start("agent", "Hi", deadline=DEADLINE_MS / 1000)
        await waiting(run)
        with pytest.raises(RunFailedError) as raised:
            await run.result()
        assert raised.value.error_type == "DeadlineExceeded"
    assert len(provider.asked_at) == 1


async def test_a_drained_worker_hands_over_its_wait_and_the_next_owner_waits_the_rest(fleet: Fleet) -> None:
    answers = [refusing(429, retry_after="5"), streaming("Hello")]
    async with Provider(*answers).running() as provider, fleet.client() as client:
        async with fleet.worker(provider.agent(LONG), grace_s=60.0):
            run = await client.start("agent", "Hi")
            await waiting(run)
        drained_at = anyio.current_time()
        info = await run.info()
        assert (info.state, info.handovers, info.crashes) == ("queued", 1, 0)
        assert len(provider.asked_at) == 1
        async with fleet.worker(provider.agent(LONG)):
            assert str(await run.result()) == "Hello\n"
        entries = [entry async for entry in run.records()]
    first, second = provider.asked_at
    assert drained_at - first < 5, "the drain did not wait for the end of the wait"
    assert second - first >= 4.9
    assert [entry.epoch for entry in entries if isinstance(entry.record, ModelStarted)] == [1, 2]
    assert sum(isinstance(entry.record, ModelFailed) for entry in entries) == 1
