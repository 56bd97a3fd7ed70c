"""The server's side of the bench: starts the server, reads its counters, and describes the machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from playhead.runtime.embedded.server import EmbeddedServer

__all__ = ["Bench", "Counters", "describe_machine", "running_server"]


class Counters(NamedTuple):
    """The server's counters since its start."""

    cpu: float
    """CPU seconds, user and system, including its threads."""
    commands: int
    """Commands that clients sent. The server also counts those inside scripts, so commands that playhead's scripts call
    too (`HMGET`: an idle tail's check) are left out."""


class Bench:
    """A server to measure on.

    Attributes:
        url: The server's URL.
        admin: A client for inspecting it and for yardsticks.
    """

    def __init__(self, server: EmbeddedServer, admin: Redis) -> None:
        self.url = server.url
        self.kind = server.kind
        self.admin = admin

    async def counters(self) -> Counters:
        """A snapshot."""
        cpu: dict[str, Any] = await self.admin.info("cpu")
        calls: dict[str, dict[str, Any]] = await self.admin.info("commandstats")
        inside = _called_by_scripts()
        names = {name: name.removeprefix("cmdstat_").partition("|")[0] for name in calls}
        commands = sum(stats["calls"] for name, stats in calls.items() if names[name] not in inside)
        return Counters(cpu["used_cpu_sys"] + cpu["used_cpu_user"], commands)

    async def clients(self) -> list[dict[str, str]]:
        """The fields of `CLIENT LIST` of every connection except this object's own."""
        own = str(await self.admin.client_id())
        listed = await self.admin.client_list()
        return [client for client in listed if client["id"] != own]

    async def clear(self) -> None:
        """Remove all data."""
        await self.admin.flushall()


@cache
def _called_by_scripts() -> frozenset[str]:
    folder = resources.files("playhead.runtime.log.redis").joinpath("scripts")
    texts = [file.read_text() for file in folder.iterdir() if file.name.endswith(".lua")]
    called = frozenset(name.lower() for text in texts for name in re.findall(r"redis\.p?call\('(\w+)'", text))
    return called | {"publish", "spublish"}  # a script gets the one to use when it is loaded


@asynccontextmanager
async def running_server() -> AsyncGenerator[Bench, None]:
    """A real server on the loopback, append-only file on and synced every second, as `playhead dev` runs it."""
    async with EmbeddedServer.running(durable=True) as server:
        admin = Redis.from_url(server.url, single_connection_client=True)
        try:
            yield Bench(server, admin)
        finally:
            await admin.aclose()


def describe_machine(server: str, *, appendfsync: str = "everysec") -> dict[str, str]:
    """The machine and the versions that the figures depend on."""
    return {
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "server": f"{server}, appendonly yes, appendfsync {appendfsync}",
        **{name: _version(name) for name in ("redis", "hiredis", "uvloop", "anyio", "msgpack", "pydantic")},
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown CPU"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
