"""Collects the evidence about each run as soon as it is over, has it checked, and keeps the evidence of broken runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from chaos.audience import Audience
from chaos.control import Control, retry_until_answered
from chaos.evidence import Begun, Evidence, Violation
from chaos.plan import Plan
from chaos.stage import PREFIX, Stage
from chaos.tally import Tally
from playhead.client import Client
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.records import Entry, RunSubmitted, now_ms
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog

__all__ = ["Collector", "read_begun"]

_PAGE: Final = 1000
_LOOKS: Final = 5


class Collector:
    """The evidence of all runs.

    Attributes:
        tally: Counts of the runs that are over.
        violations: All violations found.
        client: Connected through the load's proxy.
    """

    client: Client

    def __init__(self, stage: Stage, audience: Audience) -> None:
        self.tally = Tally()
        self.violations: list[Violation] = []
        self._stage = stage
        self._audience = audience
        self._over: dict[str, tuple[int, int]] = {}  # run → length of its log, and when it was checked, unix ms
        self._log: RedisLog

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect a client through the load's proxy, and a log directly to the server."""
        client = Client(
            self._stage.url(self._stage.load_proxy),
            prefix=PREFIX,
            on_notice=lambda notice: None,
            durability=self._stage.servers.durability,
        )
        self.client = await stack.enter_async_context(client)
        self._log = RedisLog(connect(self._stage.servers.url), prefix=PREFIX)
        stack.push_async_callback(self._log.aclose)

    async def attend(self, run_id: str, control: Control | None = None) -> None:
        """Have the run watched, and controlled, until it is over."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._audience.watch, run_id, "records")
            tasks.start_soon(self._audience.watch, run_id, "events")
            if control is not None:
                control.begin(tasks)
        for _ in range(_LOOKS):
            if await self._is_over(run_id):
                break
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._audience.watch_again, run_id, "records")
                tasks.start_soon(self._audience.watch_again, run_id, "events")
                if control is not None:
                    control.go_on(tasks)

    async def _is_over(self, run_id: str) -> bool:
        """Whether the log still has the end that the viewers saw.

        An end that a primary wrote just before it was replaced is lost. A viewer that has seen an end no longer reads,
        so it must rejoin at its cursor.
        """
        if not self._stage.servers.fails_over:
            return True
        async with self._stage.steady:
            info = await retry_until_answered(partial(self._log.info, run_id))
        end = None if info is None else f"{info.head}-{info.epoch}"
        return end is None or self._audience.place(run_id) == end

    async def evidence(self, plan: Plan, control: Control | None = None) -> Evidence:
        """All evidence about a run; counts it."""
        run_id = plan.run
        try:
            entries = await self._entries(run_id)
        except ForeignRecordError as error:
            self.violations.append(Violation("foreign", run_id, None, str(error)))
            entries = []
        info = await retry_until_answered(lambda: self._log.info(run_id))
        evidence = Evidence(
            plan=plan,
            entries=entries,
            state=info.state if info else None,
            past_deadline_ms=info.updated - info.deadline if info and info.deadline is not None else None,
            views=[self._audience.view(run_id, what) for what in ("records", "events")],
            begun=self._begun(run_id),
            signals=control.sent if control else {},
            acknowledged=control.acknowledged if control else (),
            fails_over=self._stage.servers.fails_over,
        )
        self.violations += control.violations if control else ()
        self._over[run_id] = len(entries), now_ms()
        self.tally.add(evidence)
        return evidence

    async def messages(self, session: str) -> Messages:
        """The messages of a session."""
        return await retry_until_answered(lambda: self._log.messages(session))

    async def _entries(self, run_id: str) -> list[Entry]:
        entries: list[Entry] = []
        while page := await retry_until_answered(partial(self._log.read, run_id, after=len(entries), limit=_PAGE)):
            entries += page
        return entries

    def _begun(self, run_id: str) -> list[Begun]:
        return read_begun(self._stage.folder / "traces" / run_id)

    def judge(self, check: Callable[..., list[Violation]], *runs: Evidence) -> None:
        """Check the runs; keep the violations, and the notes of broken runs."""
        found = check(*runs)
        self.violations += found
        for evidence in runs:
            if found:
                self._dump(evidence, found)
            else:
                self._audience.forget(evidence.plan.run)

    def _dump(self, evidence: Evidence, found: Sequence[Violation]) -> None:
        first = evidence.entries[0].record if evidence.entries else None
        prompt = first.prompt if isinstance(first, RunSubmitted) else None
        lines: list[Any] = [{"prompt": prompt, "state": evidence.state, "signals": dict(evidence.signals)}]
        lines += [{"violation": str(one)} for one in found]
        lines += [{"seq": seq, "epoch": epoch, **dict(record)} for seq, epoch, record in evidence.entries]
        lines += [body._asdict() for body in evidence.begun]
        folder = self._stage.folder / "broken"
        folder.mkdir(exist_ok=True)
        text = "".join(f"{json.dumps(line, default=str)}\n" for line in lines)
        (folder / f"{evidence.plan.run}.jsonl").write_text(text)

    async def look_again(self) -> None:
        """Check that ended runs have not changed: no record and no body may come later, for example from a worker that resumed."""
        for run_id, (records, looked) in self._over.items():
            info = await retry_until_answered(partial(self._log.info, run_id))
            if info is not None and info.head != records:
                what = f"the log had {records} records when the run was over, and has {info.head} now"
                self.violations.append(Violation("end", run_id, info.head, what))
            # By the time at which it began: a body that asks a server that is down whether its start is stored leaves its
            # trace seconds later.
            if late := [body for body in self._begun(run_id) if body.at > looked]:
                what = f"{len(late)} bodies have begun since the run was over"
                self.violations.append(Violation("fenced", run_id, None, what))


def read_begun(file: Path) -> list[Begun]:
    """The traces of a run's bodies; none if its file does not exist."""
    return [Begun(**json.loads(line)) for line in file.read_bytes().splitlines()] if file.exists() else []
