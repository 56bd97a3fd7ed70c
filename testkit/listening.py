"""A listener on the loopback that ends in order, whatever connects to it at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketAttribute

from testkit.tls import Certificate, Listener

__all__ = ["listening"]


@asynccontextmanager
async def listening(
    serve: Callable[[Any], Awaitable[object]], *, certificate: Certificate | None = None
) -> AsyncGenerator[int]:
    """Give each connection to `serve` during the block; then cut every connection. The value is the port.

    It accepts nothing more before it is cancelled, because asyncio gives a connection that comes in the turn of a cancel to
    the cancelled future of its accept, and logs the error (CPython 3.11, `BaseSelectorEventLoop._sock_accept`): a command
    that was ended by Ctrl-C then ended with a traceback.

    Args:
        serve: Gets a `SocketStream`, or with a certificate a `TLSStream`.
        certificate: The listener terminates TLS with it. A cut closes a connection without a TLS close message, because a
            paused client would not answer it.
    """
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    secure = certificate and Listener(plain, certificate.context, standard_compatible=False)
    listener = secure or plain
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        try:
            yield plain.extra(SocketAttribute.local_port)
        finally:
            for one in plain.listeners:
                asyncio.get_running_loop().remove_reader(one.extra(SocketAttribute.raw_socket))
            tasks.cancel_scope.cancel()
