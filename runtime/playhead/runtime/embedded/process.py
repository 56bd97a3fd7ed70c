"""A Redis server as a child process that cannot outlive the process that started it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from playhead.runtime.embedded.binary import EmbeddedServerError, PortTakenError
from playhead.runtime.embedded.directory import ServerDirectory

__all__ = ["ServerProcess", "free_port", "start_process"]

START_SECONDS = 10.0
# The time a server has to write its data after SIGTERM, before SIGKILL.
STOP_SECONDS = 5.0
_TRY_SECONDS = 0.05
_POLL_SECONDS = 0.005
_PORT_ATTEMPTS = 5

# The watcher starts the server, prints its pid, and exits with the server's exit status as soon as it dies. Its standard
# input is a pipe whose only writer is our process, so end of file means "stop": we closed it, or were killed. A subshell
# waits for that, because a shell that reads cannot reap. Each process is reaped by the one that started it, because not
# every container has a first process that reaps orphans; therefore the subshell ignores TERM while it sleeps.
# `3<&0`: a command in the background gets /dev/null as its standard input.
_WATCHER = """
tries=$1 step=$2; shift 2
exec 3<&0
"$@" </dev/null >&2 3<&- &
server=$!
echo "$server"
exec >/dev/null 2>&1
(
    read -r _ <&3
    trap '' TERM
    kill -TERM "$server"
    while kill -0 "$server"; do
        [ "$tries" -gt 0 ] || kill -KILL "$server"
        tries=$((tries - 1))
        sleep $step || sleep 1
    done
) &
waiting=$!
wait "$server"
status=$?
kill -TERM "$waiting"
wait
exit "$status"
"""


class ServerProcess:
    """A running server with its watcher, and a lock on its directory. It dies with this process, even after `kill -9`.

    Programs started by this process do not keep it alive; a bare `os.fork` does, because it copies our end of the pipe.

    Attributes:
        pid: The pid of the server itself, not of its watcher.
        port: The port on 127.0.0.1.
        kind: For example "valkey 9.1.2" or "redis 7.2.4", as the server reports it.
    """

    def __init__(self, directory: ServerDirectory, *, binary: Path, port: int, arguments: Sequence[str]) -> None:
        """Start the server and wait until it serves; blocks, for up to 10 seconds.

        Raises:
            EmbeddedServerError: If it did not start, with the last lines of its log.
            OSError: If the directory cannot be written to, or there is no `/bin/sh`.
        """
        self.port = port
        self._directory = directory
        self._stopping = threading.Lock()
        self._stopped = False
        self._watcher = self._launch([str(binary), *arguments])
        try:
            assert self._watcher.stdout is not None
            self.pid: int = int(self._watcher.stdout.readline() or 0)
            self._watcher.stdout.close()
            self.kind: str = self._wait_until_ready()
            directory.announce(url=f"redis://127.0.0.1:{port}", pid=self.pid)
        except BaseException:
            self._end()
            raise

    @property
    def alive(self) -> bool:
        """Whether the server is still running."""
        return self._watcher.poll() is None

    def stop(self) -> None:
        """Send SIGTERM, after 5 seconds SIGKILL, and return when the server is gone and reaped. May be called again."""
        with self._stopping:
            if not self._stopped:
                self._stopped = True
                try:
                    self._end()
                finally:
                    self._directory.release()

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        log = self._directory.open_log()
        tries = round(STOP_SECONDS / _TRY_SECONDS)
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", _WATCHER, "playhead-embedded", str(tries), str(_TRY_SECONDS), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(self._directory.lock_fd,),
                # Ctrl-C goes to the terminal's whole process group: the server must still run while we drain.
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.alive:
                raise self._died()
            with suppress(OSError, ValueError):  # not listening yet, or not a Redis server
                # `-LOADING` means that it still reads its data.
                if _ask(self.port, b"PING") == b"+PONG":
                    info = _fields(_ask(self.port, b"INFO server"))
                    # Another program took the port before our server could; ours is about to die.
                    if info.get("process_id") == str(self.pid):
                        return _kind(info)
            time.sleep(_POLL_SECONDS)
        raise EmbeddedServerError(
            f"the embedded server did not serve port {self.port} within {START_SECONDS:g} s. {self._log()}"
        )

    def _died(self) -> EmbeddedServerError:
        log = self._log()
        if "address already in use" in log.lower():
            return PortTakenError(self.port)
        return EmbeddedServerError(f"the embedded server stopped at once (status {self._watcher.returncode}). {log}")

    def _log(self) -> str:
        return f"The end of its log:\n{self._directory.log_tail() or '(empty)'}"

    def _end(self) -> None:
        assert self._watcher.stdin is not None
        assert self._watcher.stdout is not None
        self._watcher.stdin.close()
        self._watcher.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            self._watcher.wait(STOP_SECONDS + 2)
        if self._watcher.returncode is None or self._watcher.returncode < 0:
            # The watcher hangs or was itself killed: kill its group, which holds the server and its subshell.
            with suppress(ProcessLookupError):
                os.killpg(self._watcher.pid, signal.SIGKILL)
        self._watcher.wait()


def start_process(
    directory: ServerDirectory, *, binary: Path, port: int, durable: bool, extra_args: Sequence[str]
) -> ServerProcess:
    """Start a server on `port`, or on any free one for 0.

    Raises:
        PortTakenError: If the given port is in use.
        EmbeddedServerError, OSError: As for `ServerProcess`.
    """
    for attempt in range(_PORT_ATTEMPTS):
        if port:
            _check_port(port)
        chosen = port or free_port()
        arguments = _arguments(directory, port=chosen, durable=durable)
        try:
            return ServerProcess(directory, binary=binary, port=chosen, arguments=[*arguments, *extra_args])
        # The port was taken between our check and the server's bind: by another program, or by our own probe. A probe
        # of a port without a listener may get that port as its own local port, and so connect to itself.
        except PortTakenError:
            if attempt == _PORT_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _check_port(port: int) -> None:
    """Raise an error that says why a server cannot listen on the port of 127.0.0.1, if it cannot.

    Raises:
        PortTakenError: If it is in use.
        EmbeddedServerError: If it is not a port number, or this user may not listen on it.
    """
    try:
        # As servers do: a port whose last connections have just ended counts as free.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortTakenError(port) from error
        reason = error.strerror if isinstance(error, OSError) else "ports are 1 to 65535"
        raise EmbeddedServerError(
            f"cannot listen on port {port} of 127.0.0.1: {reason}. Choose another port."
        ) from error


def free_port() -> int:
    """A free port of 127.0.0.1; another program may take it at any moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _arguments(directory: ServerDirectory, *, port: int, durable: bool) -> list[str]:
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        "save": "",
        "dir": str(directory.path),
        "daemonize": "no",
        "maxmemory-policy": "noeviction",  # a server that evicts would silently drop logs and leases
        "loglevel": "warning",
        "logfile": str(directory.log_path),
    }
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def _ask(port: int, command: bytes) -> bytes:
    """Send one inline command on its own connection. Returns the status line, or the body of a bulk reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=1.0) as link, link.makefile("rb") as replies:
        link.sendall(command + b"\r\n")
        line = replies.readline().rstrip()
        return replies.read(int(line[1:])) if line.startswith(b"$") else line


def _fields(info: bytes) -> dict[str, str]:
    lines = info.decode(errors="replace").splitlines()
    return {name: value for name, found, value in (line.partition(":") for line in lines) if found}


def _kind(info: dict[str, str]) -> str:
    """The server's name and version. Valkey reports a compatible Redis version as `redis_version`, and its own beside it."""
    valkey = info.get("valkey_version")
    return f"valkey {valkey}" if valkey else f"redis {info.get('redis_version', 'of unknown version')}"
