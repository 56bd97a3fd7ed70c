"""Checks a client's arguments before anything is sent: names, plain data, sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from playhead.runtime.core.arguments import check_text
from playhead.runtime.core.cancels import cancel_of
from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.codec import decode_record, pack
from playhead.runtime.core.converse import Message, Prompt
from playhead.runtime.core.errors import OverrideRefusedError, RunConflictError
from playhead.runtime.core.fork import Fork
from playhead.runtime.core.intake import checked_prompt, checked_response, whole_text
from playhead.runtime.core.overrides import OVERRIDES, refuse_overrides
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import Entry, MessageAdded, RunSubmitted, SignalReceived, ToolFinished, now_ms
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.storable import check_size
from playhead.runtime.core.submission import check_plain
from playhead.runtime.core.terms import TERM_OPTIONS
from playhead.runtime.core.tool_results import tool_result
from playhead.runtime.log.values import WorkerInfo

__all__ = [
    "check_allowed",
    "check_run_id",
    "check_same_submission",
    "checked_cancel",
    "checked_fork",
    "checked_responses",
    "checked_steer",
    "deadline_in_ms",
]

_LONGEST_DEADLINE_S: Final = 10 * 365 * 24 * 3600.0  # a longer one is probably meant as a date


def check_run_id(run_id: object) -> None:
    """Raise ValueError if the run id is invalid."""
    given = run_id if isinstance(run_id, str) else ""
    plain = given.isascii() and all(c.isalnum() or c in "._-" for c in given)
    if not plain or not 1 <= len(given) <= 128:
        shown = repr(given[:40]) if isinstance(run_id, str) else f"{run_id!r} of type {type(run_id).__name__}"
        raise ValueError(f"run_id must be 1 to 128 letters, digits, '.', '_' or '-', not {shown}")


def deadline_in_ms(seconds: float | None) -> int | None:
    """Convert a deadline to milliseconds. Raises ValueError if it is invalid."""
    if seconds is None:
        return None
    if not 0 < seconds <= _LONGEST_DEADLINE_S:  # nan is not
        raise ValueError(f"deadline must be above 0 seconds from now and at most ten years, not {seconds:g}")
    return max(1, math.ceil(seconds * 1000))


def check_same_submission(run_id: str, data: bytes, stored: Sequence[Entry]) -> None:
    """Raise RunConflictError if the run's stored record 1, if it still exists, differs in its request from `data`."""
    first = stored[0].record if stored else None
    if not isinstance(first, RunSubmitted):
        return
    mine = decode_record(data)
    assert isinstance(mine, RunSubmitted)
    pairs = {
        "agent": (first.agent, mine.agent),
        "prompt": (first.prompt, mine.prompt),
        "session_id": (first.session, mine.session),
        "invocation_state": (first.invocation_state, mine.invocation_state),
        "metadata": (first.metadata, mine.metadata),
        **{name: (first.options.get(name), mine.options.get(name)) for name in (*OVERRIDES, *TERM_OPTIONS)},
    }
    # By their bytes too, because a nan is not equal to itself.
    differs = [name for name, (old, new) in pairs.items() if old != new and pack(old) != pack(new)]
    if differs:
        raise RunConflictError(run_id, differs)


def check_allowed(agent: str, options: Mapping[str, Any], workers: Sequence[WorkerInfo]) -> None:
    """Refuse overrides that each live worker of the agent would refuse; without such a worker the run waits for one.

    Raises:
        OverrideRefusedError: As the worker that started last would refuse them.
    """
    serving = sorted((one for one in workers if agent in one.agents), key=lambda one: one.started)
    refusal: OverrideRefusedError | None = None
    for worker in serving:
        allowed = worker.extra.get("overrides", {}).get(agent, {})
        if allowed is None:  # not known before a factory has made the agent
            return
        try:
            refuse_overrides(agent, options, allowed=allowed)
        except OverrideRefusedError as error:
            refusal = error
        else:
            return
    if refusal is not None:
        raise refusal


