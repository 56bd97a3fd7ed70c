"""Submits a run to a session that may be busy: queues it, refuses it, cancels the run before it, or steers that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from playhead.client.validation import check_same_submission, checked_steer
from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.if_busy import IfBusy
from playhead.runtime.log.interface import ClientLog
from playhead.runtime.log.values import NewRun
from playhead.runtime.telemetry.presence import count

__all__ = ["check_if_busy", "submit_run"]


def check_if_busy(
    if_busy: IfBusy, *, session: str | None, prompt: Prompt, options: Mapping[str, Any], limit: int
) -> None:
    """Refuse an `if_busy` that the call cannot have.

    Args:
        if_busy: The caller's choice.
        session: The session of the run.
        prompt: The prompt, as record 1 has it.
        options: The options of record 1.
        limit: The largest size of a record, in bytes.

    Raises:
        ValueError: If it is not one of the four words; or there is no session that could be busy; or it is `steer`, and the
            prompt cannot be a steer, or the call has a keyword that a run has only from its beginning.
        RecordTooLargeError: If it is `steer`, and the prompt is over the limit as a steer.
    """
    check_choice("if_busy", if_busy, get_args(IfBusy))
    if if_busy == "queue":
        return
    if session is None:
        raise ValueError(f"if_busy={if_busy!r} needs a session_id: a run without a session waits for no other run")
    if if_busy == "steer":
        if options:
            raise ValueError(
                f"if_busy='steer' does not go with {', '.join(sorted(options))}: the run that receives the prompt keeps what "
                "it was started with"
            )
        checked_steer(prompt, limit=limit)


async def submit_run(log: ClientLog, new: NewRun, *, if_busy: IfBusy, may_exist: bool) -> str:
    """Submit the run, or send its prompt to the run that holds its session. Returns the id of the run that has the prompt.

    `may_exist`: the caller chose the run's id, so an earlier call may have submitted it.

    Raises:
        SessionHeldError, RunConflictError, LogUnavailableError: As `Client.start`.
    """
    if if_busy != "steer":
        may_exist = not await log.submit(new)
    elif (receiver := await log.submit_or_steer(new)) != new.run_id:
        return receiver
    if may_exist:
        check_same_submission(new.run_id, new.data, await log.read(new.run_id, limit=1))
    else:
        count("playhead.run.submitted", {"gen_ai.agent.name": new.agent})
    return new.run_id
