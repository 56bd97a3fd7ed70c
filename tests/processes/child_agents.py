"""Agents whose tools start processes and threads, end them, or leave them running."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from playhead.runtime import Agent, tool
from playhead.runtime.models import ScriptedModel, tool_call

__all__ = ["square"]


def square(number: int) -> int:
    """What the pools compute."""
    return number * number


def _pool(how: str) -> str:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(how)) as pool:
        return str(pool.submit(square, 7).result(timeout=30))


@tool
def fork() -> str:
    """Compute in a pool of forked processes."""
    return _pool("fork")


@tool
def spawn() -> str:
    """Compute in a pool of new processes."""
    return _pool("spawn")


@tool
def forkserver() -> str:
    """Compute in a pool of processes that a server forks."""
    return _pool("forkserver")


@tool
def reads() -> str:
    """Run a program that reads standard input to its end, and read the own."""
    code = subprocess.run(["cat"], timeout=30, check=False).returncode
    return f"code {code}, read {sys.stdin.read()!r}"


@tool
async def program() -> str:
    """Run a program from the event loop."""
    process = await asyncio.create_subprocess_exec("cat")
    return f"code {await process.wait()}"


@tool
def terminate() -> str:
    """Start a process, and end it by SIGTERM."""
    process = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
    process.start()
    process.terminate()
    process.join()
    return f"exit code {process.exitcode}"


@tool
def leaves() -> str:
    """Leave a thread and a process running that never end."""
    threading.Thread(target=threading.Event().wait, name="left alone").start()
    process = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
    process.start()
    return str(process.pid)


@tool
async def thread() -> str:
    """Wait for a thread of the event loop's own pool that never ends."""
    await asyncio.to_thread(threading.Event().wait)
    return "ended"


@tool
async def stubborn() -> str:
    """Ignore every cancellation."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            time.sleep(0.01)  # noqa: ASYNC251 - else it would take a core, because it is cancelled again in each turn


@tool
async def blocks() -> str:
    """Block the event loop."""
    time.sleep(600)  # noqa: ASYNC251 - the fault
    return "over"


def _agent(one: Any) -> Agent:
    model = ScriptedModel([tool_call(one.name, {}), "ok"], repeat=True)
    return Agent(name=one.name, tools=[one], model=model, callback_handler=None)


_TOOLS: list[Callable[..., Any]] = [
    *(fork, spawn, forkserver, reads, program, terminate, leaves, thread, stubborn, blocks),
]
agents = [_agent(one) for one in _TOOLS]
globals().update({f"agent_{agent.name}": agent for agent in agents})
