"""The process that serves a local model, shared by all models with the same options. It ends with its parent process."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import IO

from playhead.runtime.core.errors import ModelConfigurationError

__all__ = ["LocalEndpoint", "LocalOptions", "LocalProcess", "shared_process"]

_STOP_S = 5.0
_HEALTH_EVERY_S = 0.05
_LAST_LINES = 8


@dataclass(frozen=True)
class LocalOptions:
    """The options that identify a local model. The path is absolute; a window of 0 tokens is the model's own."""

    path: str
    context_tokens: int
    threads: int | None


@dataclass(frozen=True)
class LocalEndpoint:
    """The address of a running model; its repr does not show the key."""

    base_url: str
    api_key: str = field(repr=False)


class LocalProcess:
    """The process for one set of options, one per parent process. Its methods may be called from any thread."""

    def __init__(self, options: LocalOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint: LocalEndpoint | None = None
        self._callers = 0
        self._callers_lock = threading.Lock()

    @contextlib.contextmanager
    def wanted(self) -> Generator[None, None, None]:
        """Keep a start going while at least one caller is in this block; break it off when the last one leaves.

        Loading may take minutes, and a cancelled caller's thread must not keep this process alive that long.
        """
        with self._callers_lock:
            self._callers += 1
        try:
            yield
        finally:
            with self._callers_lock:
                self._callers -= 1
                if self._callers == 0:
                    self._break_off()

    def _break_off(self) -> None:
        process = self._process
        if process is not None and self._endpoint is None:
            process.kill()

    def running(self) -> LocalEndpoint | None:
        """Its address, or None if it does not run. Does not wait."""
        process, endpoint = self._process, self._endpoint
        return endpoint if process is not None and process.poll() is None else None

    def exit_code(self, timeout: float) -> int | None:
        """Its exit code, if it ends within `timeout` seconds. A broken connection is noticed before a crash is."""
        process = self._process
        try:
            return process.wait(timeout) if process is not None else None
        except subprocess.TimeoutExpired:
            return None

    def start(self, timeout: float) -> LocalEndpoint:
        """Start it if necessary and return its address. Blocks for up to `timeout` seconds, longer while other callers
        start it.

        Raises:
            ModelConfigurationError: If the file or the extra is missing, or the model failed to load or took longer
                than `timeout`.
        """
        with self._lock:
            if endpoint := self.running():
                return endpoint
            self._end()
            self.check()
            with tempfile.TemporaryFile() as stderr:
                self._endpoint = self._launch(stderr, timeout)
            return self._endpoint

    def stop(self) -> None:
        """End it within 5 seconds, if it runs or is being started."""
        self._break_off()
        with self._lock:
            self._end()

    def check(self) -> None:
        """Raise ModelConfigurationError if the file or the engine is missing."""
        if not os.path.isfile(self._options.path):
            raise ModelConfigurationError(
                f"The model file {self._options.path} does not exist; give the path of a .gguf file."
            )
        if importlib.util.find_spec("xllamacpp") is None:
            raise ModelConfigurationError(
                f"Running {self._options.path} needs the local engine: pip install 'playhead-runtime[local]'"
            )

    def _launch(self, stderr: IO[bytes], timeout: float) -> LocalEndpoint:
        key = secrets.token_urlsafe(32)
        deadline = time.monotonic() + timeout
        # The child ends when this end of the pipe, its standard input, is closed.
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "playhead.runtime.models.local.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        # Not every platform can wait for a readable pipe; killing the child at the deadline ends the read everywhere.
        alarm = threading.Timer(timeout, process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            address = self._handshake(process, key)
            if address and _healthy(process, address, deadline):
                return LocalEndpoint(f"{address}/v1", key)
        finally:
            alarm.cancel()
        self._end()
        raise self._failure(process.returncode, stderr, late_after=timeout if time.monotonic() >= deadline else None)

    def _handshake(self, process: subprocess.Popen[bytes], key: str) -> str:
        """Send the configuration. Returns the address once the model is loaded, or an empty string if the child ended.

        It goes through the pipe, because other users or the child's children could read a command line or an environment.
        """
        assert process.stdin is not None
        assert process.stdout is not None
        options = self._options
        config = {
            "path": options.path,
            "context_tokens": options.context_tokens,
            "threads": options.threads,
            "api_key": key,
        }
        try:
            process.stdin.write(json.dumps(config).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        return process.stdout.readline().decode().strip()

    def _end(self) -> None:
        process, self._process, self._endpoint = self._process, None, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # it ended before it read its configuration
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _failure(self, returncode: int, stderr: IO[bytes], *, late_after: float | None) -> ModelConfigurationError:
        stderr.seek(0)
        lines = [line for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
        why = f"failed to load (exit code {returncode})" if late_after is None else f"did not load in {late_after:g} s"
        said = "\n  ".join(lines[-_LAST_LINES:]) or "nothing"
        return ModelConfigurationError(
            f"The model {self._options.path} {why}. Check that it is a whole GGUF file that fits into memory. "
            f"The engine said:\n  {said}"
        )


def _healthy(process: subprocess.Popen[bytes], address: str, deadline: float) -> bool:
    """Poll the health endpoint until it is ready, the process has ended or the time is over."""
    import httpx

    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get(f"{address}/health").is_success:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(_HEALTH_EVERY_S)
    return False


_processes: dict[tuple[int, LocalOptions], LocalProcess] = {}
_processes_lock = threading.Lock()


def shared_process(options: LocalOptions) -> LocalProcess:
    """The process for these options, started or not. A forked child gets its own, and cannot end its parent's."""
    with _processes_lock:
        if not _processes:
            atexit.register(_stop_all)
        return _processes.setdefault((os.getpid(), options), LocalProcess(options))


def _stop_all() -> None:
    for (pid, _), process in list(_processes.items()):
        if pid == os.getpid():
            process.stop()
