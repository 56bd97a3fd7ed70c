"""A proxy that ends while a client connects."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import anyio.lowlevel
import pytest

from testkit.proxy import Proxy

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def test_a_connection_that_comes_in_the_turn_of_its_end_is_not_an_error_in_the_log() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    for _ in range(20):
        async with Proxy(1).serving() as proxy:
            await anyio.wait_all_tasks_blocked()  # it accepts
            with socket.create_connection(("127.0.0.1", proxy.port)):
                await anyio.lowlevel.checkpoint()  # the connection is ready when this task goes on
    assert told == []
