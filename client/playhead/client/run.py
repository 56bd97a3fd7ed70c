"""`Run`: a handle on one run, for watching and controlling it from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol
from uuid import uuid4

from playhead.client.reader import OpenTail, RunReader
from playhead.client.tails.notice import run_not_found
from playhead.client.validation import check_answers, check_steer
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.errors import RunEndedError
from playhead.runtime.core.records import ENDED_STATES, RunStateName
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import LogReader, LogSubmitter

__all__ = ["ClientLog", "Run", "run_ended"]


class ClientLog(LogReader, LogSubmitter, Protocol):
    """What clients ask of a log."""


def run_ended(run_id: str, state: RunStateName) -> RunEndedError:
    """The error for a run that takes nothing in any more."""
    return RunEndedError(
        f"run {run_id} has ended ({state}) and takes nothing in any more. Start another; with the session_id of this one "
        "it goes on from there."
    )


class Run(RunReader):
    """One run of a fleet; `client.run(id)` makes it. Nothing here changes the run but `cancel`, `respond` and `steer`."""

    def __init__(self, run_id: str, *, log: ClientLog, open_tail: OpenTail, max_record_bytes: int) -> None:
        super().__init__(run_id, log=log, open_tail=open_tail)
        self._submitter: LogSubmitter = log
        self._max_record_bytes = max_record_bytes

    async def cancel(self, *, signal_id: str | None = None) -> RunStateName:
        """Ask the run to stop. In line or paused, it ends at once; running, its worker takes the signal in soon.

        The cancel is in force when `signal.received` stands in the log. Sent twice with one `signal_id` it counts once.

        Returns:
            The run's state: `running` while the worker winds it up, or the state it has already ended in.

        Raises:
            RunNotFoundError: The run does not exist.
        """
        return await self._send(Signal(signal_id or uuid4().hex, "cancel"))

    async def respond(self, answers: Mapping[str, Any], *, signal_id: str | None = None) -> RunStateName:
        """Answer questions the run waits for, by interrupt id. The first to answer a question wins.

        The run goes on when all its questions are answered. An answer is in force when `signal.received` stands in the
        log, see `received`. Sent twice with one `signal_id` it counts once.

        Returns:
            The run's state: `queued` for a worker that goes on.

        Raises:
            InterruptNotOpenError: Not asked, or answered already; nothing was changed.
            RunEndedError: The run has ended; nothing was changed.
            ValueError: It holds no answer.
            EncodingError: An answer is not plain data.
            RecordTooLargeError: The answers are over the limit.
            RunNotFoundError: The run does not exist.
        """
        check_answers(answers, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "respond", dict(answers)))

    async def steer(self, prompt: Prompt, *, signal_id: str | None = None) -> RunStateName:
        """Say something to the run while it runs: a user message, taken in before its next model call.

        A run that was about to end goes on with it. A paused run stays paused, and hears it when it goes on. It is in
        force when `signal.received` stands in the log, see `received`. Sent twice with one `signal_id` it counts once.

        Args:
            prompt: Text or content blocks.

        Returns:
            The run's state.

        Raises:
            RunEndedError: The run has ended; nothing was changed.
            ValueError: It says nothing, or is neither text nor content blocks.
            EncodingError: It is not plain data.
            RecordTooLargeError: It is over the limit.
            RunNotFoundError: The run does not exist.
        """
        check_steer(prompt, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "steer", prompt))

    async def _tell(self, signal: Signal) -> RunStateName:
        """Send what only a run that has not ended can take."""
        state = await self._send(signal)
        if state not in ENDED_STATES:
            return state
        with suppress(RunEndedError):  # sent again because an answer was lost: it may have been taken in before the end
            await self.received(signal.signal_id)
            return state
        raise run_ended(self.id, state)

    async def _send(self, signal: Signal) -> RunStateName:
        state = await self._submitter.signal(self.id, signal)
        if state is None:
            raise run_not_found(self.id)
        return state
