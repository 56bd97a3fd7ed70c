"""The entry of a child process: `python -m bench.child MODULE:ROLE CONFIG LOOP`."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

import anyio

from bench.children import LONGEST_LINE, Role, Talk

__all__ = ["main"]


async def main(role: Role, config: dict[str, Any]) -> None:
    """Run the role until standard input ends."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await role(config, Talk(reader))


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    anyio.run(
        main,
        getattr(importlib.import_module(module), name),
        json.loads(sys.argv[2]),
        backend_options={"use_uvloop": sys.argv[3] == "uvloop"},
    )
