"""Reads the request of a recorded model call: the log as far as the call, then `request_of`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import RequestNotFoundError
from playhead.runtime.core.made import made_agent
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.records import ModelStarted, StepFinished
from playhead.runtime.core.requests import began_from, claimed_definition, request_of
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.reading import pages, read_all
from playhead.runtime.log.values import RunInfo

__all__ = ["RecordedRequest", "calls_told", "recorded_request", "session_messages"]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """The request of a model call, as it was sent.

    Attributes:
        run_id: The run.
        seq: The number of the call's `model.started`.
        definition: The digest of the definition that the run's owner used, without what the run has instead of the agent's
            own.
        model: The model's description: its class, id and parameters, without secrets.
        request: The messages, the tools, the system prompt and the tool choice.
    """

    run_id: str
    seq: int
    definition: str
    model: Mapping[str, Any]
    request: ModelRequest


async def recorded_request(log: LogReader, run: RunInfo, seq: int) -> RecordedRequest:
    """The request of the model call that begins at record `seq` of the run; raises as `RunReader.request`.

    The records up to it are read, and held as long.
    """
    entries = await read_all(log, run.run_id, head=min(max(seq, 0), run.head))
    if not 0 < seq <= run.head or not isinstance(entries[-1].record, ModelStarted):
        raise RequestNotFoundError(await calls_told(log, run, seq))
    if entries[-1].record.lane:
        raise RequestNotFoundError(
            f"run {run.run_id} is of a guest, which makes its own requests: run.guest_request({seq}) gives what is known of this one"
        )
    digest = claimed_definition(entries)
    made = None if digest else made_agent(entries)
    definition = await log.definition(run.run_id, digest) if digest else made and made.definition
    if definition is None:
        which = f"definition {digest!r}, which its owner named, is not in the log" if digest else "its owner named none"
        raise RequestNotFoundError(f"run {run.run_id}: what the model was asked is not known, because {which}")
    definition = definition.of_run(entries[0].record, seq=seq)
    session = await session_messages(log, run, began_from(entries))
    request = request_of(entries, definition=definition, session=session)
    return RecordedRequest(run.run_id, seq, made.digest if made else digest, definition.model, request)


async def calls_told(log: LogReader, run: RunInfo, seq: int) -> str:
    """That a record begins no model call whose request could be known, and which do."""
    what, calls = f"does not exist: there are {run.head}", list[int]()
    kinds: dict[str, None] = {}
    async for page in pages(log, run.run_id, head=run.head):
        for entry in page:
            if entry.seq == seq:
                what = f"is a {entry.record.type}"
            if isinstance(entry.record, ModelStarted) or (
                isinstance(entry.record, StepFinished) and entry.record.request
            ):
                calls.append(entry.seq)
                kinds[entry.record.type] = None
    found = f"they are {', '.join(map(str, calls))}" if calls else "the run has none yet"
    wanted = " or ".join(kinds or {"model.started": None})
    return f"record {seq} of run {run.run_id} {what}. Give the number of a {wanted}; {found}."


async def session_messages(log: LogReader, run: RunInfo, began: BeganFrom) -> list[Message]:
    """The messages of its session that the run began from.

    Raises:
        RequestNotFoundError: If the log no longer has all of them: the session was trimmed or deleted since.
    """
    if not began.count or run.session is None:
        return []
    said = await log.history(run.run_id, began)
    if len(said) < began.count:
        raise RequestNotFoundError(
            f"run {run.run_id} began from {began.count} messages of the session {run.session!r}, of which {len(said)} are "
            "left: the session was trimmed or deleted since"
        )
    return said
