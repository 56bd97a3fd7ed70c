"""What Redis' replies mean: segments, signals, runs and workers, out of what the server sends. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, Final, cast

from playhead.runtime.core.codec import decode_batch, decode_stored, unpack
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.records import RunStateName
from playhead.runtime.core.segments import Segment, Stored, segments
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.values import RunInfo, WorkerInfo, WriteResult, WriteStatus

__all__ = ["INFO_FIELDS", "answers", "info_of", "messages_of", "segments_of", "signal_of", "text", "worker_of"]

INFO_FIELDS: Final = (
    *("state", "agent", "session", "head", "epoch", "crashes", "created", "updated", "worker"),
    *("handovers", "errors", "deadline"),
)
"""The fields of a run's hash that `info_of` takes, in its order."""

_CODES: Final = tuple(WriteStatus)

Items = Sequence[tuple[bytes, Sequence[bytes]]]
"""Entries of a stream as `XRANGE` gives them: the id; then the names of its fields and their values, by turns."""


def text(value: Any) -> str:
    """A reply as text; what is not there is empty."""
    return value.decode() if isinstance(value, bytes) else str(value or "")


def answers(flat: Sequence[int]) -> list[WriteResult]:
    """The answers of `append`, three numbers each."""
    return [WriteResult(_CODES[flat[i]], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]


def segments_of(log: str, items: Items) -> list[Segment]:
    """The records of a page of `log`, by owner.

    Raises:
        ForeignRecordError: One of the entries was not written by playhead; the text names it.
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


def _stored(log: str, items: Items) -> list[Stored]:
    stored = [pair[1] for _, pair in items if len(pair) == 2 and pair[0] == b"r"]
    if len(stored) == len(items):
        # In one call, which takes two thirds of the time. Entries that make up for each other, one that holds two records
        # beside one that is empty, pass: no call of playhead makes them. Which entry is damaged is told below.
        with suppress(ForeignRecordError):
            return decode_batch(b"".join(stored), len(stored))
    return [_stored_one(log, entry_id, pairs) for entry_id, pairs in items]


def _stored_one(log: str, entry_id: bytes, pairs: Sequence[bytes]) -> Stored:
    if len(pairs) != 2 or pairs[0] != b"r":
        raise ForeignRecordError(
            f"stream {log}, entry {text(entry_id)}: not written by playhead (fields {sorted(map(text, pairs[::2]))}). "
            "Something else writes to this key; give playhead a prefix of its own."
        )
    try:
        return decode_stored(pairs[1])
    except ForeignRecordError as error:
        raise ForeignRecordError(f"stream {log}, entry {text(entry_id)}: {error}") from error


def _place(entry_id: bytes) -> tuple[int, int]:
    seq, _, epoch = entry_id.partition(b"-")
    return int(seq), int(epoch)


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
    """The fields that this version knows: what a newer one adds is passed over."""
    return {field.name: given[field.name] for field in fields(kind) if field.name in given}


def info_of(run_id: str, values: Sequence[bytes | None]) -> RunInfo | None:
    """A run by its `INFO_FIELDS`; None if there is none."""
    if values[0] is None:
        return None
    state, agent, session, head, epoch, crashes, created, updated, worker, *more = map(text, values)
    handovers, errors, deadline = more
    return RunInfo(
        run_id=run_id,
        state=cast("RunStateName", state),
        agent=agent,
        session=session or None,
        head=int(head or 0),
        epoch=int(epoch or 0),
        crashes=int(crashes or 0),
        created=int(float(created or 0)),
        updated=int(float(updated or 0)),
        worker=worker or None,
        handovers=int(handovers or 0),
        errors=int(errors or 0),
        deadline=int(float(deadline)) if deadline else None,
    )
