"""Additions to asyncio: merging generators, whether a cancellation is meant for this task, and calls from sync code."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectSendStream

__all__ = ["is_being_cancelled", "merge", "run_apart"]

T = TypeVar("T")


async def merge(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Yield the items of all sources. Each source runs in its own task, at most one item ahead of the consumer.

    Closing the generator cancels the tasks and waits until every source is closed.

    This uses asyncio's task group instead of anyio's, because a generator yields while the group is open. anyio's group
    would leave a cancel scope on the consumer's stack between items, and leaving it from another task is an error
    (PEP 789). The tasks here never fail, because sources turn their errors into items.
    """
    send, receive = anyio.create_memory_object_stream[T](0)
    async with asyncio.TaskGroup() as tasks:
        with receive, send:
            pumps = [tasks.create_task(_pump(source, send.clone())) for source in sources]
            send.close()
            try:
                async for item in receive:
                    yield item
            except GeneratorExit:  # swallowed: the group would raise it wrapped, which is an error at `aclose`
                for pump in pumps:
                    pump.cancel()


async def _pump(source: AsyncGenerator[T, None], send: MemoryObjectSendStream[T]) -> None:
    async with aclosing(source):
        with send:
            async for item in source:
                try:
                    await send.send(item)
                except anyio.BrokenResourceError:  # the consumer left
                    return


def is_being_cancelled() -> bool:
    """Whether this task is being cancelled. If not, a `CancelledError` came from something that the code awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def run_apart(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Call an async function from code that is not async, in a thread with an event loop of its own, and wait for it.

    The thread of the caller may have a running event loop; the caller's context variables are copied. An interrupt of the
    caller, such as Ctrl-C, cancels the call, and is not kept by one that does not end.
    """
    given, begun = Future[T](), Future[asyncio.Task[Any]]()

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.set_result(task)
        return await function()

    def run() -> None:
        try:
            # Not anyio.run: under a running loop the copied context says so, and anyio refuses to start another.
            given.set_result(asyncio.run(cancellable()))
        except BaseException as error:  # raised for the caller
            given.set_exception(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="apart", daemon=True)
    try:
        thread.start()  # an interrupt may come in it, when the call has begun already
        return given.result()
    except BaseException:
        begun.add_done_callback(_cancel)
        raise


def _cancel(begun: Future[asyncio.Task[Any]]) -> None:
    task = begun.result()
    with suppress(RuntimeError):  # it has ended, and its loop is closed
        task.get_loop().call_soon_threadsafe(task.cancel)
