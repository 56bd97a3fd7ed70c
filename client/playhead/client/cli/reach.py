"""Which server a command talks to."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import typer

from playhead.runtime.embedded import EmbeddedServer
from playhead.runtime.log.connection import DEFAULT_URL

__all__ = ["DATA_DIRECTORY", "PREFIX_HELP", "URL_HELP", "reach"]

DATA_DIRECTORY: Final = Path(".playhead")
"""Where `demo` and `dev` keep their server's data, in the present directory."""

URL_HELP: Final = "Redis to use. Default: the server of `playhead dev` here, else redis://localhost:6379."
PREFIX_HELP: Final = "Prefix of all keys; client and workers must agree."


@asynccontextmanager
async def reach(url: str | None, *, look_only: bool = False) -> AsyncGenerator[str]:
    """The URL to use: the one given, else that of the embedded server running here, else the default.

    A command that only looks (`look_only`) finds the data `demo` and `dev` left here even when nothing runs: a server
    is started on it for as long as the command takes.
    """
    if url is not None:
        yield url
    elif (running := _running_here()) is not None:
        yield running
    elif look_only and (DATA_DIRECTORY / "appendonlydir").is_dir() and not _listening(DEFAULT_URL):
        async with EmbeddedServer.running(directory=DATA_DIRECTORY) as server:
            typer.echo(f"(reading {DATA_DIRECTORY}/ through a server of its own; nothing else runs)", err=True)
            yield server.url
    else:
        yield DEFAULT_URL


def _running_here() -> str | None:
    try:
        info = json.loads((DATA_DIRECTORY / "server.json").read_text(encoding="utf-8"))
        url = str(info["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if _listening(url) else None  # a killed owner leaves the file behind


def _listening(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "localhost", parts.port or 6379), timeout=0.5):
            return True
    except OSError:
        return False
