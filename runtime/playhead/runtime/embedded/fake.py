"""The replacement where a server binary is missing: fakeredis on a socket, in a thread of this process."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from fakeredis import TcpFakeServer
from redis.exceptions import ResponseError

__all__ = ["FakeServer"]

_POLL_SECONDS = 0.02


def _outliving_errors(handler: Any) -> Any:
    """Keep a connection open after an error reply, as a real server does: fakeredis' handler would close it."""

    class Handler(handler):
        def setup(self) -> None:
            super().setup()
            client: Any = self.current_client
            read = client.read_response

            def reply(*args: Any, **kwargs: Any) -> Any:
                try:
                    return read(*args, **kwargs)
                except ResponseError as error:
                    return error  # the handler writes it as an error reply

            client.read_response = reply

    return Handler


class _Listener(TcpFakeServer):
    """fakeredis' server with a list of its connections: stopping it ends them, as with a real server."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port))
        self.RequestHandlerClass = _outliving_errors(self.RequestHandlerClass)
        # A handler notices the end only after its blocking command, and must not delay the exit of this process.
        self.daemon_threads = True
        self._links: set[socket.socket] = set()
        self._guard = threading.Lock()

    def get_request(self) -> tuple[socket.socket, Any]:
        link, address = super().get_request()
        with self._guard:
            self._links.add(link)
        return link, address

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._links.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnected before its reply, for which socketserver would print a traceback."""

    def end_links(self) -> None:
        with self._guard:
            for link in self._links:
                with suppress(OSError):  # the client closed it first
                    link.shutdown(socket.SHUT_RDWR)


class FakeServer:
    """A running fakeredis server.

    Attributes:
        port: The port on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        """Listen on `port`, or on any free one for 0. Raises OSError if that fails."""
        self._listener = _Listener(port)
        self.port: int = self._listener.server_address[1]
        self._thread = threading.Thread(
            target=self._listener.serve_forever,
            kwargs={"poll_interval": _POLL_SECONDS},
            name="playhead-fakeredis",
            daemon=True,
        )
        self._thread.start()
        self._stopping = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether it is still listening."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop listening, end the connections and forget the data. May be called again."""
        with self._stopping:
            if self._thread.is_alive():
                self._listener.shutdown()
                self._thread.join()
                self._listener.server_close()
                self._listener.end_links()
