"""A guest is run again offline: it gets what the log has, and where the log ends it stops, and what it would do is told."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from playhead.runtime.core.converse import Chunk, ToolUse
from playhead.runtime.core.errors import DivergedError
from playhead.runtime.core.records import (
    Entry,
    ModelStarted,
    Record,
    SignalReceived,
    StepFinished,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.host.asked import Asked
from playhead.runtime.host.course import RecordedTool
from playhead.runtime.host.pipe import HandOver, Item, Raised, Store
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.stacks import is_own

__all__ = ["Finding", "OfflineRecorder", "Watch", "named"]

About = Literal["record", "beyond", "request", "call", "question", "given"]


_CUT_OFF: Final = "what followed the cancel is not compared, because the log does not have all that it broke off"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the guest does otherwise than the log has it.

    Attributes:
        about: `record`: it gives another record. `beyond`: it does what the log does not have. `request`: it asks a model
            something else. `call`: it calls a tool with something else. `question`: it asks a human something else. `given`:
            a call that is made again gives something else.
        entry: The record of the log in whose place it is; None after the last one.
        does: What it does, in words.
        now: The record that it would write, or the value that it has in place of the recorded one.
        where: `file:line` of its code; empty if that is not known.
    """

    about: About
    entry: Entry | None
    does: str
    now: Any = None
    where: str = ""


@dataclass(slots=True)
class Watch:
    """What is found while a guest runs again.

    Attributes:
        steady: A value without what is made up in each execution.
        ignores: Whether a finding is not to be told; the guest then goes on from what was recorded, if it can.
        ended: Whether the guest itself had come to its end.
        questions: By its id, the forms in which the log has a question.
        wanted: The number of the record of a model call whose request is to be kept; 0 for none.
        request: That request, once the guest has come to it.
        found: The findings, in the order in which they were found.
        asked: The ids of the questions that the guest came to.
        notes: What could not be compared, and why.
        moves: How often the guest went on.
    """

    steady: Callable[[Any], Any]
    ignores: Callable[[Finding], bool]
    ended: bool
    questions: Mapping[str, Sequence[Mapping[str, Any]]]
    wanted: int = 0
    request: Asked | None = None
    found: list[Finding] = field(default_factory=list[Finding])
    asked: Counter[str] = field(default_factory=Counter[str])
    notes: list[str] = field(default_factory=list[str])
    moves: int = 0

    def tell(self, finding: Finding) -> bool:
        """Keep a finding, unless it is ignored; whether it is kept."""
        kept = not self.ignores(finding)
        if kept:
            self.found.append(finding)
        return kept

    def same(self, recorded: Any, now: Any) -> bool:
        """Whether two values are the same but for what is made up in each execution."""
        return self.steady(recorded) == self.steady(now)


