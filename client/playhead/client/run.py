"""`Run`: a handle on one run, for watching and controlling it from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol
from uuid import uuid4

from playhead.client.reader import OpenTail, RunReader
from playhead.client.tails.notice import run_not_found
from playhead.client.validation import checked_responses, checked_steer
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.errors import RunEndedError
from playhead.runtime.core.records import ENDED_STATES, RunStateName
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import LogReader, LogSubmitter

__all__ = ["ClientLog", "Run", "run_ended"]


class ClientLog(LogReader, LogSubmitter, Protocol):
    """The part of a log that clients need."""


def run_ended(run_id: str, state: RunStateName) -> RunEndedError:
    """The error for a run that has ended and accepts nothing any more."""
    return RunEndedError(
        f"run {run_id} has ended ({state}) and accepts nothing any more. Start another; with the session_id of this one "
        "it continues the conversation."
    )


class Run(RunReader):
    """One run of a fleet; `client.run(id)` makes it. Only `cancel`, `respond` and `steer` change the run."""

    def __init__(self, run_id: str, *, log: ClientLog, open_tail: OpenTail, max_record_bytes: int) -> None:
        super().__init__(run_id, log=log, open_tail=open_tail)
        self._submitter: LogSubmitter = log
        self._max_record_bytes = max_record_bytes

    async def cancel(self, *, signal_id: str | None = None) -> RunStateName:
        """Ask the run to stop. A queued or paused run ends at once; a running one when its worker receives the signal.

        The cancel is in force when `signal.received` is in the log. Sent twice with one `signal_id` it counts once.

        Returns:
            The run's state: `running` while the worker stops it, or the state in which it has already ended.

        Raises:
            RunNotFoundError: The run does not exist.
        """
        return await self._send(Signal(signal_id or uuid4().hex, "cancel"))

    async def respond(self, responses: Mapping[str, Any], *, signal_id: str | None = None) -> RunStateName:
        """Respond to questions the run waits for, by interrupt id. The first response to a question wins.

        The run resumes when all its questions have responses. A response is in force when `signal.received` is in the
        log, see `received`. Sent twice with one `signal_id` it counts once.

        Returns:
            The run's state: `queued` until a worker resumes it.

        Raises:
            InterruptNotOpenError: The interrupt was never asked, or already answered; nothing was changed.
            RunEndedError: The run has ended; nothing was changed.
            ValueError: It holds no response.
            EncodingError: A response is not plain data.
            RecordTooLargeError: The responses are over the limit.
            RunNotFoundError: The run does not exist.
        """
        checked = checked_responses(responses, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "respond", checked))

    async def steer(self, prompt: Prompt, *, signal_id: str | None = None) -> RunStateName:
        """Send a user message to the run while it runs; it enters the history before the next model call.

        A run that was about to end continues with it. A paused run stays paused, and receives it when it resumes. It is
        in force when `signal.received` is in the log, see `received`. Sent twice with one `signal_id` it counts once.

        Args:
            prompt: Text or content blocks.

        Returns:
            The run's state.

        Raises:
            RunEndedError: The run has ended; nothing was changed.
            ValueError: It is empty, or is neither text nor content blocks that a model can be sent.
            EncodingError: It is not plain data.
            RecordTooLargeError: It is over the limit.
            RunNotFoundError: The run does not exist.
        """
        checked = checked_steer(prompt, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "steer", checked))

    async def _tell(self, signal: Signal) -> RunStateName:
        """Send a signal that only a run that has not ended accepts."""
        state = await self._send(signal)
        if state not in ENDED_STATES:
            return state
        with suppress(RunEndedError):  # sent again after a lost reply: the run may have received it before its end
            await self.received(signal.signal_id)
            return state
        raise run_ended(self.id, state)

    async def _send(self, signal: Signal) -> RunStateName:
        state = await self._submitter.signal(self.id, signal)
        if state is None:
            raise run_not_found(self.id)
        return state
