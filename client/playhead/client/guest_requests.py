"""Reads what a guest asked a model: as far as the log has it, or whole by running the guest again offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from playhead.client.requests import calls_told, session_messages
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import RequestNotFoundError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.model_input import for_model
from playhead.runtime.core.records import Entry, ModelStarted, StepFinished
from playhead.runtime.core.requests import began_from
from playhead.runtime.host.asked import Asked, digests_in
from playhead.runtime.host.forms import digest
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.reading import read_all
from playhead.runtime.log.values import RunInfo

if TYPE_CHECKING:
    from playhead.runtime.agent.serving import Servable

__all__ = ["GuestRequest", "guest_request"]

_MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class GuestRequest:
    """What a guest asked a model in one call.

    Attributes:
        run_id: The run.
        seq: The number of the record: the `model.started` of the call, or the `step.finished` of one that readers do not see.
        call: The key of the call in the log, such as `/model:1`.
        parts: What is known of it, by the names that the guest gave its parts; what has no name has an empty one.
        not_stored: The parts of which the log has a digest only. They are known if the guest was run again.
        differs: The parts that the guest of today asks otherwise than the run did, if it was run again.
    """

    run_id: str
    seq: int
    call: str
    parts: Mapping[str, Any]
    not_stored: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()


async def guest_request(log: LogReader, run: RunInfo, seq: int, *, agent: Servable | None) -> GuestRequest:
    """What a guest asked in the model call of record `seq`; raises as `RunReader.guest_request`.

    The records are read, and held as long.
    """
    entries = await read_all(log, run.run_id, head=min(max(seq, 0), run.head))
    called = entries[seq - 1].record if 0 < seq <= len(entries) else None
    if not isinstance(called, ModelStarted | StepFinished) or not _of_a_guest(called):
        raise RequestNotFoundError(await calls_told(log, run, seq))
    call = called.lane if isinstance(called, ModelStarted) else called.key
    digests = digests_in(called.request) or {"": ""}
    if agent is not None:
        asked = await _asked_again(log, run.run_id, seq, agent)
        return GuestRequest(run.run_id, seq, call, asked.parts, differs=tuple(asked.differing(called.request)))
    known = _told(entries)
    parts = {name: known[one] for name, one in digests.items() if one in known}
    if isinstance(called, ModelStarted) and _MESSAGES in digests:
        said = await _history(log, run, entries)
        same = [one for one in _sent(entries[:-1], said) if digest(one) == digests[_MESSAGES]]
        if same:
            parts[_MESSAGES] = same[0]
    return GuestRequest(run.run_id, seq, call, parts, tuple(name for name in digests if name not in parts))


def _of_a_guest(record: ModelStarted | StepFinished) -> bool:
    """Whether it is of a model call of a guest."""
    return bool(record.lane if isinstance(record, ModelStarted) else record.request)


def _told(entries: Sequence[Entry]) -> dict[str, Any]:
    """By digest, what the log has of the requests of its model calls."""
    told: dict[str, Any] = {}
    for entry in entries:
        if isinstance(entry.record, ModelStarted | StepFinished):
            told |= entry.record.told
    return told


def _sent(before: Sequence[Entry], said: Sequence[Message]) -> Iterator[list[Any]]:
    """The messages that an agent sends if it sends the conversation; which of the forms is known by the digest."""
    messages = fold(before, history=said).messages
    yield [{"role": one.get("role"), "content": one.get("content")} for one in messages]
    yield for_model(messages)


async def _history(log: LogReader, run: RunInfo, entries: Sequence[Entry]) -> list[Message]:
    try:
        return await session_messages(log, run, began_from(entries))
    except RequestNotFoundError:  # then no digest is that of what is left
        return []


async def _asked_again(log: LogReader, run_id: str, seq: int, agent: Servable) -> Asked:
    """What the guest of today asks there: it runs again offline."""
    from playhead.runtime.agent.serving import served_of  # agents are needed here only
    from playhead.runtime.host.guest import Guest
    from playhead.runtime.replay.guests import request_of_guest
    from playhead.runtime.replay.past import Past
    from playhead.runtime.replay.recording import LogRecording

    guest = served_of(cast("Any", agent))
    if not isinstance(guest, Guest):
        raise TypeError(f"{guest.name} is an agent of playhead's own, whose requests the log has: give a guest")
    said, entries = await Past(LogRecording(log, run_id)).whole()
    return await request_of_guest(guest, entries, run_id=run_id, said=said, seq=seq)
