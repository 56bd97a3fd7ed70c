"""Checks that viewers saw exactly the log, across leaving and rejoining. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Any, Final

from chaos.check_model import model_calls
from chaos.evidence import Evidence, View, Violation
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.records import TERMINAL_TYPES, Entry, RunFailed

__all__ = ["check_views", "left_at", "left_standing", "made_again", "seen_event", "seen_record"]

_BEGINS_ANEW: Final = {"run.claimed", "signal.received", *TERMINAL_TYPES}
"""How a log continues after a failover lost its end and the owner did not send that again: with a claim, or with a
record written without an owner."""

_WITHOUT_OWNER: Final = 2
"""The largest number of records written without an owner: a signal, and the end that it causes."""


def seen_record(entry: Entry) -> tuple[str, str]:
    """The note that a view of records makes of one."""
    return f"{entry.seq}-{entry.epoch}", _digest(encode_record(entry.record, limit=1 << 30))


def seen_event(event: Event) -> tuple[str, str]:
    """The note that a view of events makes of one."""
    return event.cursor, _digest(event.to_json().encode())


def left_standing(lines: Sequence[Any]) -> tuple[list[Any], list[list[Any]]]:
    """The notes of a view that still count, and those that it discarded at each rewind."""
    kept: list[Any] = []
    forgotten: list[list[Any]] = []
    for line in lines:
        if line[0] == "saw":
            kept.append(line)
        elif line[0] == "rewind":
            forgotten.append([one for one in kept if _seq(one[1]) > line[1]])
            kept = [one for one in kept if _seq(one[1]) <= line[1]]
    return kept, forgotten


def left_at(lines: Sequence[Any]) -> dict[int, bool]:
    """How many of the notes that still count the view had each time it left, and whether it had seen the end."""
    seen, found = 0, dict[int, bool]()
    for number, line in enumerate(lines):
        if line[0] == "saw":
            seen += 1
        elif line[0] == "rewind":
            seen = len(left_standing(lines[: number + 1])[0])
            found = {count: ended for count, ended in found.items() if count <= seen}
        elif line[0] in ("join", "end"):
            found[seen] = found.get(seen, False) or line[0] == "end"
    return found


def made_again(evidence: Evidence, view: View) -> set[int]:
    """Indexes in `view.seen` of records that a failover lost and that others replaced under the same owner's number.

    A view that has left meanwhile cannot notice, because its cursor names only both numbers. So these records must
    extend to the position where it left. An open view compares the bytes, and an owner sends the same bytes again: so
    either the log continues there without that owner, or the lost records are an end written without an owner.
    """
    if not evidence.fails_over or view.what != "records":
        return set()
    log = {seen_record(entry)[0]: entry for entry in evidence.entries}
    found, block = set[int](), list[int]()
    for index, (place, digest) in enumerate(view.seen):
        entry = log.get(place)
        if entry is None or seen_record(entry)[1] == digest:
            block = []
            continue
        block.append(index)
        if (ended := view.left_at.get(index + 1)) is None:
            continue
        anew = log[view.seen[block[0]][0]].record.type in _BEGINS_ANEW
        if anew or (ended and len(block) <= _WITHOUT_OWNER):
            found |= set(block)
    return found


def _seq(place: str) -> int:
    return int(place.partition("-")[0].partition(".")[0])


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=6).hexdigest()


def check_views(evidence: Evidence) -> list[Violation]:
    """Check that every view equals the log: each record or event once, in order, with the same bytes; and that it ended like the run."""
    projection = Projection(evidence.plan.run)
    events = [event for entry in evidence.entries for event in projection.feed(entry)]
    wanted = {
        "records": [seen_record(entry) for entry in evidence.entries],
        "events": [seen_event(event) for event in events],
    }
    last = evidence.entries[-1].record if evidence.entries else None
    failure = last.error_type if isinstance(last, RunFailed) else None
    found = _folded(evidence, events)
    for view in evidence.views:
        found += _compare(evidence.plan.run, view, wanted[view.what], made_again(evidence, view))
        found += _rewound(evidence.plan.run, view, wanted[view.what])
        if view.error is not None:
            found.append(Violation("reader", evidence.plan.run, None, f"{view.name}: {view.error}"))
        elif view.what == "events" and view.failed != failure:
            what = f"{view.name}: ended with {view.failed}, the run with {failure}"
            found.append(Violation("reader", evidence.plan.run, None, what))
    return found


def _compare(run: str, view: View, wanted: Sequence[tuple[str, str]], excused: Collection[int]) -> list[Violation]:
    there = dict(wanted)
    seen = [(place, there[place] if n in excused else digest) for n, (place, digest) in enumerate(view.seen)]
    if seen == list(wanted):
        return []
    places = [place for place, _ in seen]

    def flaw(kind: str, place: str, what: str) -> Violation:
        return Violation(kind, run, _seq(place), f"{view.name}: {what}")

    found = [flaw("duplicate", place, f"saw {place} twice") for place, n in Counter(places).items() if n > 1]
    found += [flaw("gap", place, f"did not see {place}") for place, _ in wanted if place not in set(places)]
    for place, digest in seen:
        if place not in there:
            found.append(flaw("unlogged", place, f"saw {place}, which is not in the log"))
        elif there[place] != digest:
            found.append(flaw("unlogged", place, f"saw other bytes at {place} than the log has"))
    if not found:
        at = next(i for i, (a, b) in enumerate(zip(seen, wanted, strict=True)) if a != b)
        found.append(flaw("order", places[at], f"saw {places[at]} instead of {wanted[at][0]}"))
    return found


def _rewound(run: str, view: View, wanted: Sequence[tuple[str, str]]) -> list[Violation]:
    """A rewind is correct only if the log differs from what was seen; a view of events may miss the difference."""
    if view.what == "events":
        return []
    groups = [group for group in view.forgotten if group and set(group) <= set(wanted)]
    what = f"{view.name}: had to discard what the log still has"
    return [Violation("reader", run, _seq(group[0][0]), what) for group in groups]


def _folded(evidence: Evidence, events: Sequence[Event]) -> list[Violation]:
    """Check that a folding client shows the text of the calls that are not retracted, and no other."""
    pieces: list[tuple[int, str]] = []
    found: list[Violation] = []
    for event in events:
        if "data" in event:
            pieces.append((event.seq, event["data"]))
        elif event.get("retracted"):
            first, last = event["from_seq"], event["to_seq"]
            taken = "".join(text for seq, text in pieces if first <= seq <= last)
            if taken != event["text"]:
                what = f"retracts {_short(event['text'])}, but the text there is {_short(taken)}"
                found.append(Violation("text", evidence.plan.run, event.seq, what))
            pieces = [(seq, text) for seq, text in pieces if not first <= seq <= last]
    calls = model_calls(evidence.entries)
    # A call without a message may keep its text only if it is the last: the run was cancelled or failed in it.
    stand = [call for call in calls if call.retracted is None and (call.message is not None or call is calls[-1])]
    standing = [piece for call in stand for piece in call.chunks]
    if pieces != standing:
        extra = next((piece for piece in pieces if piece not in standing), (None, "less text"))
        what = f"a folding client shows {_short(extra[1])}, which is of no call that is not retracted"
        found.append(Violation("text", evidence.plan.run, extra[0], what))
    messages = [(call.message, call.text) for call in calls if call.retracted is None]
    other = [message.seq for message, text in messages if message is not None and text != _text(message)]
    return [
        *found,
        *(Violation("text", evidence.plan.run, seq, "the message is not what was streamed") for seq in other),
    ]


def _text(entry: Entry) -> str:
    message: Any = getattr(entry.record, "message", {})
    return "".join(block.get("text", "") for block in message.get("content", []))


def _short(text: str) -> str:
    return repr(text if len(text) < 40 else f"{text[:37]}…")
