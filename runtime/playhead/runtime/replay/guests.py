"""Verifies a recorded run of a guest: it runs again from its top over the log, offline, and what it does else is named."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Final, cast

import anyio

from playhead.runtime.core.errors import AgentStuckError, OverrideRefusedError, RequestNotFoundError
from playhead.runtime.core.failures import failure
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    ModelRetried,
    Record,
    RunFailed,
    RunPaused,
    SignalReceived,
    StepFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.host.asked import Asked
from playhead.runtime.host.guest import Guest
from playhead.runtime.host.host import Host
from playhead.runtime.host.offline import Finding, OfflineRecorder, Watch, named
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.runner import Opening
from playhead.runtime.replay.differences import Change, Difference, place_of, tool_changes
from playhead.runtime.replay.playback import is_of_the_log
from playhead.runtime.stacks import is_own

__all__ = ["PATIENCE_S", "difference_of_guest", "request_of_guest"]

PATIENCE_S: Final = 30.0
"""How long a guest may take from one record to the next: nothing is waited for, so only its own work takes time."""

_LOOK_S: Final = 1.0


async def difference_of_guest(
    guest: Guest, entries: Sequence[Entry], *, run_id: str, said: StoredMessages, ignore: Collection[str]
) -> tuple[Difference | None, Sequence[str]]:
    """The first record of a run that differs from what a guest does today, None if none does, and what is not compared.

    Args:
        guest: The guest of today.
        entries: The records of the run, all of them.
        run_id: The run.
        said: The messages of its session that it began from.
        ignore: The kinds of changes that are not told.

    Raises:
        AgentStuckError: If the guest does not go on.
    """
    rehearsal = _Rehearsal(guest, entries, run_id, said, frozenset(ignore))
    return await rehearsal.difference(), rehearsal.notes


async def request_of_guest(
    guest: Guest, entries: Sequence[Entry], *, run_id: str, said: StoredMessages, seq: int
) -> Asked:
    """What a guest of today asks in the model call of record `seq`. It runs again offline; the other arguments are those of
    `difference_of_guest`.

    Raises:
        RequestNotFoundError: If it does not come to that call.
        AgentStuckError: If the guest does not go on.
    """
    rehearsal = _Rehearsal(guest, list(_until_withdrawn(entries, seq)), run_id, said, frozenset(), wanted=seq)
    difference = await rehearsal.difference()
    if (request := rehearsal.request) is not None:
        return request
    why = "it is made in a call of which the log has the result" if difference is None else difference.text
    raise RequestNotFoundError(f"run {run_id}: run again, the agent does not come to the call of record {seq}: {why}")


def _until_withdrawn(entries: Sequence[Entry], seq: int) -> Iterator[Entry]:
    """The records up to where the call of record `seq` was withdrawn, because from there on it was never made."""
    for entry in entries:
        if isinstance(entry.record, ModelRetried) and entry.record.supersedes[0] <= seq <= entry.record.supersedes[1]:
            return
        yield entry


class _Rehearsal:
    """One execution of a guest over a log."""

    def __init__(
        self,
        guest: Guest,
        entries: Sequence[Entry],
        run_id: str,
        said: StoredMessages,
        ignore: frozenset[str],
        *,
        wanted: int = 0,
    ) -> None:
        self._guest = guest
        self._run_id = run_id
        self._ignore = ignore
        last = entries[-1]
        self._entries = entries
        self._end = last if last.record.type in TERMINAL_TYPES else None
        self._watch = Watch(
            guest.steady,
            self._is_ignored,
            ended=self._end is not None and not is_of_the_log(self._end.record),
            questions=_questions(entries),
            wanted=wanted,
        )
        given = _given(entries)
        keys = (one.record.effect_key for one in entries if isinstance(one.record, ToolStarted) and one.record.lane)
        own_id = next(keys, run_id).partition("/")[0]  # an import may have another one
        opening = Opening(
            run_id=own_id,
            epoch=last.epoch,
            entries=given,
            head=given[-1].seq,
            said=said,
            control=Control(),
            ownership=Ownership(run_id),
        )
        self._host = Host(guest, opening, recorder=partial(OfflineRecorder, watch=self._watch))

    @cached_property
    def _places(self) -> Mapping[str, str]:
        """`file:line` of the guest's function under an empty name, and of its tools by theirs."""
        with suppress(Exception):  # of a factory that fails: the run's end then tells it
            return {name: place_of(source) for name, source in self._guest.sources.items() if source is not None}
        return {}

    @property
    def notes(self) -> Sequence[str]:
        """What could not be compared."""
        return self._watch.notes

    @property
    def request(self) -> Asked | None:
        """The request that was wanted."""
        return self._watch.request

    async def difference(self) -> Difference | None:
        """Run it and compare its end."""
        try:
            self._guest.check_options(self._entries[0].record)
            ended = await self._ended()
        except OverrideRefusedError as error:
            ended = failure(error)
        found = [*self._watch.found, *self._at_end(ended)]
        placed = [(self._place(one), one) for one in found]
        kept = [(entry, one) for entry, one in placed if entry is not None]
        if not kept:
            return None
        entry, finding = min(kept, key=lambda pair: pair[0].seq)
        changes = tuple(one for one in self._changes(entry, finding) if one.kind not in self._ignore)
        return Difference(self._run_id, entry.seq, entry.epoch, entry.record.type, changes) if changes else None

    async def _ended(self) -> Record | None:
        """The last record that the guest gives; None if it stops before."""
        ended: Record | None = None
        stuck = False

        async def watch() -> None:
            nonlocal stuck
            moves, waited = -1, 0.0
            while waited < PATIENCE_S:
                waited = waited + _LOOK_S if moves == self._watch.moves else 0.0
                moves = self._watch.moves
                await anyio.sleep(min(_LOOK_S, PATIENCE_S))
            stuck = True
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            with _quiet():
                async with aclosing(self._host.records()) as items:
                    async for item in items:
                        ended = cast("Record", item)
            tasks.cancel_scope.cancel()
        if stuck:
            raise AgentStuckError(self._stuck())
        return ended

    def _stuck(self) -> str:
        left = self._host.course.first()
        where = "after the last record" if left is None else f"before record {left.seq}, {left.record.type}"
        return (
            f"run {self._run_id}: {where} the agent {self._guest.name} has not gone on for {PATIENCE_S:g} s: it blocks, "
            "or waits for something that is not in the log"
        )

    def _at_end(self, ended: Record | None) -> Iterator[Finding]:
        """What is found once the guest has ended or stopped."""
        left = self._host.course.first()
        cancelled = ended is not None and ended.type == "run.cancelled"
        if ended is not None and left is not None and not cancelled:
            yield self._end_before(left, ended)
        elif ended is not None and self._end is not None and not self._ends_so(self._end.record, ended):
            yield Finding("record", self._end, f"ends with {named(ended)}", ended)
        parted = [one for one in self._watch.found if one.about == "record" and one.entry is not None]
        if left is not None and any(one.entry is not None and left.seq < one.entry.seq for one in parted):
            yield replace(parted[0], about="beyond", entry=left, now=None)
        if ended is not None or self._watch.found:
            yield from self._unasked()

    def _end_before(self, left: Entry, ended: Record) -> Finding:
        """The guest has ended, and the log goes on."""
        if not isinstance(ended, RunFailed):
            return Finding("beyond", left, "ends")
        frames = traceback.extract_tb(None if self._host.error is None else self._host.error.__traceback__)
        own = [frame for frame in frames if is_own(frame.filename)]
        where = f"{own[-1].filename}:{own[-1].lineno}" if own else ""
        return Finding("beyond", left, f"fails with {ended.error_type}: {ended.message}", where=where)

    def _unasked(self) -> Iterator[Finding]:
        """The questions that the guest has not asked; and what it asks in the place of the first."""
        others = [one for one in self._watch.found if one.about == "beyond" and one.does.startswith("asks")]
        calls = [one.record for one in self._entries if isinstance(one.record, ToolInterrupted)]
        known = {*self._watch.asked, *(question for call in calls for question in _ids(call))}
        for entry in self._entries:
            if not isinstance(entry.record, RunPaused):
                continue
            for one in entry.record.interrupts:
                if one["id"] not in known:
                    other = others[0] if others else Finding("question", None, f"does not ask {one['name']!r}")
                    yield replace(other, about="question", entry=entry)

    def _ends_so(self, recorded: Record, now: Record) -> bool:
        """Whether this end is the recorded one, or the log had ended the run itself."""
        return is_of_the_log(recorded) or self._watch.same(_essence(recorded), _essence(now))

    def _place(self, finding: Finding) -> Entry | None:
        """The record in whose place a finding is; None if it is only what the log has not yet."""
        if finding.entry is not None:
            return finding.entry
        if finding.about == "question":
            asked = finding.now["id"]
            paused = (one for one in self._entries if isinstance(one.record, RunPaused | ToolInterrupted))
            return next((one for one in paused if asked in _ids(one.record)), None)
        last = self._entries[-1]
        if self._end is not None:
            return None if is_of_the_log(last.record) else last
        pauses_again = isinstance(finding.now, dict) and "reason" in finding.now
        return last if isinstance(last.record, RunPaused) and not pauses_again else None

    def _is_ignored(self, finding: Finding) -> bool:
        if not self._ignore or finding.entry is None:
            return False
        return all(one.kind in self._ignore for one in self._changes(finding.entry, finding))

    def _changes(self, entry: Entry, finding: Finding) -> Iterator[Change]:
        recorded, where = entry.record, finding.where or self._where(entry.record)
        if finding.about == "request":
            yield from self._request_changes(entry, finding.now)
            return
        kind, now = _kind(recorded, finding), finding.now
        before: Any = self._shown(recorded)
        if finding.about == "call":
            use = dict(recorded)["tool_use"]
            what = f"the call of {use['name']} that is made"
            yield Change(kind, what, _call(use), _call(now), where)
        elif finding.about == "given":
            what = f"the result of {dict(recorded)['name']}, which runs again"
            yield Change(kind, what, dict(recorded)["result"], now, where)
        elif finding.about == "question":
            asked = dict(recorded)["interrupts"]
            same = [one for one in asked if now is not None and one["id"] == now["id"]]
            yield Change(kind, f"the agent {finding.does}", (same or asked)[0], now, where)
        elif isinstance(now, Record) and type(now) is type(recorded):
            after = self._shown(now)
            differing = [
                name for name in {**before, **after} if not self._watch.same(before.get(name), after.get(name))
            ]
            only = differing[0] if len(differing) == 1 else None
            what = f"{', '.join(differing)} of {named(recorded)}"
            yield Change(kind, what, before.get(only) if only else before, after.get(only) if only else after, where)
        else:
            what = f"{named(recorded)} was recorded, and now the agent {finding.does}"
            yield Change(kind, what, before, self._shown(now) if isinstance(now, Record) else now, where)

    def _request_changes(self, entry: Entry, asked: Asked) -> Iterator[Change]:
        told, agent = self._host.course.told, self._places.get("", "")
        for name, digest in asked.differing(dict(entry.record)["request"]).items():
            before, now = told.get(digest), asked.parts.get(name)
            if name == "tool_specs" and (before is None or now is None or isinstance(before, list)):
                yield from tool_changes(cast("list[Any]", before or []), now or [], self._places)
            elif name == "messages":
                what = "the messages that are sent, of which the log has a digest; the last one now"
                yield Change("history", what, None, now[-1] if isinstance(now, list) and now else now, agent)
            else:
                kind, what = _PARTS.get(name, ("request", f"the {name} of the request"))
                yield Change(kind, what, before, now, agent)

    def _shown(self, record: Record) -> dict[str, Any]:
        return cast("dict[str, Any]", self._watch.steady(_told(record)))

    def _where(self, recorded: Record) -> str:
        fields = dict(recorded)
        name = fields.get("name") or (fields.get("tool_use") or {}).get("name")
        return self._places.get(name or "") or self._places.get("", "")


