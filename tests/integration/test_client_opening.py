"""Opening and closing a client: again, in other tasks, in any order; and calls from an event loop that is not its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest

from playhead.client import Client
from playhead.runtime import Agent, PlayheadError
from playhead.runtime.models import ScriptedModel

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

T = TypeVar("T")


def greeter() -> Agent:
    return Agent(ScriptedModel(["Hello."], repeat=True), name="greeter", callback_handler=None)


async def in_another_task(act: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await act()

    return await asyncio.create_task(run())


async def connections(fleet: Fleet, name: str) -> int:
    return (await fleet.ask("CLIENT", "LIST")).count(f"name={name} ".encode())


@contextmanager
def another_loop() -> Generator[Callable[[Awaitable[Any]], Any]]:
    """An event loop in a thread; calls what it is given there and returns the result."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(act: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await act

        return asyncio.run_coroutine_threadsafe(run(), loop).result(10)

    try:
        yield call
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.anyio
async def test_a_client_is_closed_in_another_task_than_the_one_that_opened_it(fleet: Fleet) -> None:
    client = Client(fleet.named("moved"), prefix=fleet.prefix)
    async with fleet.worker(greeter()):
        await in_another_task(client.__aenter__)
        assert str(await client.invoke_async("greeter", "Hi")) == "Hello.\n"
        await in_another_task(lambda: client.__aexit__(None, None, None))
    assert await connections(fleet, "moved") == 0
    with pytest.raises(PlayheadError, match="not open"):
        await client.runs()


@pytest.mark.anyio
async def test_clients_are_closed_in_any_order(fleet: Fleet) -> None:
    clients = [Client(fleet.named("many"), prefix=fleet.prefix) for _ in range(3)]
    async with fleet.worker(greeter()):
        for client in clients:
            await client.__aenter__()
        for last in (0, 2, 1):
            assert str(await clients[1].invoke_async("greeter", "Hi")) == "Hello.\n"
            await clients[last].__aexit__(None, None, None)
    assert await connections(fleet, "many") == 0


@pytest.mark.anyio
async def test_a_stack_that_was_moved_to_another_task_closes_the_client(fleet: Fleet) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(fleet.named("stacked"), prefix=fleet.prefix))
        moved = stack.pop_all()
    assert await client.runs() == []
    await in_another_task(moved.aclose)
    assert await connections(fleet, "stacked") == 0


@pytest.mark.anyio
async def test_one_client_is_opened_again_and_its_runs_with_it(fleet: Fleet) -> None:
    client = Client(fleet.named("again"), prefix=fleet.prefix)
    async with fleet.worker(greeter()):
        async with client:
            run = await client.start("greeter", "Hi")
            assert str(await run.result()) == "Hello.\n"
        with pytest.raises(PlayheadError, match="not open"):
            await run.info()
        assert await connections(fleet, "again") == 0
        async with client:
            assert str(await run.result()) == "Hello.\n"
            assert str(await client.invoke_async("greeter", "Hi")) == "Hello.\n"
    assert await connections(fleet, "again") == 0


def test_one_client_is_opened_in_one_event_loop_after_another(redis_url: str, prefix: str) -> None:
    client = Client(redis_url, prefix=prefix)

    async def ask() -> list[Any]:
        async with client:
            return await client.runs()

    assert [asyncio.run(ask()), asyncio.run(ask())] == [[], []]


def test_a_client_that_the_end_of_its_event_loop_closed_can_be_opened_in_the_next(redis_url: str, prefix: str) -> None:
    client = Client(redis_url, prefix=prefix)

    async def ask() -> list[Any]:
        await client.__aenter__()
        return await client.runs()

    assert [asyncio.run(ask()), asyncio.run(ask())] == [[], []]


@pytest.mark.anyio
async def test_a_second_opening_is_refused_and_the_first_goes_on(fleet: Fleet) -> None:
    async with fleet.client() as client:
        with pytest.raises(PlayheadError, match="open already"):
            await client.__aenter__()
        assert await client.runs() == []


@pytest.mark.anyio
async def test_a_call_from_another_event_loop_is_refused_and_the_owner_is_unharmed(fleet: Fleet) -> None:
    async with fleet.worker(greeter()), fleet.client() as client:
        run = await client.start("greeter", "Hi")

        async def stream() -> None:
            async for _ in client.stream_async("greeter", "Hi"):
                pass

        async def tail() -> None:
            async for _ in run.stream_async():
                pass

        async def reopen() -> None:
            await client.__aenter__()

        async def close() -> None:
            await client.__aexit__(None, None, None)

        strays: list[Callable[[], Awaitable[Any]]] = [
            client.runs,
            lambda: client.start("greeter", "Hi"),
            stream,
            run.info,
            run.result,
            run.cancel,
            tail,
            client.agent("greeter").cancel,
            lambda: client.log.info(run.id),
            reopen,
            close,
        ]
        with another_loop() as there:
            for stray in strays * 2:
                with pytest.raises(PlayheadError, match="another event loop"):
                    await anyio.to_thread.run_sync(lambda stray=stray: there(stray()))
        assert str(await run.result()) == "Hello.\n"
        assert len(await client.runs()) == 1


@pytest.mark.anyio
async def test_a_log_refuses_calls_from_another_event_loop_and_is_unharmed(fleet: Fleet) -> None:
    log = fleet.log("worker")
    try:
        assert await log.workers() == []
        calls: list[Callable[[], Awaitable[Any]]] = [
            log.workers,
            lambda: log.wait_for_work(["greeter"], worker="w", timeout=1),
            lambda: log.reap(limit=1),
        ]
        with another_loop() as there:
            for call in calls:
                with pytest.raises(PlayheadError, match="another event loop"):
                    await anyio.to_thread.run_sync(lambda call=call: there(call()))
        assert await log.workers() == []
    finally:
        await log.aclose()


@pytest.mark.anyio
async def test_a_tail_that_is_waiting_hears_that_its_client_was_closed_in_another_task(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model, told = held_model(), anyio.Event()
    client = Client(fleet.url, prefix=fleet.prefix, on_notice=lambda _: told.set())
    errors: list[str] = []

    async def watch() -> None:
        try:
            async for _ in client.stream_async("greeter", "Hi"):
                pass
        except PlayheadError as error:
            errors.append(str(error))

    async with fleet.worker(Agent(model, name="greeter", callback_handler=None)):
        await client.__aenter__()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await model.held.wait()
            await in_another_task(lambda: client.__aexit__(None, None, None))
        model.go.set()
    (error,) = errors
    assert "was closed" in error


@pytest.mark.anyio
async def test_a_failed_opening_leaves_the_client_closed_and_able_to_open(fleet: Fleet) -> None:
    client = Client(fleet.named("late"), prefix=fleet.prefix, shards=2)
    other = Client(fleet.url, prefix=fleet.prefix, shards=1)
    async with other:
        pass
    for _ in range(2):
        with pytest.raises(PlayheadError, match="number of shards"):
            await client.__aenter__()
    assert await connections(fleet, "late") == 0
    await client.__aexit__(None, None, None)


@pytest.mark.anyio
async def test_a_cancelled_closing_still_closes_every_connection(fleet: Fleet) -> None:
    client = Client(fleet.named("cut"), prefix=fleet.prefix)
    await client.__aenter__()
    await client.runs()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await client.__aexit__(None, None, None)
    assert await connections(fleet, "cut") == 0
