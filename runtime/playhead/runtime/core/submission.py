"""Makes record 1 of a run from a caller's values, by the same rules in process and on a fleet. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from playhead.runtime.core.arguments import check_mapping
from playhead.runtime.core.checks import check_agent, check_session
from playhead.runtime.core.codec import encode_record, pack
from playhead.runtime.core.errors import EncodingError, RecordTooLargeError
from playhead.runtime.core.intake import checked_prompt
from playhead.runtime.core.metadata import Metadata, checked_metadata
from playhead.runtime.core.records import RunSubmitted, now_ms
from playhead.runtime.core.storable import ANY_SIZE

__all__ = ["Submission", "check_plain", "submission"]


class Submission(NamedTuple):
    """Record 1 of a run, checked and encoded."""

    record: RunSubmitted
    data: bytes


def submission(
    agent: str,
    prompt: object,
    *,
    session: str | None = None,
    invocation_state: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    metadata: Metadata | None = None,
    trace: Mapping[str, str] | None = None,
    limit: int,
) -> Submission:
    """Check a caller's values, and encode record 1 of the run.

    Args:
        agent: The agent's name.
        prompt: Any value that `checked_prompt` accepts.
        session: The session's name.
        invocation_state: Plain data.
        options: Those that record 1 has.
        metadata: What the run is found by.
        trace: The W3C trace context of the caller's span; None without one.
        limit: The largest size of the record, in bytes.

    Raises:
        ValueError, TypeError: If a name or the metadata is invalid, or the prompt has no known form.
        InvalidMessageError: If a part of the prompt cannot be sent to a model.
        EncodingError: If something in it is not plain data.
        RecordTooLargeError: If it is over the limit.
    """
    check_agent(agent)
    if session is not None:
        check_session(session)
    check_mapping("invocation_state", invocation_state)
    record = RunSubmitted(
        at=now_ms(),
        agent=agent,
        prompt=checked_prompt(prompt),
        session=session,
        invocation_state=dict(invocation_state),
        options=dict(options or {}),
        metadata=checked_metadata(metadata or {}),
        trace=dict(trace or {}),
    )
    try:
        data = encode_record(record, limit=ANY_SIZE)
    except EncodingError:
        check_plain(invocation_state)
        raise
    if len(data) > limit:
        raise RecordTooLargeError("the prompt", size=len(data), limit=limit)
    return Submission(record, data)


def check_plain(invocation_state: Mapping[str, Any]) -> None:
    """Raise EncodingError, with the key, if a value cannot be stored; TypeError if they are not a dict with text keys."""
    check_mapping("invocation_state", invocation_state)
    for key, value in invocation_state.items():
        try:
            pack(value)
        except EncodingError as error:
            raise EncodingError(f"invocation_state[{key!r}] {error}") from error
