"""The child process of a `LocalModel`: `python -m playhead.runtime.models.local.server`.

It reads its configuration as one line of JSON from standard input, loads the model, serves OpenAI's protocol on
127.0.0.1 at a free port, prints the address as one line, and ends when standard input is closed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import IO, Any

__all__ = ["main"]

_ERRORS_ONLY = 1


def main() -> None:
    """Serve until standard input is closed. If the model fails to load, exit with 1 and print the reason on standard error."""
    # A terminal's Ctrl-C and a service manager's stop reach every process of the group, but the parent may still have to
    # finish calls. Only the parent ends this process, by closing the pipe or by dying.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Unbuffered: the thread that waits in a buffered reader would hold its lock during interpreter shutdown.
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - never closed: a thread waits for its end
    line = stdin.readline()
    if not line:
        return
    watcher = threading.Thread(target=_end_with_parent, args=(stdin,), daemon=True)
    watcher.start()
    # The parent must not mistake the engine's output for the address.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        server = _serve(json.loads(line))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # at once: during an orderly exit the other thread could see the closed pipe and exit with 0 first
    output.write(f"{server.listening_address}\n")
    output.close()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    watcher.join()


def _serve(config: dict[str, Any]) -> Any:
    """Start the engine's server and return when the model is loaded."""
    import xllamacpp  # pyright: ignore[reportMissingImports]  # an extra

    params = xllamacpp.CommonParams()
    params.model.path = config["path"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [config["api_key"]]
    params.n_ctx = config["context_tokens"]
    params.n_parallel = 1
    if config["threads"] is not None:
        params.cpuparams.n_threads = config["threads"]
        params.cpuparams_batch.n_threads = config["threads"]
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = _ERRORS_ONLY
    return xllamacpp.Server(params)


def _end_with_parent(stdin: IO[bytes]) -> None:
    while stdin.read(1024):
        pass
    # Not sys.exit, which would wait for the engine's threads: a request may run for minutes.
    os._exit(0)


if __name__ == "__main__":
    main()
