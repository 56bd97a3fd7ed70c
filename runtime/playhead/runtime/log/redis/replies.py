"""Reads Redis' replies: the answers of the scripts, segments, signals, runs and workers. Pure.

A script answers with a flat array; only this module gives its items names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, Final, NamedTuple, cast, get_args

from playhead.runtime.core.codec import decode_batch, decode_stored, unpack
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.metadata import Metadata
from playhead.runtime.core.records import RunStateName
from playhead.runtime.core.segments import Segment, Stored, segments
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.values import (
    Claim,
    EncodedEntry,
    LeaseInfo,
    Renewal,
    RunInfo,
    SessionInfo,
    WorkerInfo,
    WriteResult,
    WriteStatus,
)

__all__ = [
    "ABOUT_FIELDS",
    "INFO_FIELDS",
    "SignalReply",
    "claim_of",
    "encoded_of",
    "info_of",
    "lease_of",
    "messages_of",
    "renewals_of",
    "segments_of",
    "session_of",
    "signal_of",
    "text",
    "worker_of",
    "write_result_of",
    "write_results_of",
]

INFO_FIELDS: Final = (
    *("state", "agent", "session", "head", "epoch", "crashes", "created", "updated", "worker"),
    *("handovers", "errors", "deadline", "due", "metadata"),
)
"""The fields of a run's hash that `info_of` takes, in this order."""

ABOUT_FIELDS: Final = ("created", "used", "messages")
"""The fields of a session's `about` hash that `session_of` takes, in this order."""

_STATUSES: Final = tuple(WriteStatus)
"""The statuses by number, as in `STATUS` of `common.lua`."""

Items = Sequence[tuple[bytes, Sequence[bytes]]]
"""Entries of a stream as `XRANGE` gives them: the id; then the names of its fields and their values, by turns."""


def text(value: Any) -> str:
    """A reply as a string; empty if there is none."""
    return value.decode() if isinstance(value, bytes) else str(value or "")


def write_result_of(reply: Sequence[int]) -> WriteResult:
    """Read the answer of `finish`, `release` or `pause`."""
    status, head, inbox = reply
    return WriteResult(_STATUSES[status], head, inbox)


def write_results_of(reply: Sequence[int]) -> list[WriteResult]:
    """Read the answer of `append`: for each run in turn, the items of `write_result_of`."""
    triples = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
    return [WriteResult(_STATUSES[status], head, inbox) for status, head, inbox in triples]


def renewals_of(reply: Sequence[int]) -> list[Renewal]:
    """Read the answer of `renew`: for each run in turn, two numbers."""
    return [Renewal(ours=bool(ours), inbox=inbox) for ours, inbox in zip(reply[::2], reply[1::2], strict=True)]


def claim_of(reply: Sequence[bytes | None] | None, *, token: str) -> Claim | None:
    """Read the answer of `claim` to `token`; None if no run was queued."""
    if reply is None:
        return None
    run_id, epoch, head, agent, session, crashes, inbox, streak, idle, end = map(text, reply)
    return Claim(
        run_id=run_id,
        token=token,
        epoch=int(epoch),
        head=int(head),
        agent=agent,
        session=session or None,
        crashes=int(crashes),
        inbox=int(inbox),
        crash_streak=int(streak or 0),
        idle_owners=int(idle or 0),
        crash_end=end,
    )


class SignalReply(NamedTuple):
    """The answer of `signal` for a run that exists.

    Attributes:
        state: The run's state after the call.
        not_open: The interrupts that the signal responds to and that are not open; if there are any, nothing was changed.
    """

    state: RunStateName
    not_open: list[str]

    @classmethod
    def of(cls, reply: Sequence[bytes] | None) -> SignalReply | None:
        """Read the script's reply; None if the run does not exist."""
        if reply is None:
            return None
        state, *not_open = reply
        return cls(cast("RunStateName", text(state)), [one.decode("utf-8", "surrogatepass") for one in not_open])


def segments_of(log: str, items: Items) -> list[Segment]:
    """The records of a page of `log`, by owner.

    Raises:
        ForeignRecordError: If one of the entries was not written by playhead; the message names it.
    """
    if not items:
        return []
    ids = [entry_id for entry_id, _ in items]
    values = _stored(log, items)
    first, epoch = _place(ids[0])
    last, _ = _place(ids[-1])
    # Ids grow; so those of one epoch leave no hole if there are as many as lie between the first and the last. Counted
    # in bytes: taking each apart would cost more than all the rest.
    if last - first + 1 == len(ids) and (b" ".join(ids) + b" ").count(b"-%d " % epoch) == len(ids):
        return [Segment(first, epoch, values)]
    return segments([_place(entry_id) for entry_id in ids], values)


def encoded_of(log: str, items: Items) -> list[EncodedEntry]:
    """The records of a page of `log`, as they are stored.

    Raises:
        ForeignRecordError: If one of the entries does not have exactly the field of a record; the message names it.
    """
    return [EncodedEntry(*_place(entry_id), _record(log, entry_id, pairs)) for entry_id, pairs in items]


