"""One call of a tool's function, taken value by value: in a thread or on the event loop, with a time limit.

A plain object instead of an async generator, so that no cancel scope is open while other code runs.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from playhead.runtime.tools.context import BodyInterrupted

__all__ = ["END", "MAX_TOOL_THREADS", "STOPPED_TEXT", "STOP_GRACE_S", "BodyExit", "BodyStopped", "Returned", "ToolBody"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_TOOL_THREADS = 128
"""How many sync bodies run at once on one event loop. Others wait, and the wait does not count towards their time limit.

They have their own limit, because file access and name look-ups share anyio's 40 threads and must not wait for tools.
"""

STOP_GRACE_S = 1.0  # how long a generator that never waits may still yield after `stop`
_CLOSE_GRACE_S = 5.0  # how long a generator may clean up before its owner continues

_threads: RunVar[CapacityLimiter] = RunVar("playhead_tool_threads")


class _End:
    def __repr__(self) -> str:
        return "END"


END: Final = _End()
"""Returned by `ToolBody.take` when there is nothing more."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Yielded by a generator as its last item: its result, which is not progress."""

    value: object


class BodyStopped(Exception):
    """The body was stopped by `ToolBody.stop`. The message is for the model."""


class BodyExit(Exception):
    """A body raised something in its thread that would end the event loop or its task, such as `KeyboardInterrupt`.

    Attributes:
        error: The exception. It is not the user's interrupt, which is raised in the main thread.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(str(error))


class ToolBody:
    """A running tool: `take` until `END`, then read `result`; `aclose` in any case.

    Two tasks must not use it at once.

    Attributes:
        result: The value that the body returned, or the last one that it yielded; complete after `END`.
        is_late: Whether the time limit was reached.
        is_stopped: Whether `stop` was called.
    """

    def __init__(self, call: Callable[[], object], *, on_loop: bool, timeout: float | None, name: str) -> None:
        """Prepare the call; nothing runs yet.

        Args:
            call: Calls the function with its arguments. It may return a value, an awaitable, or a sync or async
                generator, no matter how the function was wrapped.
            on_loop: Whether `call` returns at once (a coroutine or async generator function); if not, it gets a thread.
            timeout: Seconds from the start of the body to its end, None for no limit.
            name: The tool's name, for messages.
        """
        self.result: object = None
        self.is_late: bool = False
        self.is_stopped: bool = False
        self._call = call
        self._on_loop = on_loop
        self._timeout = timeout
        self._name = name
        self._started = False
        self._deadline: float | None = None
        self._stop_deadline = 0.0
        self._scope: anyio.CancelScope | None = None
        self._timer: asyncio.Timeout | None = None
        self._values: AsyncGenerator[object, None] | Generator[object, None, None] | None = None

    async def take(self) -> object:
        """The next value that the body yields, or `END`; `result` is then its return value, or the last yielded value.

        Raises:
            TimeoutError: If the time limit was reached. A coroutine or async generator has been cancelled; a thread
                cannot be, and the message says so.
            BodyStopped: As TimeoutError, after `stop`.
            BaseException: Any exception of the body.
        """
        if not self._started:
            self._started = True
            returned = await self._run()
            if not (inspect.isasyncgen(returned) or inspect.isgenerator(returned)):
                self.result = returned
                return END
            self._values = cast(AsyncGenerator[object, None] | Generator[object, None, None], returned)
        if self._values is None:
            return END
        if isinstance(self._values, AsyncGenerator):
            value = await self._next(self._values)
        else:
            value = await self._in_thread(next, self._values, END)
        if isinstance(value, Returned):
            self.result = value.value
            return END
        if value is not END:
            self.result = value
        return value

    def stop(self) -> None:
        """Stop the body, on the event loop's thread, whether or not a task waits in `take`.

        A coroutine or async generator is cancelled at its current or next wait; a thread is abandoned. A value that
        the body nevertheless returns is its result.
        """
        if self.is_stopped:
            return
        self.is_stopped = True
        self._stop_deadline = anyio.current_time() + STOP_GRACE_S
        if self._scope is not None:
            self._scope.cancel()
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(anyio.current_time())

    async def aclose(self) -> None:
        """Close a generator that has not ended, so that its `finally` blocks run; waits at most a few seconds.

        Errors during its clean-up are logged, because the caller no longer needs a result. A generator that is running
        in an abandoned thread is left to that thread.
        """
        values, self._values = self._values, None
        try:
            if isinstance(values, AsyncGenerator):
                # No shield and no cancel scope: the generator may have its own scope open, and scopes nest.
                async with asyncio.timeout(_CLOSE_GRACE_S):
                    await values.aclose()
            elif values is not None and inspect.getgeneratorstate(values) == inspect.GEN_SUSPENDED:
                with anyio.move_on_after(_CLOSE_GRACE_S, shield=True):
                    await to_thread.run_sync(values.close, abandon_on_cancel=True, limiter=CapacityLimiter(1))
        except BaseExceptionGroup as group:
            # A task group left open around a yield wraps the GeneratorExit it is closed with.
            rest = group.split(GeneratorExit)[1]
            if isinstance(rest, Exception):
                self._log_closing(rest)
            elif rest is not None:
                raise
        except Exception as error:
            self._log_closing(error)

    async def _run(self) -> object:
        if not self._on_loop:
            returned = await self._in_thread(self._call)
        else:
            self._start_clock()
            returned = self._call()
        if not inspect.isawaitable(returned):
            return returned
        with self._scoped():
            return cast(object, await returned)
        raise self._ended()

    async def _in_thread(self, call: Callable[..., object], *args: object) -> object:
        begun = False
        with self._scoped() as scope:
            async with _thread_limiter():
                self._start_clock()
                scope.deadline = math.inf if self._deadline is None else self._deadline
                begun = True
                # Our own limiter is already held; this one only keeps anyio from queueing the call a second time.
                limiter = CapacityLimiter(1)
                return await to_thread.run_sync(_called, call, *args, abandon_on_cancel=True, limiter=limiter)
        raise self._ended(" (its thread may still be running)" if begun else "")

    @contextmanager
    def _scoped(self) -> Generator[anyio.CancelScope, None, None]:
        """End the block at the time limit, or at once when the body is stopped."""
        with anyio.CancelScope(deadline=math.inf if self._deadline is None else self._deadline) as scope:
            self._scope = scope
            try:
                if self.is_stopped:
                    scope.cancel()
                yield scope
            finally:
                self._scope = None

    async def _next(self, values: AsyncGenerator[object, None]) -> object:
        now = anyio.current_time()
        deadline = self._deadline
        if (deadline is not None and deadline <= now) or (self.is_stopped and self._stop_deadline <= now):
            raise self._ended()  # a body that never awaits is not cancelled either
        # Not an anyio scope: a generator may yield with its own scope or task group open (MCP sessions do). Leaving
        # ours before its own breaks anyio's nesting for the whole task. asyncio's timeout does not nest.
        timer = asyncio.timeout_at(now if self.is_stopped else deadline)
        self._timer = timer
        try:
            async with timer:
                return await anext(values, END)
        except TimeoutError:
            if timer.expired():
                raise self._ended() from None
            raise
        finally:
            self._timer = None

    def _log_closing(self, error: Exception) -> None:
        logger.warning("tool %s raised %s while it was being closed", self._name, type(error).__name__)

    def _start_clock(self) -> None:
        if self._timeout is not None and self._deadline is None:
            self._deadline = anyio.current_time() + self._timeout

    def _ended(self, addition: str = "") -> Exception:
        if self.is_stopped:
            return BodyStopped(f"{STOPPED_TEXT}{addition}")
        self.is_late = True
        return TimeoutError(f"tool '{self._name}' did not finish within {self._timeout:g} s{addition}")


STOPPED_TEXT: Final = "Tool execution cancelled while it ran"


def _called(call: Callable[..., object], *args: object) -> object:
    try:
        return call(*args)
    except (Exception, BodyInterrupted):
        raise
    except BaseException as error:
        if isinstance(error, BaseExceptionGroup) and _asks(cast("BaseExceptionGroup[BaseException]", error)):
            raise
        raise BodyExit(error) from error


def _asks(group: BaseExceptionGroup[BaseException]) -> bool:
    questions, rest = group.split(BodyInterrupted)
    return questions is not None and (rest is None or isinstance(rest, Exception))


def _thread_limiter() -> CapacityLimiter:
    limiter = _threads.get(None)
    if limiter is None:
        limiter = CapacityLimiter(MAX_TOOL_THREADS)
        _threads.set(limiter)
    return limiter
