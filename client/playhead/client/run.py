"""`Run`: a handle on one run, to watch and control it from anywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Protocol
from uuid import uuid4

from pydantic import BaseModel

from playhead.client.reader import RunReader
from playhead.client.tails.interface import OpenTail
from playhead.client.tails.notice import run_not_found
from playhead.client.validation import checked_cancel, checked_responses, checked_steer
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.errors import RunEndedError, RunNotEndedError
from playhead.runtime.core.fork import Fork
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.records import ENDED_STATES, RunStateName
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import LogReader, LogSubmitter

__all__ = ["MakeFork", "Run", "run_ended"]


class MakeFork(Protocol):
    """Stores a fork of a run, and queues it."""

    def __call__(self, parent: RunReader, fork: Fork, *, run_id: str | None = None) -> Awaitable[Run]: ...


def run_ended(run_id: str, state: RunStateName) -> RunEndedError:
    """The error for a run that has ended and no longer accepts anything."""
    return RunEndedError(
        f"run {run_id} has ended ({state}) and accepts nothing now. Start another; with the session_id of this one "
        "it continues the conversation."
    )


@names_keywords
class Run(RunReader):
    """One run of a fleet; `client.run(id)` makes it. Only `cancel`, `respond`, `steer` and `delete` change the run.

    `fork` starts another run.
    """

    def __init__(
        self,
        run_id: str,
        *,
        log: LogReader,
        submitter: LogSubmitter,
        open_tail: OpenTail,
        max_record_bytes: int,
        make_fork: MakeFork,
        output_class: type[BaseModel] | None = None,
    ) -> None:
        super().__init__(run_id, log=log, open_tail=open_tail, output_class=output_class)
        self._submitter = submitter
        self._max_record_bytes = max_record_bytes
        self._make_fork = make_fork

    async def cancel(
        self, *, signal_id: str | None = None, message: str | None = None, after_current_tools: bool = False
    ) -> RunStateName:
        """Ask the run to stop. A queued or paused run ends at once; a running one when its worker receives the signal.

        The cancel takes effect when `signal.received` is in the log. Sent twice with the same `signal_id`, it counts once.

        Args:
            signal_id: Its id; None for a new one.
            message: The text of the run's last message, in place of "Cancelled by user"; after tools, one more message.
            after_current_tools: Let the tools that the model called run to their end first. If the model answers without a
                call, the run ends as if there were no cancel; if no worker has it, it ends at once.

        Returns:
            The run's state: `running` while the worker stops it, or the state in which it has already ended.

        Raises:
            TypeError: If an argument has the wrong type.
            RecordTooLargeError: If the message is over the limit.
            RunNotFoundError: If the run does not exist.
        """
        body = checked_cancel(message, after_current_tools, limit=self._max_record_bytes)
        return await self._send(Signal(signal_id or uuid4().hex, "cancel", body))

    async def delete(self) -> RunStateName:
        """Delete the run from Redis, before its retention ends. It cannot be undone.

        The messages that it added to its session stay, and so does its copy in an archive. A reader of the run gets
        `RunNotFoundError`.

        Returns:
            The state in which it had ended.

        Raises:
            RunNotEndedError: If it has not ended: cancel it first; nothing was changed.
            RunNotFoundError: If Redis does not have the run.
            LogUnavailableError: If it may or may not be deleted; try again.
        """
        state = await self._submitter.delete_run(self.id)
        if state is None:
            raise run_not_found(self.id)
        if state not in ENDED_STATES:
            raise RunNotEndedError(self.id, state)
        return state

    async def respond(
        self,
        responses: Mapping[str, Any],
        *,
        invocation_state: dict[str, Any] | None = None,
        signal_id: str | None = None,
    ) -> RunStateName:
        """Respond to questions that the run waits for, by interrupt id. The first response to a question counts.

        The run resumes when all its questions have responses. A response takes effect when `signal.received` is in the
        log, see `received`. Sent twice with the same `signal_id`, it counts once.

        Args:
            responses: By interrupt id.
            invocation_state: Plain data for the tools and hooks from here on, in place of what they got before; it comes
                back in the events. None leaves what the run has.
            signal_id: See above.

        Returns:
            The run's state: `queued` until a worker resumes it.

        Raises:
            InterruptNotOpenError: If the interrupt was never asked or already has a response; nothing was changed.
            RunEndedError: If the run has ended; nothing was changed.
            ValueError: If a response is missing.
            EncodingError: If a response or a value of `invocation_state` is not plain data.
            RecordTooLargeError: If the responses with the `invocation_state` are over the limit.
            RunNotFoundError: If the run does not exist.
        """
        checked = checked_responses(responses, invocation_state=invocation_state, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "respond", checked, invocation_state))

    async def steer(self, prompt: Prompt, *, signal_id: str | None = None) -> RunStateName:
        """Send a user message to the run while it runs; it enters the history before the next model call.

        A run that was about to end continues with it. A paused run stays paused, and receives it when it resumes. It
        takes effect when `signal.received` is in the log, see `received`. Sent twice with the same `signal_id`, it
        counts once.

        Args:
            prompt: Text or content blocks.

        Returns:
            The run's state.

        Raises:
            RunEndedError: If the run has ended; nothing was changed.
            ValueError: If it is empty, or is neither text nor content blocks that can be sent to a model.
            EncodingError: If it is not plain data.
            RecordTooLargeError: If it is over the limit.
            RunNotFoundError: If the run does not exist.
        """
        checked = checked_steer(prompt, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "steer", checked))

    async def fork(
        self,
        *,
        at: int,
        agent: str | None = None,
        model: str | None = None,
        system_prompt: str | None = None,
        prompt: Prompt = None,
        results: Mapping[str, Any] | None = None,
        answers: Mapping[str, Any] | None = None,
        say: Prompt = None,
        accept_effects: bool = False,
        run_id: str | None = None,
    ) -> Run:
        """Start a new run with the first records of this one, and a future of its own: by the code that workers have now.

        The records are copied, so the fork does not depend on this run, which is only read. It goes on as after a takeover:
        inside a model's answer the call is made again, or the answer goes on if the agent has `on_partial="continue"`;
        a call of a tool that has no result there runs as after a crash, with an effect key of the fork. It has no
        deadline. If this run has a session, the fork has another of its own, with the messages that this run began from.

        `fork_here` runs the fork in this process, without a worker.

        Args:
            at: How many records of this run it begins with: the number of the last of them.
            agent: The name of another agent, which runs it.
            model: The name of another model than the agent's, such as `openai/gpt-5-mini`. The worker resolves it, in its
                own environment; a name that it cannot resolve fails the fork.
            system_prompt: Another system prompt than the agent's.
            prompt: Another prompt; only where this run's is not in the history yet.
            results: The results of calls that have none there, by tool use id. Each is what the tool could return.
            answers: The answers to questions that are open there, by interrupt id, or by name if no two have that name.
            say: A user message; it enters the history before the next cycle, as one of `steer`. Inside an answer that has no
                call of a tool yet, the words up to there are kept as a message, and this comes after them.
            accept_effects: Fork also if tools have run up to there. What they did stays done.
            run_id: The id of the fork. Choose it (by `client.new_run_id`) to be able to fork again after an error: the
                same fork under one id is one run.

        Returns:
            The fork, which is queued.

        Raises:
            ForkAfterEffectsError: Tools have run up to there, and `accept_effects` is false; nothing was changed.
            RunConflictError: There is a run with this `run_id`, and it is not this fork; nothing was changed.
            ValueError: The run does not have that many records, had ended there, or has no such call or question there; or
                a name, the prompt or `say` is invalid; nothing was changed.
            RecordTooLargeError, EncodingError, InvalidMessageError: As for `start`, `respond` and `steer`.
            RunNotFoundError, GapError, ForeignRecordError: As their messages say.
            LogUnavailableError: If the fork may or may not have been started; trying again with the same `run_id` is safe.
        """
        change = Fork(
            at=at,
            agent=agent,
            model=model,
            system_prompt=system_prompt,
            prompt=prompt,
            results=results or {},
            answers=answers or {},
            say=say,
            accept_effects=accept_effects,
        )
        fork = await self._make_fork(self, change, run_id=run_id)
        fork.output_class = self.output_class
        return fork

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
        return (await self.info()).state if state is None else state  # it may be in an archive