_PARTS: Final = {
    "": ("request", "what the model is asked"),
    "instructions": ("system_prompt", "the instructions"),
    "system": ("system_prompt", "the system prompt"),
    "system_prompt": ("system_prompt", "the system prompt"),
    "tool_choice": ("tool_choice", "the tool choice"),
    "tools": ("tools", "the tools that are offered"),
}

_KINDS: Final = {
    "message.added": "message",
    "event.emitted": "event",
    "step.finished": "step",
    "run.completed": "result",
    "run.cancelled": "result",
    "run.failed": "failure",
    "run.paused": "question",
}


@contextmanager
def _quiet() -> Generator[None]:
    """Without what OpenTelemetry logs where a guest is stopped within a span: generators then end in another context."""
    logger = logging.getLogger("opentelemetry.context")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _kind(recorded: Record, finding: Finding) -> str:
    if finding.about in ("call", "given"):
        return "tool_call" if finding.about == "call" else "tool_result"
    if finding.about == "question" or finding.does.startswith("asks"):
        return "question"
    now = finding.now
    types = {recorded.type, now.type if isinstance(now, Record) else ""}
    if types & {"tool.started", "tool.finished"} and types & {"event.emitted", "tool.interrupted"}:
        return "hook"  # that cancels a call or asks about it, or no longer does
    if "the tool call" in finding.does or recorded.type.startswith("tool."):
        return "tool_call"
    if "the step" in finding.does or isinstance(now, StepFinished):
        return "step"
    return _KINDS.get(recorded.type, "record")