class OfflineRecorder(Recorder):
    """Gives the guest what the log has and lets nothing begin that it has not; nothing is written.

    When the guest stands still before such a thing, and no answer of the log is due, its host hands the run over.
    """

    offline = True

    def __init__(self, *args: Any, watch: Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self.watch: Watch = watch
        self._beyond: dict[asyncio.Future[None], Finding] = {}  # what waits for the end of the log
        self._unplaced: list[Finding] = []  # what would be written, and has no place yet
        self._unfinished: set[str] = set()  # the lanes of calls that the log does not end
        self._asked_at: dict[str, str] = {}
        self._stuck = False

    @property
    def enters_again(self) -> bool:
        """Yes, to find what differs there, unless a cancel may have broken it off."""
        return not self.cancelled and not self.course.signalled

    # What would be written.

    def put(self, record: Record) -> None:
        """Note a record that the log does not have."""
        if self._over:
            return  # of a call that the end of this execution cuts off
        if self.cancelled and isinstance(record, ModelStarted | StepFinished):
            return  # of an answer that the cancel broke off: it ends when it is collected as garbage
        finding = Finding("beyond", self.course.first(), f"writes {named(record)}", record, self._where())
        if isinstance(record, StepFinished):
            self.watch.tell(finding)
        else:  # what works beside this may not have come to its next record yet
            self._unplaced.append(finding)
            self._note()

    def put_chunk(self, chunk: Chunk) -> None:
        """Nothing: no model is called."""

    def _send(self, item: Item) -> None:
        if not isinstance(item, HandOver | Raised | Store):
            self.put(record_of(item))

    async def space(self) -> None:
        """There is always space."""

    async def stored(self) -> None:
        """Nothing is stored."""
        await self._stop("writes to the log")

    async def _added(self, record: Record) -> Any:
        """The guest stops at a record that the log does not have."""
        self.watch.moves += 1
        return await self._stop(f"writes {named(record)}", record)

    async def _compared(
        self, record: Record, logged: Entry, *, same: Callable[[Any], bool], part: str, stands: bool
    ) -> Any:
        """The record of the log; the guest stops at one that differs, and what looks for differences is told of it."""
        del part, stands
        self.watch.moves += 1

        def wholly(one: Any) -> bool:
            return same(one) and self.watch.same(_said(one), _said(record))

        alike = type(logged.record) is type(record)
        if alike and wholly(logged.record):
            return logged.record
        if alike and (retold := self.course.retold(logged, wholly)) is not None:
            return retold.record
        if self.cancelled and getattr(record, "lane", ""):
            await self._loses_track()
        kept = self.watch.tell(Finding("record", logged, f"writes {named(record)}", record, self._where()))
        if kept or not alike:
            await self._never()
        return logged.record

    async def fail(self, error: BaseException) -> None:
        """The guest has diverged: it stops."""
        if self.cancelled:
            await self._loses_track()
        if isinstance(error, DivergedError) and error.logged is not None:
            self.watch.tell(Finding("record", error.logged, error.did, where=self._where()))
        await self._never()

    def check_end(self) -> None:
        """What is left is found by the one that looks for differences."""

    # What it asks for.

    def requested(self, key: str, logged: Entry, asked: Asked) -> None:
        """Note a request of a model that differs, and keep the one that is wanted."""
        self.watch.moves += 1
        if logged.seq == self.watch.wanted:
            self.watch.request = asked
        if asked.differing(cast("ModelStarted | StepFinished", logged.record).request):
            self.watch.tell(Finding("request", logged, f"asks something else in the {key.lstrip('/')}", asked))

    def called(self, past: RecordedTool, tool_use: ToolUse) -> None:
        """Note a call that has something else than the recorded one."""
        self.watch.moves += 1
        if past.begins is None:
            return
        lane = cast("ToolStarted", past.begins.record).lane
        if past.finished is None:
            self._unfinished.add(lane)
        use = cast("ToolStarted", past.begins.record).tool_use
        if not self.watch.same((use["name"], use["input"]), (tool_use["name"], tool_use["input"])):
            self.watch.tell(Finding("call", past.begins, f"calls {tool_use['name']}", tool_use, self._where()))

    def gave(self, finished: Entry, result: Any) -> None:
        """Note a result of a call that is made again which differs."""
        if not self.watch.same(cast("ToolFinished", finished.record).result, result):
            self.watch.tell(Finding("given", finished, "gives another result", result))

    async def in_turn(self, seq: int) -> None:
        """Wait until the answer of this record is due."""
        self.watch.moves += 1
        await super().in_turn(seq)

    async def goes_live(self, what: str) -> None:
        """Nothing goes live: the guest stops here, unless a cancel is in the log."""
        self._check_open()
        if self._elsewhere():
            self.watch.tell(Finding("beyond", self.course.first(), f"begins {what}", where=self._where()))
            self._stuck = True
            self._note()
            raise asyncio.CancelledError
        if not self._is_harmless:
            await self._stop(f"begins {what}")
        self._working += 1

    @property
    def _is_harmless(self) -> bool:
        """Whether nothing that begins now has an effect."""
        return self.cancelled and self.stops_at_cancel

    def _apply(self, record: SignalReceived) -> None:
        super()._apply(record)
        if self._is_harmless:
            for waiting, one in self._beyond.items():
                if one.does.startswith("begins") and not waiting.done():
                    waiting.set_result(None)

    async def ask(self, interrupt: dict[str, Any]) -> Any:
        """The recorded response to a question; the guest stops at one that has none."""
        self.watch.moves += 1
        question = interrupt["id"]
        self.watch.asked[question] += 1
        self._asked_at[question] = self._where()
        recorded = self.watch.questions.get(question, ())
        if recorded and not any(self.watch.same(one, interrupt) for one in recorded):
            self.watch.tell(Finding("question", None, f"asks {interrupt['name']!r}", interrupt, self._where()))
        return await super().ask(interrupt)

    async def sleep_until(self, until: float) -> None:
        """The log does not have the end of this wait."""
        await self._stop("waits")

    def _on_idle(self) -> bool:
        unplaced, self._unplaced = self._unplaced, []
        for one in unplaced:
            self.watch.tell(Finding(one.about, self.course.first(), one.does, one.now, one.where))
        went_on = not self._over and (self._next_answer() or self._passes_unfinished())
        if not went_on and not self._over and self._stands:
            self._give_up()
        self._noted = went_on
        self._pipe.flush()
        return went_on

    @property
    def _stands(self) -> bool:
        return bool(self._beyond or self._asked or self._stuck)

    def _passes_unfinished(self) -> bool:
        """Come to the end of a log in whose last work the guest was broken off; whether a cancel did that."""
        if not self._stands or (self.watch.ended and not self.course.signalled):
            return False
        return self.course.drop_unfinished(self._unfinished) and self._next_answer()

    def _give_up(self) -> None:
        """The guest gets no further with what the log has."""
        place = self.course.first()
        asks = any(" model" in one.does for one in self._beyond.values())
        if self.cancelled and asks and (place is None or self.course.drop_unfinished(self._unfinished)):
            self._lose_track()
        beyond = () if _CUT_OFF in self.watch.notes else self._beyond.values()
        for one in beyond:
            self.watch.tell(Finding(one.about, place, one.does, one.now, one.where))
        for question, (interrupt, _) in self._asked.items():
            where = self._asked_at.get(question, "")
            self.watch.tell(Finding("beyond", place, f"asks {interrupt['name']!r}", interrupt, where))
        self._over = True
        self._pipe.put(HandOver())

    async def _stop(self, does: str, now: Any = None) -> None:
        """Wait for the end of the log, where the guest does this. Returns only by a cancel."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._beyond[waiting] = Finding("beyond", None, does, now, self._where())
        self._note()
        try:
            await waiting
        finally:
            self._beyond.pop(waiting, None)

    async def _loses_track(self) -> None:
        """The guest stops where a cancel broke off what works side by side: the log does not have all of it."""
        self._lose_track()
        await self._never()

    def _lose_track(self) -> None:
        if _CUT_OFF not in self.watch.notes:
            self.watch.notes.append(_CUT_OFF)
        self._beyond.clear()

    async def _never(self) -> None:
        self._stuck = True
        self._note()
        await asyncio.get_running_loop().create_future()

    def _where(self) -> str:
        """`file:line` of the guest's own code that does this."""
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - the only way to it
        while frame is not None:
            if is_own(frame.f_code.co_filename):
                return f"{frame.f_code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back
        inside = getattr(self.code, "ag_frame", None)  # of a generator that has just yielded
        return f"{inside.f_code.co_filename}:{inside.f_lineno}" if inside is not None else ""


def named(record: Record) -> str:
    """The type of a record, with its article."""
    return f"{'an' if record.type[0] in 'aeiou' else 'a'} {record.type}"


def _said(record: Record) -> dict[str, Any]:
    """A record without its time."""
    return {key: value for key, value in dict(record).items() if key not in ("v", "at")}
