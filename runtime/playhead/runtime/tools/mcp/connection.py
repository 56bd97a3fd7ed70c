"""The session with one MCP server, in a thread with an event loop of its own; opened again after it broke.

An agent is made before any event loop runs, and may be called from several: so the session is in none of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, MCPError
from mcp.types import CONNECTION_CLOSED

from playhead.runtime.tools.quiet import without_errors_of

__all__ = ["Call", "Connection", "ConnectionBroken", "Listed"]

logger: logging.Logger = logging.getLogger(__name__)

Listed = dict[str, Any]
"""A tool of the server: MCP's `Tool` as plain data, with MCP's names."""

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_CLOSE_GRACE_S: Final = 5.0


class ConnectionBroken(Exception):
    """The server cannot be reached, or ended while it was called. The message is for the model."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool.

    Attributes:
        tool: The server's name of it.
        arguments: The model's input.
        meta: The `_meta` of the request.
        progress: Called in the thread with the progress, the total and the message that the server reports.
        repeat: Called in the thread before the call is made once more because the server ended during it; it may raise.
            None if the call must not be repeated.
    """

    tool: str
    arguments: dict[str, Any]
    meta: dict[str, Any]
    progress: Callable[..., Coroutine[Any, Any, None]]
    repeat: Callable[[], None] | None


class Connection:
    """A session that `call` opens if it is not open. Safe to use from any thread and event loop.

    After a failed start the next one waits 0.5 s, after each further failure twice as long, up to 30 s.
    """

    def __init__(
        self, opens: Callable[[], AbstractAsyncContextManager[Client]], *, name: str, start_timeout: float
    ) -> None:
        """Prepare it; nothing runs yet.

        Args:
            opens: Opens a client for as long as it is entered.
            name: What messages call the server.
            start_timeout: Seconds that a start may take.
        """
        self._opens = opens
        self._name = name
        self._start_timeout = start_timeout
        self._thread: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None
        # Only used in the thread's event loop:
        self._lock = anyio.Lock()
        self._group: TaskGroup | None = None
        self._closing: anyio.Event | None = None
        self._open: tuple[Client, anyio.Event] | None = None
        self._failures = 0
        self._not_before = 0.0

    def start(self) -> list[Listed]:
        """Start the thread and the session, and list the tools. Blocks.

        Raises:
            ConnectionBroken: If the server does not start, or does not list its tools.
        """
        self._thread = start_blocking_portal(name=f"mcp {self._name}")
        self._portal = self._thread.__enter__()
        self._portal.start_task_soon(self._hold)
        try:
            return self._portal.call(self._list)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the session and the thread. Blocks for a moment, unless it is called in the thread itself."""
        portal, thread = self._portal, self._thread
        if portal is None or thread is None:
            return
        self._portal = self._thread = None
        closed = portal.start_task_soon(self._close)
        if threading.current_thread().name != f"mcp {self._name}":
            closed.result(_CLOSE_GRACE_S)
            thread.__exit__(None, None, None)

    def call(self, call: Call) -> Future[dict[str, Any]]:
        """Begin a call. The result is the server's `CallToolResult` as plain data, with MCP's names.

        To cancel the future cancels the call, and tells the server.

        Raises:
            ConnectionBroken: By the future, if the session cannot be opened, or ended before the result came.
            MCPError: By the future, if the server refused the call.
        """
        if self._portal is None:
            raise ConnectionBroken(f"the MCP server {self._name} was closed")
        return self._portal.start_task_soon(self._call, call)

    async def _hold(self) -> None:
        """Hold the tasks of the sessions until the end."""
        async with anyio.create_task_group() as group:
            self._group, self._closing = group, anyio.Event()
            await self._closing.wait()
            if self._open is not None:
                self._open[1].set()

    async def _close(self) -> None:
        if self._closing is not None:
            self._closing.set()

    async def _call(self, call: Call) -> dict[str, Any]:
        try:
            return await self._call_once(call)
        except ConnectionBroken:
            if call.repeat is None:
                raise
        call.repeat()
        return await self._call_once(call)

    async def _call_once(self, call: Call) -> dict[str, Any]:
        client, over = await self._session()
        try:
            options: Any = {"progress_callback": call.progress, "meta": call.meta}  # the SDK types them more narrowly
            result = await client.call_tool(call.tool, call.arguments, **options)
        except Exception as error:
            if isinstance(error, MCPError) and error.code != CONNECTION_CLOSED:
                raise
            self._forget(client, over)
            raise ConnectionBroken(
                f"the MCP server {self._name} ended during the call, so its outcome is unknown"
            ) from error
        return result.model_dump(by_alias=True, exclude_none=True, mode="json")

    async def _list(self) -> list[Listed]:
        client, _ = await self._session()
        found: list[Listed] = []
        cursor: str | None = None
        try:
            with anyio.fail_after(self._start_timeout):
                while True:
                    page = await client.list_tools(cursor=cursor)
                    found += [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in page.tools]
                    if (cursor := page.next_cursor) is None:
                        return found
        except Exception as error:
            raise ConnectionBroken(f"the MCP server {self._name} does not list its tools: {_root(error)}") from error

    async def _session(self) -> tuple[Client, anyio.Event]:
        async with self._lock:
            if self._open is not None:
                return self._open
            await anyio.sleep(max(0.0, self._not_before - anyio.current_time()))
            strange: list[str] = []
            try:
                # The SDK logs a traceback for each line of a server that does not speak MCP.
                with without_errors_of("mcp.client.stdio") as strange, anyio.fail_after(self._start_timeout):
                    opened = self._open = await (await self._tasks()).start(self._serve)
            except Exception as error:
                wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**self._failures)
                self._failures, self._not_before = self._failures + 1, anyio.current_time() + wait
                why = f"no answer in {self._start_timeout:g} s" if isinstance(error, TimeoutError) else _root(error)
                why += ", and what it wrote to its output is not MCP" if strange else ""
                raise ConnectionBroken(f"the MCP server {self._name} did not start: {why}") from error
            self._failures = 0
            return opened

    async def _tasks(self) -> TaskGroup:
        while self._group is None:  # `_hold` was begun just before
            await anyio.lowlevel.checkpoint()
        return self._group

    async def _serve(self, *, task_status: TaskStatus[tuple[Client, anyio.Event]]) -> None:
        """Hold one session in one task, as its cancel scopes require, until it is broken or no longer needed."""
        over, opened = anyio.Event(), False
        try:
            async with self._opens() as client:
                opened = True
                task_status.started((client, over))
                await over.wait()
        except Exception as error:
            if not opened:
                raise
            logger.info("the session with the MCP server %s ended with %s", self._name, _root(error))

    def _forget(self, client: Client, over: anyio.Event) -> None:
        over.set()
        if self._open is not None and self._open[0] is client:
            self._open = None
            logger.warning("the MCP server %s ended; the next call starts it again", self._name)


def _root(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:300]
