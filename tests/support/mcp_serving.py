"""The MCP server of `mcp_program.py`, and what its tools gave."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from playhead.runtime.core.events import Event

__all__ = ["PROGRAM", "http_server", "results"]

PROGRAM: Final = Path(__file__).with_name("mcp_program.py")


@asynccontextmanager
async def http_server() -> AsyncGenerator[str, None]:
    """The URL of the MCP server over HTTP."""
    async with await anyio.open_process([sys.executable, str(PROGRAM), "http"], stderr=None) as process:
        assert process.stdout is not None
        port = int(await process.stdout.receive())
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.kill()


def results(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Status and text of each result among the events."""
    blocks = [block for event in events for block in event.get("message", {}).get("content", [])]
    found = [block["toolResult"] for block in blocks if "toolResult" in block]
    return [(result["status"], result["content"][0]["text"]) for result in found]