def _ids(record: Record) -> list[str]:
    return [one["id"] for one in dict(record)["interrupts"]]


def _given(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The records that the guest gets: without the end, and without signals before it that came too late for the guest."""
    end = entries[-1].record.type
    if end not in TERMINAL_TYPES:
        return entries
    last = len(entries) - 1
    while end != "run.cancelled" and isinstance(entries[last - 1].record, SignalReceived):
        last -= 1
    return entries[:last]


def _questions(entries: Sequence[Entry]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if isinstance(entry.record, RunPaused):
            for one in entry.record.interrupts:
                found.setdefault(one["id"], []).append(one)
    return found


def _call(use: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": use["name"], "input": use["input"]}


def _essence(record: Record) -> dict[str, Any]:
    """A terminal record without its time, and what is counted."""
    kept = {key: value for key, value in dict(record).items() if key not in ("v", "at", "trace")}
    if isinstance(kept.get("result"), dict):
        kept["result"] = {key: value for key, value in kept["result"].items() if key != "metrics"}
    return {**kept, "type": record.type}


_UNTOLD: Final = (
    "v",
    "at",
    "type",
    "trace",
    "effect_key",
    "index",
    "attempt",
    "continues",
    "request",
    "told",
    "lane",
    "memory",
    "duration_ms",
)


def _told(record: Record) -> dict[str, Any]:
    """What a person needs of a record to see what differs."""
    return {
        key: value for key, value in _essence(record).items() if key not in _UNTOLD and value not in (None, "", {}, [])
    }
