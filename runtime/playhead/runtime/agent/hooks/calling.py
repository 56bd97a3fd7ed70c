"""One call of a hook's function: in a thread, or on the event loop if it is async."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any, Final, cast

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from playhead.runtime.agent.hooks.registry import HookCallback, is_async
from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.tools.context import BodyInterrupted

__all__ = ["MAX_HOOK_THREADS", "call_hook"]

MAX_HOOK_THREADS: Final = 64
"""How many sync hooks run at once on one event loop; others wait. Threads of their own, because they must not wait for tools."""

_threads: RunVar[CapacityLimiter] = RunVar("playhead_hook_threads")


async def call_hook(callback: HookCallback, event: Any) -> None:
    """Call a hook. If this task is cancelled, a thread runs on alone.

    Raises:
        RuntimeError: If it raised what would end the worker, such as `SystemExit`.
        Exception: What it raises; `BodyInterrupted` if it asks a human.
    """
    try:
        if is_async(callback):
            returned = callback(event)
        else:
            returned = await to_thread.run_sync(_called, callback, event, abandon_on_cancel=True, limiter=_limiter())
        if inspect.isawaitable(returned):
            await cast("Awaitable[object]", returned)
    except (Exception, BodyInterrupted, GeneratorExit, KeyboardInterrupt):
        raise
    except asyncio.CancelledError as error:
        if is_being_cancelled():
            raise
        raise _exit(callback, error) from error  # of something that the hook awaited
    except BaseException as error:
        raise _exit(callback, error) from error


def _called(callback: HookCallback, event: Any) -> object:
    try:
        return callback(event)
    except (Exception, BodyInterrupted):
        raise
    except BaseException as error:  # not the user's Ctrl-C, which is raised in the main thread
        raise _exit(callback, error) from error


def _exit(callback: HookCallback, error: BaseException) -> RuntimeError:
    name = getattr(callback, "__qualname__", type(callback).__qualname__)
    return RuntimeError(f"the hook {name} raised {type(error).__name__}: {error}")


def _limiter() -> CapacityLimiter:
    limiter = _threads.get(None)
    if limiter is None:
        limiter = CapacityLimiter(MAX_HOOK_THREADS)
        _threads.set(limiter)
    return limiter