def _stored(log: str, items: Items) -> list[Stored]:
    stored = [pair[1] for _, pair in items if len(pair) == 2 and pair[0] == b"r"]
    if len(stored) == len(items):
        # In one call, which takes two thirds of the time. Entries that make up for each other, one that holds two records
        # beside one that is empty, pass: no call of playhead makes them. Which entry is damaged is told below.
        with suppress(ForeignRecordError):
            return decode_batch(b"".join(stored), len(stored))
    return [_stored_one(log, entry_id, pairs) for entry_id, pairs in items]


def _stored_one(log: str, entry_id: bytes, pairs: Sequence[bytes]) -> Stored:
    data = _record(log, entry_id, pairs)
    try:
        return decode_stored(data)
    except ForeignRecordError as error:
        raise ForeignRecordError(f"stream {log}, entry {text(entry_id)}: {error}") from error


def _record(log: str, entry_id: bytes, pairs: Sequence[bytes]) -> bytes:
    if len(pairs) != 2 or pairs[0] != b"r":
        raise ForeignRecordError(
            f"stream {log}, entry {text(entry_id)}: not written by playhead (fields {sorted(map(text, pairs[::2]))}). "
            "Something else writes to this key; give playhead a prefix of its own."
        )
    return pairs[1]


def _place(entry_id: bytes) -> tuple[int, int]:
    seq, _, epoch = entry_id.partition(b"-")
    return int(seq), int(epoch)


def session_of(
    session: str, values: Sequence[bytes | None], *, holder: bytes | None, position: int
) -> SessionInfo | None:
    """Read one session of the index, from its `ABOUT_FIELDS` and its holder; None if it is no longer there."""
    created, used, messages = (int(value) if value else None for value in values)
    if used is None and holder is None:
        return None
    return SessionInfo(session, messages or 0, text(holder) or None, created, used or position // 1000, position)


def messages_of(items: Items) -> list[Message]:
    """The messages of a session."""
    return [cast("Message", unpack(pairs[1])) for _, pairs in items]


def signal_of(key: str, item: bytes) -> Signal:
    """A signal of the inbox `key`. Raises ForeignRecordError."""
    try:
        return Signal(**_known(Signal, unpack(item)))
    except (TypeError, ForeignRecordError) as error:
        raise ForeignRecordError(f"list {key}: not a signal of playhead: {error}") from error


def worker_of(row: bytes) -> WorkerInfo:
    """A worker's own description."""
    return WorkerInfo(**_known(WorkerInfo, json.loads(row)))


def _known(kind: type[Signal | WorkerInfo], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this version knows; those that a newer one adds are skipped."""
    return {field.name: given[field.name] for field in fields(kind) if field.name in given}


def lease_of(ends: Any, length_ms: Any, now: Sequence[bytes]) -> LeaseInfo | None:
    """A lease by its score, its stored length and the server's time in seconds and microseconds; None without a score."""
    if ends is None:
        return None
    return LeaseInfo(int(now[0]) * 1000 + int(now[1]) // 1000, int(float(ends)), int(length_ms or 0))


def info_of(run_id: str, values: Sequence[bytes | None]) -> RunInfo | None:
    """A run by its `INFO_FIELDS`; None if the run does not exist. Raises ForeignRecordError."""
    if values[0] is None:
        return None
    try:
        return _info_of(run_id, dict(zip(INFO_FIELDS, map(text, values), strict=True)))
    except (ValueError, UnicodeDecodeError) as error:
        raise ForeignRecordError(
            f"run {run_id}: its hash is damaged, or not written by playhead ({error}). "
            f"`playhead doctor {run_id}` prints what is wrong."
        ) from error


def _info_of(run_id: str, field: Mapping[str, str]) -> RunInfo:
    if field["state"] not in get_args(RunStateName):
        raise ValueError(f"a run has no state {field['state']!r}")
    return RunInfo(
        run_id=run_id,
        state=cast("RunStateName", field["state"]),
        agent=field["agent"],
        session=field["session"] or None,
        head=int(field["head"] or 0),
        epoch=int(field["epoch"] or 0),
        crashes=int(field["crashes"] or 0),
        created=int(float(field["created"] or 0)),
        updated=int(float(field["updated"] or 0)),
        worker=field["worker"] or None,
        handovers=int(field["handovers"] or 0),
        errors=int(field["errors"] or 0),
        deadline=int(float(field["deadline"])) if field["deadline"] else None,
        metadata=_metadata_of(field["metadata"]),
        due=int(float(field["due"])) if field["due"] and field["state"] == "queued" else None,
    )


def _metadata_of(stored: str) -> Metadata:
    found = json.loads(stored or "{}")
    if not isinstance(found, dict):
        raise ValueError(f"its metadata is {stored!r:.80}")
    return cast("Metadata", found)
