"""Checks of a client's arguments, made before anything is sent: invalid names, data that is not plain, or too large."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import MessageAdded, SignalReceived, now_ms
from playhead.runtime.core.storable import check_plain, check_size

__all__ = [
    "check_responses",
    "check_run_id",
    "check_steer",
    "deadline_in_ms",
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
