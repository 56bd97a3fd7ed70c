"""The directory of an embedded server: one owner at a time, the server's log, and the URL of the running server."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from playhead.runtime.embedded.binary import EmbeddedServerError

__all__ = ["ServerDirectory"]

# A server whose parent was killed needs a moment to write its last data. After that, another program uses it.
LOCK_WAIT_SECONDS = 2.0
_POLL_SECONDS = 0.02
_TAIL_LINES = 6


class ServerDirectory:
    """A directory locked for one server, until `release`.

    The lock is a `flock` on `server.lock`. The server inherits its descriptor, so the directory stays locked as long as
    this process or the server lives: no other server opens data that an orphan still writes.

    Attributes:
        path: The directory, absolute.
        log_path: The server's log file.
        lock_fd: The descriptor that the server inherits.
    """

    def __init__(self, path: Path | None) -> None:
        """Lock `path`, which is created if it is missing; None makes a temporary directory that `release` removes.

        Blocks for up to two seconds while another server that uses the directory is exiting.

        Raises:
            EmbeddedServerError: If it cannot be written to, or is in use; the message names the running server's URL if
                known.
        """
        try:
            with ExitStack() as undo:
                if path is None:
                    temporary = tempfile.TemporaryDirectory(prefix="playhead-", ignore_cleanup_errors=True)
                    path = Path(undo.enter_context(temporary))
                self.path: Path = path.absolute()
                self.log_path: Path = self.path / "server.log"
                self._info_path = self.path / "server.json"
                self._log_start = 0
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.lock_fd: int = self._open_lock()
                undo.callback(os.close, self.lock_fd)
                self._lock()
                self._info_path.unlink(missing_ok=True)  # a killed owner's file names a server that is gone
                self._undo = undo.pop_all()
        except OSError as error:
            raise EmbeddedServerError(
                f"{path or tempfile.gettempdir()} cannot hold a server's data: {error.strerror or error}. "
                "Choose a directory that this user may write to."
            ) from error

    def open_log(self) -> int:
        """Open the log for another start. Returns the descriptor, which the caller closes; raises OSError."""
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._log_start = os.fstat(log).st_size
        return log

    def log_tail(self) -> str:
        """The last lines logged since `open_log`; empty if there are none."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join([line for line in lines if line.strip()][-_TAIL_LINES:])

    def announce(self, *, url: str, pid: int) -> None:
        """Record the running server, for the error of the next process that needs this directory. Raises OSError."""
        self._info_path.write_text(json.dumps({"url": url, "pid": pid}), encoding="utf-8")

    def release(self) -> None:
        """Unlock the directory, and remove it if it was temporary. The server must be gone. Call it once."""
        self._info_path.unlink(missing_ok=True)
        self._undo.close()  # server.lock stays: if it were removed, two owners could lock two files of that name

    def _open_lock(self) -> int:
        low = os.open(self.path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A shell passes the descriptor to the server, and shells use those below 10 for themselves.
            return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10)
        finally:
            os.close(low)

    def _lock(self) -> None:
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            else:
                return
            if time.monotonic() >= deadline:
                raise EmbeddedServerError(self._in_use())
            time.sleep(_POLL_SECONDS)

    def _in_use(self) -> str:
        info: Any = None
        with suppress(OSError, ValueError):  # not written yet, or damaged: the error then names no URL
            info = json.loads(self._info_path.read_text(encoding="utf-8"))
        url = info.get("url") if isinstance(info, dict) else None
        where = f" at {url}: use that URL, stop that server" if isinstance(url, str) else ": stop that server"
        return f"{self.path} is in use by an embedded server{where}, or choose another directory."
