"""The processes that tests and the chaos run injure: what is read of them, and how reading ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from testkit.processes import ForkServer, Process

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def started(folder: Path) -> AsyncGenerator[tuple[Process, asyncio.StreamWriter]]:
    """A process, and the other end of its socket, where this test writes what the process would."""
    other_ends = list[asyncio.StreamWriter]()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_ends.append(writer)
        writer.write(b"7\n")

    path = folder / "socket"
    async with await asyncio.start_unix_server(accept, path):
        process = await ForkServer(str(path)).start("any", log=folder / "log")
        (writer,) = other_ends
        try:
            yield process, writer
        finally:
            process.ended.set()  # no process has this id, so none may be killed
            await process.aclose()
            writer.close()


async def test_lines_are_read_to_the_end_of_the_process(tmp_path: Path) -> None:
    lines = list[Any]()
    async with started(tmp_path) as (process, writer), anyio.create_task_group() as tasks:
        assert process.pid == 7
        tasks.start_soon(process.read, lines.append)
        writer.write(b'{"a": 1}\n[2]\n"cut o')
        writer.close()
        with anyio.fail_after(10):
            await process.ended.wait()
        await process.tell("it does not hear this")
        with pytest.raises(anyio.IncompleteRead):
            await process.next_line()
    assert lines == [{"a": 1}, [2]]


async def test_reading_may_be_cancelled_in_the_turn_in_which_a_line_arrives(tmp_path: Path) -> None:
    loop, complaints = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with started(tmp_path) as (process, writer):
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(process.next_line)
                await anyio.wait_all_tasks_blocked()
                writer.write(b"1\n")
                loop.call_soon(tasks.cancel_scope.cancel)  # before the event loop reads what has arrived
                await anyio.sleep_forever()
        assert await process.next_line() == 1
    assert complaints == []
