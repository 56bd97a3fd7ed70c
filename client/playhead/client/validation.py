"""Checks of a client's arguments, made before anything is sent: invalid names, data that is not plain, or too large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from playhead.runtime.core.checks import check_agent, check_session
from playhead.runtime.core.codec import decode_record, encode_record, pack
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.errors import RunConflictError
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import Entry, MessageAdded, RunSubmitted, SignalReceived, now_ms
from playhead.runtime.core.storable import ANY_SIZE, check_plain, check_size

__all__ = [
    "check_responses",
    "check_run_id",
    "check_same_submission",
    "check_steer",
    "deadline_in_ms",
    "submission",
]

_LONGEST_DEADLINE_S: Final = 10 * 365 * 24 * 3600.0  # a longer one is probably meant as a date


def check_run_id(run_id: str) -> None:
    """Raise ValueError for an invalid run id."""
    plain = run_id.isascii() and all(c.isalnum() or c in "._-" for c in run_id)
    if not plain or not 1 <= len(run_id) <= 128:
        raise ValueError(f"run_id must be 1 to 128 letters, digits, '.', '_' or '-', not {run_id[:40]!r}")


def deadline_in_ms(seconds: float | None) -> int | None:
    """A deadline in milliseconds; raises ValueError for an invalid one."""
    if seconds is None:
        return None
    if not 0 < seconds <= _LONGEST_DEADLINE_S:  # nan is not
        raise ValueError(f"deadline must be above 0 seconds from now and at most ten years, not {seconds:g}")
    return max(1, math.ceil(seconds * 1000))


def submission(agent: str, prompt: Prompt, *, session_id: str | None, invocation_state: dict[str, Any]) -> RunSubmitted:
    """Record 1 of a run, from values that were checked."""
    check_agent(agent)
    if session_id is not None:
        check_session(session_id)
    prompt_messages(prompt)
    check_plain("prompt", prompt)
    for key, value in invocation_state.items():
        check_plain(f"invocation_state[{key!r}]", value)
    return RunSubmitted(at=now_ms(), agent=agent, prompt=prompt, session=session_id, invocation_state=invocation_state)


def check_same_submission(run_id: str, record: RunSubmitted, stored: Sequence[Entry]) -> None:
    """Raise RunConflictError if the run's stored record 1, where it is still there, is another request than `record`."""
    first = stored[0].record if stored else None
    if not isinstance(first, RunSubmitted):
        return
    mine = decode_record(encode_record(record, limit=ANY_SIZE))  # as the log gives it back: with lists for tuples
    assert isinstance(mine, RunSubmitted)
    pairs = {
        "agent": (first.agent, mine.agent),
        "prompt": (first.prompt, mine.prompt),
        "session_id": (first.session, mine.session),
        "invocation_state": (first.invocation_state, mine.invocation_state),
    }
    # By their bytes too, because a nan is not equal to itself.
    differs = [name for name, (old, new) in pairs.items() if old != new and pack(old) != pack(new)]
    if differs:
        raise RunConflictError(run_id, differs)


def check_responses(responses: Mapping[str, Any], *, limit: int) -> None:
    """Refuse a mapping without responses, a response that is not plain data, or one larger than a record may be."""
    given = cast("object", responses)
    if not given or not isinstance(given, Mapping) or not all(isinstance(key, str) for key in cast("Any", given)):
        raise ValueError(f"respond needs {{interrupt id: response}}, not {responses!r:.80}")
    for key, response in responses.items():
        if response is None:  # a tool that gets None from `interrupt` asks again, as in Strands
            raise ValueError(f"None is not a response to {key!r}: the question would be asked again")
        check_plain(f"the response to {key!r}", response)
    record = SignalReceived(at=now_ms(), signal_id="0" * 32, kind="respond", body=dict(responses))
    check_size("the response", record, limit=limit)


def check_steer(prompt: Prompt, *, limit: int) -> None:
    """Refuse a steer that is empty, neither text nor content blocks, not plain data, or larger than a record may be."""
    messages = prompt_messages(prompt)
    said = prompt.strip() if isinstance(prompt, str) else prompt
    if not said or not messages:
        raise ValueError("a steer must not be empty: pass text, or a list of content blocks")
    if messages == prompt:
        raise ValueError("a steer must be text or a list of content blocks, not messages")
    check_plain("the steer", prompt)
    # It is stored twice: when it is taken in, and when it enters the history.
    taken = SignalReceived(at=now_ms(), signal_id="0" * 32, kind="steer", body=prompt)
    for record in (taken, *(MessageAdded(at=now_ms(), origin="steer", message=message) for message in messages)):
        check_size("the steer", record, limit=limit)