def checked_fork(fork: Fork, *, limit: int) -> Fork:
    """The fork as it is made.

    Raises:
        ValueError: A name is malformed; the prompt or `say` is empty or has an unknown form; or an answer is None.
        TypeError: The model or the system prompt is not a text.
        EncodingError: A result, an answer or a part of a prompt is not plain data.
        RecordTooLargeError: One of them, or the prompt with the system prompt, is over `limit` bytes.
    """
    if fork.agent is not None:
        check_agent(fork.agent)
    check_text("model", fork.model, optional=True)
    check_text("system_prompt", fork.system_prompt, optional=True, empty=True)
    checked = replace(
        fork,
        system_prompt=None if fork.system_prompt is None else whole_text(fork.system_prompt),
        prompt=None if fork.prompt is None else checked_prompt(fork.prompt),
        answers=checked_responses(fork.answers, limit=limit) if fork.answers else {},
        say=None if fork.say is None else checked_steer(fork.say, limit=limit),
    )
    options = {"model": checked.model, "system_prompt": checked.system_prompt}
    first = RunSubmitted(at=now_ms(), agent=checked.agent or "", prompt=checked.prompt, options=options)
    check_size("the prompt with the system prompt", first, limit=limit)
    for use, value in checked.results.items():
        result = tool_result(use, value, tool_name="")
        check_size(f"the result of {use}", ToolFinished(at=now_ms(), index=0, name="", result=result), limit=limit)
    return checked


def checked_responses(
    responses: Mapping[str, Any], *, invocation_state: dict[str, Any] | None = None, limit: int
) -> dict[str, Any]:
    """Check responses, with the caller's values that are sent with them, and return them in the form that is sent.

    Raises:
        ValueError: If a response is missing, or one is None.
        EncodingError: If one, or one of the values, is not plain data.
        RecordTooLargeError: If they are over `limit` bytes together.
    """
    given = cast("object", responses)
    if not given or not isinstance(given, Mapping) or not all(isinstance(key, str) for key in cast("Any", given)):
        raise ValueError(f"respond needs {{interrupt id: response}}, not {responses!r:.80}")
    for key, response in responses.items():
        if response is None:  # a tool that gets None from `interrupt` asks again, as in Strands
            raise ValueError(f"None is not a response to {key!r}: the question would be asked again")
    checked = {key: checked_response(key, response) for key, response in responses.items()}
    check_plain(invocation_state or {})
    signal = Signal("0" * 32, "respond", checked, invocation_state)
    check_size("the response", signal.received(at=now_ms()), limit=limit)
    return checked


def checked_cancel(message: str | None, after_current_tools: bool, *, limit: int) -> dict[str, Any] | None:
    """The body of a cancel.

    Raises:
        TypeError: If an argument has the wrong type.
        RecordTooLargeError: If it is over `limit` bytes.
    """
    cancel = cancel_of(message, after_current_tools)
    said: Message = {"role": "assistant", "content": [{"text": cancel.message or ""}]}
    for record in (
        SignalReceived(at=now_ms(), signal_id="0" * 32, kind="cancel", body=cancel.body),
        MessageAdded(at=now_ms(), origin="stop", message=said),
    ):
        check_size("the message of the cancel", record, limit=limit)
    return cancel.body


def checked_steer(prompt: Prompt, *, limit: int) -> Prompt:
    """Check a steer and return it in the form that is sent.

    Raises:
        ValueError: If it is empty, or neither text nor content blocks that can be sent to a model.
        EncodingError: If it is not plain data.
        RecordTooLargeError: If it is over `limit` bytes.
    """
    checked = checked_prompt(prompt, what="steer")
    messages = prompt_messages(checked)
    said = checked.strip() if isinstance(checked, str) else checked
    if not said or not messages:
        raise ValueError("a steer must not be empty: pass text, or a list of content blocks")
    if messages == checked:
        raise ValueError("a steer must be text or a list of content blocks, not messages")
    # It is stored twice: when it is received, and when it enters the history.
    taken = SignalReceived(at=now_ms(), signal_id="0" * 32, kind="steer", body=checked)
    for record in (taken, *(MessageAdded(at=now_ms(), origin="steer", message=message) for message in messages)):
        check_size("the steer", record, limit=limit)
    return checked
