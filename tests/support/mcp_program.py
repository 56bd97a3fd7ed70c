"""An MCP server: `python mcp_program.py` speaks over stdio; with `http` it prints its port and serves HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations

__all__ = ["server"]

server = MCPServer("numbers")


@server.tool(annotations=ToolAnnotations.model_validate({"readOnlyHint": True}))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations.model_validate({"destructiveHint": True}))
def drop(table: str) -> str:
    """Drop a table."""
    return f"dropped {table}"


@server.tool()
def fail(why: str) -> str:
    """Raise."""
    raise ValueError(why)


@server.tool()
def die() -> str:
    """End the server's process."""
    os._exit(3)


@server.tool()
def note_and_die(path: str) -> str:
    """Append to a file, then end the server's process."""
    with open(path, "a") as file:
        file.write("called ")
    os._exit(3)


@server.tool()
def long(size: int) -> str:
    """Give a long text."""
    return "x" * size


@server.tool()
async def stuck(ctx: Context) -> str:
    """Report progress, and never return."""
    await ctx.report_progress(1, 2)
    await asyncio.sleep(1000)
    return "never"


@server.tool()
async def once(path: str, ctx: Context) -> str:
    """Note the server's process and the effect key in a file; the first call never returns."""
    with open(path, "a+") as file:  # noqa: ASYNC230
        file.write(f"{os.getpid()} {dict(ctx.request_context.meta or {}).get('playhead/effect_key')}\n")
        file.seek(0)
        first = len(file.readlines()) == 1
    await ctx.report_progress(1, 2)
    if first:
        await asyncio.sleep(1000)
    return "done by the second"


@server.tool()
async def counted(upto: int, ctx: Context) -> str:
    """Report progress, and say what the call had in its `_meta`."""
    for number in range(upto):
        await ctx.report_progress(number, upto)
    return f"{dict(ctx.request_context.meta or {}).get('playhead/effect_key')}"


@server.tool()
async def traceparent(ctx: Context) -> str:
    """The trace context that the call had in its `_meta`."""
    return f"{dict(ctx.request_context.meta or {}).get('traceparent')}"


def _serve_http() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        _serve_http()
    else:
        server.run()
