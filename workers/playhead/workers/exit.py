"""Ends a worker process within a bounded time after it is asked to stop, whatever its tools have left running.

Tools may leave threads that cannot be stopped, tasks that do not end, and child processes. Python waits for some of
them when it exits, and a blocked event loop does not even learn that it should stop. So a separate thread, which
depends neither on the event loop nor on anything else to end, waits for the request to stop, passes it on, and ends the
process with `os._exit` when its time is over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import Final, Literal

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.stacks import where_is

__all__ = ["ProcessExit", "reset_signals_in_forked_children", "take_over_stdin"]

logger: logging.Logger = logging.getLogger(__name__)

_LEAVE_S: Final = 2.0
"""How long threads, tasks and children of tools may delay the end of the process once the worker has ended."""

_SAY_S: Final = 1.0
_TURN_S: Final = 0.5

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_Word = Literal["stop", "ended"]


class ProcessExit:
    """Ends this worker process. Make it on the main thread, before the event loop."""

    def __init__(self, *, drain_s: float) -> None:
        """Start the thread. `drain_s` is how long a drain may take, in seconds."""
        self._error: Exception | None = None
        self._drain_s = drain_s
        self._words: queue.SimpleQueue[_Word] = queue.SimpleQueue()  # its `put` may interrupt another in a handler
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: Callable[[], None] | None = None
        self._stop_now: Callable[[], None] | None = None
        self._main = threading.get_ident()
        threading.Thread(target=self._watch, name="playhead exit", daemon=True).start()

    @contextmanager
    def serving(
        self, drain: Callable[[], None], *, stop_now: Callable[[], None], parent: int | None
    ) -> Generator[None, None, None]:
        """Serve within the block. After it, the process must end within two seconds.

        SIGTERM, SIGINT and the end of the pipe `parent`, whose other end the parent holds, ask the process to stop. The
        first request calls `drain` on the running loop, the second one `stop_now`.
        """
        self._drain, self._stop_now = drain, stop_now
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:  # for good, so that a late signal does not kill a process that is ending
            signal.signal(number, self._on_signal)
        if parent is not None:
            threading.Thread(target=self._wait_for_end, args=(parent,), name="playhead parent", daemon=True).start()
        try:
            yield
        except Exception as error:
            self._error = error
            raise
        finally:
            self._words.put("ended")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._words.put("stop")

    def _wait_for_end(self, pipe: int) -> None:
        while os.read(pipe, 4096):
            pass
        self._words.put("stop")

    def _watch(self) -> None:
        word = self._words.get()
        if word == "stop":
            self._call(self._drain)
            word = self._next(self._drain_s)
        if word == "stop":
            self._call(self._stop_now)
            word = self._next(_LEAVE_S)
        if word is None:
            self._leave(1, f"the worker did not stop in time, and is ended: {self._where()}")
        self._next(_LEAVE_S)
        error = self._error
        code = error.exit_code if isinstance(error, PlayheadError) else int(error is not None)
        said = "" if error is None else f"{error}; "
        self._leave(code, f"{said}the worker has ended, and does not wait for {_left_running()}")

    def _next(self, seconds: float) -> _Word | None:
        with suppress(queue.Empty):
            return self._words.get(timeout=seconds)
        return None

    def _call(self, function: Callable[[], None] | None) -> None:
        if self._loop is not None and function is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function)

    def _where(self) -> str:
        """Describes where the event loop is blocked, or that one of its tasks does not end."""
        turned = threading.Event()
        self._call(turned.set)
        where = where_is(self._main)
        if turned.wait(_TURN_S) or where is None:
            return "a task of a tool does not end, though it was cancelled"
        return f"its event loop is blocked in {where}"

    def _leave(self, code: int, why: str) -> None:
        # In a thread, because one that never ends may hold the lock of a log handler or of a stream.
        saying = threading.Thread(target=_say, args=(why,), name="playhead why it ends", daemon=True)
        saying.start()
        saying.join(_SAY_S)
        os._exit(code)


def _say(why: str) -> None:
    _end_children()
    logger.warning("%s", why)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()


def _left_running() -> str:
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.name.startswith("playhead ")
    ]
    return f"what its tools left running (threads: {', '.join(left) or 'none'})"


def _end_children() -> None:
    """Terminate the processes that tools started with `multiprocessing`: at its own exit, Python would end or join them."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        with suppress(Exception):
            for child in multiprocessing.active_children():
                child.terminate()


def take_over_stdin() -> int:
    """Move standard input to a new descriptor that no program started by a tool inherits.

    Standard input is then empty. Otherwise a tool's child that reads it would wait for the parent of this process.
    """
    pipe = os.dup(0)  # not inherited across an exec
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


_masks = threading.local()


@cache
def reset_signals_in_forked_children() -> None:
    """Give the children that this process forks from now on the signal handling of a new Python process.

    A forked child inherits the handlers, and the descriptor that they wake the event loop by: a SIGTERM for the child
    would drain this process. The signals are blocked meanwhile, so that none comes before the child has reset them.
    """
    os.register_at_fork(before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_reset_signals)


def _block_signals() -> None:
    _masks.former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.former)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _unblock_signals()
