"""`MCPServer`: a server of tools, for `Agent(tools=[…])`."""

from __future__ import annotations

import asyncio
import importlib.util
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from playhead.runtime.core.arguments import check_choice, check_items, check_mapping, check_number, check_text
from playhead.runtime.core.converse import ToolSpec
from playhead.runtime.core.tool_results import invalid_name
from playhead.runtime.tools.body import END, Returned
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.hints import outcome_by_hints
from playhead.runtime.tools.schema import CONTEXT_ONLY
from playhead.runtime.tools.tool import OnUnknownOutcome, Tool

if TYPE_CHECKING:
    from mcp import Client

    from playhead.runtime.tools.mcp.connection import Connection, Listed

__all__ = ["EFFECT_KEY", "MCPServer"]

EFFECT_KEY: Final = "playhead/effect_key"
"""The key of a call's `_meta` under which the server finds `ToolContext.effect_key`."""


class MCPServer:
    """The tools of an MCP server, which is started when an agent that has it is made: so once in each worker process.

    Agents that have the same object share the server.

    A server that dies is started again by the next call. A call that it was running is made once more if its
    `on_unknown_outcome` is `retry`; otherwise the model is told that the outcome is unknown.

    Args:
        command: The program and its arguments, for a server over stdio.
        url: The address of a server over HTTP. Give one of the two.
        env: Environment variables of the program, besides the few that MCP's SDK hands on, such as PATH and HOME.
        cwd: The folder in which the program runs.
        headers: Sent with each request over HTTP.
        prefix: What the names of the tools begin with here.
        start_timeout: Seconds that a start may take.
        timeout: Seconds that a call may take; None for no limit.
        on_unknown_outcome: As for `@tool`, for every tool; None for what the annotations of each tool say.

    Raises:
        ValueError: If neither or both of `command` and `url` are given.
        TypeError: If an argument has the wrong type.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        prefix: str = "",
        start_timeout: float = 30.0,
        timeout: float | None = None,
        on_unknown_outcome: OnUnknownOutcome | None = None,
    ) -> None:
        if (command is None) == (url is None) or (command is not None and not command):
            raise ValueError("an MCPServer needs command=[program, …] or url=…, and not both")
        if isinstance(command, str):
            raise TypeError(
                f"an MCPServer needs command=[program, argument, …], not the text {command!r:.80}; for a server over HTTP "
                "pass url=…"
            )
        check_items("command", command or [], str, each="a text")
        check_text("url", url, optional=True)
        check_text("prefix", prefix, empty=True)
        check_number("start_timeout", start_timeout, above=0)
        check_number("timeout", timeout, above=0, optional=True)
        if on_unknown_outcome is not None:
            check_choice("on_unknown_outcome", on_unknown_outcome, get_args(OnUnknownOutcome))
        check_mapping("headers", headers, optional=True)
        self._command, self._url = list(command or []), url
        self._env, self._cwd, self._headers = env, cwd, dict(headers or {})
        self._prefix, self._start_timeout, self._timeout = prefix, start_timeout, timeout
        self._outcome: OnUnknownOutcome | None = on_unknown_outcome
        self._held: weakref.ref[_Started] | None = None  # agents that have this object share one server

    def __repr__(self) -> str:
        return f"MCPServer({self.name!r})"

    @property
    def name(self) -> str:
        """The program or the address, without arguments and credentials."""
        if self._url is None:
            return Path(self._command[0]).name
        return self._url.partition("?")[0].rpartition("@")[2]

    def tools(self) -> list[Tool]:
        """Start the server and make its tools. It ends when the last of them is gone, or with the process. Blocks.

        Raises:
            ValueError: If the extra `mcp` is missing, the server does not start, or a tool has an invalid name.
        """
        if importlib.util.find_spec("mcp") is None:
            raise ValueError(f"{self!r} needs the extra mcp: pip install 'playhead-runtime[mcp]'")
        from playhead.runtime.tools.mcp.connection import Connection, ConnectionBroken

        held = self._held() if self._held is not None else None
        if held is None:
            connection = Connection(self._opened, name=self.name, start_timeout=self._start_timeout)
            try:
                held = _Started(connection, connection.start())
            except ConnectionBroken as error:
                raise ValueError(f"tools: {error}") from error
            weakref.finalize(held, connection.close)
            self._held = weakref.ref(held)
        return [self._tool(listed, held) for listed in held.listed]

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Client, None]:
        from mcp import Client, StdioServerParameters

        if self._url is None:
            program, *arguments = self._command
            env = None if self._env is None else dict(self._env)
            parameters = StdioServerParameters(command=program, args=arguments, env=env, cwd=self._cwd)
            async with Client(parameters) as client:
                yield client
            return
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        timeout = httpx2.Timeout(self._start_timeout, read=None)  # a call may take longer than any limit of ours
        http = httpx2.AsyncClient(headers=self._headers, timeout=timeout, follow_redirects=True)
        async with http, Client(streamable_http_client(self._url, http_client=http)) as client:
            yield client

    def _tool(self, listed: Listed, started: _Started) -> Tool:
        name = f"{self._prefix}{listed['name']}"
        if flaw := invalid_name(name):
            raise ValueError(f"{flaw}: a tool of {self!r}; a tool's name has 1 to 64 letters, digits, '_' and '-'")
        outcome: OnUnknownOutcome = self._outcome or outcome_by_hints(listed.get("annotations"))
        description = listed.get("description") or listed.get("title") or name
        spec: ToolSpec = {"name": name, "description": description, "inputSchema": {"json": listed["inputSchema"]}}

        async def body(context: ToolContext) -> AsyncGenerator[object, None]:
            async with aclosing(
                _called(started.connection, listed["name"], context, again=outcome == "retry")
            ) as values:
                async for value in values:
                    yield value

        body.__name__, body.__doc__ = name, description
        return Tool(body, spec, reads=CONTEXT_ONLY, timeout=self._timeout, on_unknown_outcome=outcome)


class _Started:
    """A started server. Its tools hold it, so it ends after the last of them."""

    def __init__(self, connection: Connection, listed: list[Listed]) -> None:
        self.connection = connection
        self.listed = listed


async def _called(
    connection: Connection, tool: str, context: ToolContext, *, again: bool
) -> AsyncGenerator[object, None]:
    """The progress that the server reports, then the result."""
    from playhead.runtime.tools.mcp.connection import Call

    loop, reported = asyncio.get_running_loop(), asyncio.Queue[object]()

    def tell(value: object) -> None:
        with suppress(RuntimeError):  # the loop was closed before the server answered
            loop.call_soon_threadsafe(reported.put_nowait, value)

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told = {"progress": done, "total": total, "message": message}
        tell({key: value for key, value in told.items() if value is not None})

    arguments = cast("dict[str, Any]", context.tool_use.get("input") or {})
    meta = {EFFECT_KEY: context.effect_key}
    repeat = context.begin if again else None  # it raises if the run was lost meanwhile
    result = connection.call(Call(tool, arguments, meta, progress, repeat))
    result.add_done_callback(lambda _: tell(END))
    try:
        while (value := await reported.get()) is not END:
            yield value
        yield Returned(_shown(result.result()))
    finally:
        result.cancel()


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    """The result with its structured content, if that is all it has."""
    structured = result.pop("structuredContent", None)
    if structured is not None and not result.get("content"):
        result["content"] = [{"json": structured}]
    return {"isError": False, **result}
