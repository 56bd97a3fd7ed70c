"""`Client`: submits runs, tails them, leaves and rejoins, and controls them, from any process on any host."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, get_args
from uuid import uuid4

from playhead.client.connection import Connection
from playhead.client.event_stream import stream_events
from playhead.client.forking import new_fork, store_fork
from playhead.client.listing import Listing
from playhead.client.reader import RunReader
from playhead.client.remote_agent import RemoteAgent
from playhead.client.run import Run
from playhead.client.service import Service
from playhead.client.session import Sessions
from playhead.client.submitting import check_if_busy, submit_run
from playhead.client.tails.hub import HubStatistics
from playhead.client.tails.notice import Notice, OnNotice
from playhead.client.tails.state import OnPause
from playhead.client.tails.tail import Tail
from playhead.client.validation import check_allowed, check_run_id, checked_fork, deadline_in_ms
from playhead.runtime.core.arguments import check_callable, check_choice, check_whole
from playhead.runtime.core.call_keywords import CallKeywords, call_options
from playhead.runtime.core.checks import check_agent, check_duration, check_session
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.events import Event
from playhead.runtime.core.fork import Fork
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.if_busy import IfBusy
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.metadata import Metadata
from playhead.runtime.core.records import Entry
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.structured_output import OutputModel, output_schema
from playhead.runtime.core.submission import submission
from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.archive.archiving import Archived, archive_runs
from playhead.runtime.log.archive.log import ArchivedLog
from playhead.runtime.log.file.importing import import_runs
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.shards import ShardedLog, session_of_its_own, shard_of_session
from playhead.runtime.log.values import DEFAULT_RETENTION_MS, NewRun
from playhead.runtime.telemetry.presence import current_trace

__all__ = ["Client"]

logger: logging.Logger = logging.getLogger(__name__)


def _log_notice(notice: Notice) -> None:
    logger.warning("%s", notice.message)


@names_keywords
class Client(Listing, Sessions):
    """A connection to a fleet; use it as an async context manager.

        async with Client() as client:
            async for event in client.stream_async("assistant", "Calculate 2+2"): ...

    Two connections serve any number of tails: one for commands, one for published batches. With a `durability` there is
    a third, for commands that wait. A client opens them for each shard at first use.

    It belongs to the event loop that opened it, any task of which may close it. A closed client can be opened again, in
    any event loop.

    Args:
        url: As for `connect`: `redis://[user:password@]host:port[/db]`, `redis+sentinel://…`, `redis+cluster://…`. None
            is, at each opening, `PLAYHEAD_URL`; else the server of a `playhead dev` whose `.playhead/` is in the current
            folder or the nearest one above it; else `redis://localhost:6379`.
        prefix: The prefix of all keys, which must be the workers' prefix.
        on_notice: Called with a notice of what a tail waits for; by default logs a warning on `playhead.client`.
        max_record_bytes: The size limit of a prompt and everything submitted with it, in bytes.
        durability: How safe a submission, a cancel or another signal is before it is acknowledged: `memory`,
            `replicated` (one replica has it) or `fsynced` (it is on the primary's disk).
        shards: The number of shards of the deployment. The first caller that passes one settles it; None uses the
            settled number, and the first submission settles 1 if there is none.
        archive: A folder or a URL of fsspec to which workers or `playhead archive` write ended runs. A run that Redis has
            removed is read there, at the same cursors, and listed.

    Raises:
        LogUnavailableError: If the URL is malformed.
        ArchiveError: The archive is not a folder, or its URL needs an extra that is not installed.
        ValueError, TypeError: If another argument is invalid.

    Raises (on entering):
        LogUnavailableError, RedisAuthError, RedisTooOldError: As their messages say. The user needs the rights of a viewer;
            those of a client are checked before the first submission or signal.
        ShardsError: If the deployment has another number of shards.
        PlayheadError: If the client is already open.

    Raises (from every method):
        PlayheadError: If the client is not open, or belongs to a different event loop.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = "ph",
        on_notice: OnNotice = _log_notice,
        max_record_bytes: int = MAX_RECORD_BYTES,
        durability: Durability = "memory",
        shards: int | None = None,
        archive: str | Path | None = None,
    ) -> None:
        check_callable("on_notice", on_notice)
        check_whole("max_record_bytes", max_record_bytes, least=1)
        check_choice("durability", durability, get_args(Durability))
        self._connection = Connection(url, prefix=prefix, durability=durability, shards=shards)
        self._given = url
        self.prefix = prefix
        self._on_notice = on_notice
        self._max_record_bytes = max_record_bytes
        self._durability: Durability = durability
        self._shards = shards
        self._archive = None if archive is None else Archive(archive)

    @property
    def url(self) -> str:
        """The URL of the server; after entering without one, the URL that was found."""
        return self._connection.url

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._archive is not None:
            self._archive.close()
        await self._connection.aclose()

    @property
    def _log(self) -> ShardedLog:
        self._opened()
        return self._connection.log

    def _opened(self) -> Service:
        """The open service. Raises if there is none, or if it belongs to a different event loop."""
        return self._connection.opened()

    @property
    def log(self) -> RedisLog:
        """The log of shard 0, for tools that need more than the client offers."""
        return self._log.at(0)

    @property
    def logs(self) -> ShardedLog:
        """The logs of all shards, for tools that need more than the client offers."""
        self._opened()
        return self._log

    def log_of(self, run_id: str) -> RedisLog:
        """The log of the shard that has a run."""
        return self._opened().shard_of(run_id).log

    @property
    def reader(self) -> LogReader:
        """The logs of all shards and the archive, if there is one, for reading."""
        return self._log if self._archive is None else ArchivedLog(self._log, self._archive)

    async def shards(self) -> int:
        """The number of shards of the deployment; 1 while none is settled."""
        return await self._log.settled()

    def statistics(self) -> HubStatistics:
        """A snapshot of the tail hubs' counters, summed over the shards."""
        each = [shard.hub.statistics() for shard in self._opened().shards.values()]
        return HubStatistics(*map(sum, zip(*each, strict=True))) if each else HubStatistics(0, 0, 0, 0, 0, 0)

    async def new_run_id(self, *, session_id: str | None = None) -> str:
        """Make a new id for `start`, on the session's shard or, without a session, on any shard.

        Raises:
            LogUnavailableError: If the number of shards cannot be read.
        """
        shards = await self._log.settle()
        shard = secrets.randbelow(shards) if session_id is None else shard_of_session(session_id, shards=shards)
        return new_run_id(shard=shard)

    async def start(
        self,
        agent: str,
        prompt: Prompt = None,
        *,
        session_id: str | None = None,
        invocation_state: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
        run_id: str | None = None,
        deadline: float | None = None,
        if_busy: IfBusy = "queue",
        **keywords: Unpack[CallKeywords],
    ) -> Run:
        """Submit a run and return at once; `run.id` is enough to find it again.

        Args:
            agent: The agent's name; the run begins when a worker serves it.
            prompt: Text, content blocks, messages, or None to continue from the session.
            session_id: The conversation to read and extend. Its runs run one at a time, in order of submission.
            invocation_state: Plain data for the tools; it comes back in the events.
            metadata: What `runs` finds the run by: up to 16 texts, numbers and bools, by key.
            run_id: The run's id. Choose it (with `client.new_run_id`, which knows the session's shard) to submit
                again after an error: submitting one id twice starts one run.
            deadline: Seconds from now, by the server's clock. A run that has not ended by then, in any state, fails as
                `DeadlineExceeded`.
            if_busy: What happens if a run of the session has not ended. `queue`: this one waits for it. `reject`: this one is
                refused. `cancel`: the run that holds the session is cancelled, also a paused one, and this one runs after it
                and those that wait already. `steer`: the run that holds the session, if it is of this agent and not
                cancelled, receives the prompt as by `Run.steer`, and is the run that is returned; `metadata`,
                `invocation_state` and `deadline` do not change it. If it ends without having received the prompt, that
                becomes a run of its own, under `run_id`.
            **keywords: What the run has instead of its agent's own, if the agent's `allow_overrides` allow it: `model` (a
                name, for which the worker has the key), `system_prompt`, `tools` (names) and `params` (of the model). And
                what the run is to give, see `Agent.stream_async`; else what its agent's own terms say.

        Raises:
            TypeError: If a keyword is unknown or has the wrong type.
            OverrideRefusedError: If workers serve the agent, and none of them allows an override; nothing was changed.
                Without a worker, the run is submitted, and fails when one refuses it.
            RunConflictError: If another request was submitted with this `run_id`; nothing was changed.
            SessionHeldError: If a run, which the error names, holds the session, and `if_busy` is `reject`; nothing was changed.
            ValueError: If the prompt has an unknown form; a name, the metadata, the run id, the deadline or a keyword is
                invalid; the run id is not on its session's shard; or `if_busy` does not fit the call.
            InvalidMessageError: If a part of the prompt cannot be sent to a model.
            EncodingError: If something in the request is not plain data.
            RecordTooLargeError: If the request is over the limit.
            LogUnavailableError: If the run may or may not have been submitted; trying again with the same `run_id` is safe.
        """
        asked = call_options(self.start, keywords)
        self._opened()
        deadline_ms = deadline_in_ms(deadline)
        record, data = submission(
            agent,
            prompt,
            session=session_id,
            invocation_state=invocation_state or {},
            options=asked.stored,
            metadata=metadata,
            trace=current_trace(),
            limit=self._max_record_bytes,
        )
        check_if_busy(
            if_busy, session=session_id, prompt=record.prompt, options=asked.stored, limit=self._max_record_bytes
        )
        if asked.overrides:
            check_allowed(agent, asked.overrides, await self.reader.workers())
        made = await self.new_run_id(session_id=session_id) if run_id is None else run_id
        check_run_id(made)
        new = NewRun(made, agent, record, session_id, deadline_ms, data, "queue" if if_busy == "steer" else if_busy)
        run = self.run(await submit_run(self._log, new, if_busy=if_busy, may_exist=run_id is not None))
        run.output_class = asked.terms.output_class
        return run

    def stream_async(
        self,
        agent: str,
        prompt: Prompt = None,
        *,
        session_id: str | None = None,
        invocation_state: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
        run_id: str | None = None,
        deadline: float | None = None,
        if_busy: IfBusy = "queue",
        wait_for_worker: float | None = None,
        on_pause: OnPause = "end",
        on_notice: OnNotice | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AsyncGenerator[Event, None]:
        """`start` a run and yield its events, the `result` last. Leaving the iterator does not stop the run.

        With a `run_id` that was submitted before, these are that run's events from the first on. Every event has a
        `run_id` and a `cursor`: `client.run(event.run_id).stream_async(after=event.cursor)` continues after it. A pause
        ends the iterator, as `on_pause` says. `on_notice` is called with what this run waits for,
        instead of the client's. Raises as `start` and `Run.stream_async`.
        """
        call_options(self.stream_async, keywords)

        async def begin() -> tuple[RunReader, Cursor | None]:
            run = await self.start(
                agent,
                prompt,
                session_id=session_id,
                invocation_state=invocation_state,
                metadata=metadata,
                run_id=run_id,
                deadline=deadline,
                if_busy=if_busy,
                **keywords,
            )
            return run, None

        return stream_events(begin, wait_for_worker=wait_for_worker, on_pause=on_pause, on_notice=on_notice)

    async def invoke_async(
        self,
        agent: str,
        prompt: Prompt = None,
        *,
        session_id: str | None = None,
        invocation_state: dict[str, Any] | None = None,
        metadata: Metadata | None = None,
        run_id: str | None = None,
        deadline: float | None = None,
        if_busy: IfBusy = "queue",
        on_pause: OnPause = "end",
        on_notice: OnNotice | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AgentResult:
        """`start` a run and wait for its result; raises as `start` and `Run.result`."""
        call_options(self.invoke_async, keywords)
        run = await self.start(
            agent,
            prompt,
            session_id=session_id,
            invocation_state=invocation_state,
            metadata=metadata,
            run_id=run_id,
            deadline=deadline,
            if_busy=if_busy,
            **keywords,
        )
        return await run.result(on_pause=on_pause, on_notice=on_notice)

    def run(self, run_id: str, *, structured_output_model: OutputModel | None = None) -> Run:
        """A handle on an existing run, whose structured output is read as an instance of the class. Calls no server.

        Raises:
            ValueError, TypeError: If it cannot be a run id, or the class cannot be a structured output.
        """
        check_run_id(run_id)
        return Run(
            run_id,
            log=self.reader,
            submitter=self._log,
            open_tail=self.tail,
            max_record_bytes=self._max_record_bytes,
            make_fork=self.fork,
            output_class=None if structured_output_model is None else output_schema(structured_output_model).cls,
        )

    async def fork(self, parent: RunReader, fork: Fork, *, run_id: str | None = None) -> Run:
        """Start a fork of any run here: of this client, of another, or of a file. `Run.fork` is the short form for the first.

            with open_log("run.jsonl") as file:
                fork = await client.fork(file.run(), Fork(at=14, results={"call_1": "12 euros"}))

        Args:
            parent: The run, which is only read.
            fork: The place, and what is different from there on; the attributes are the arguments of `Run.fork`.
            run_id: As for `Run.fork`.

        Raises:
            Exception: As `Run.fork`.
        """
        self._opened()
        change = checked_fork(fork, limit=self._max_record_bytes)
        if run_id is not None:
            check_run_id(run_id)
        shards = await self._log.settle()
        made = await self.new_run_id() if run_id is None else run_id
        session = session_of_its_own(made, shards=shards, kind="forked")
        await store_fork(self._log, await new_fork(parent.log, parent.id, change, run_id=made, session=session))
        return self.run(made)

    async def import_runs(
        self, path: str | Path, *, as_id: str | None = None, keep_s: float = DEFAULT_RETENTION_MS / 1000
    ) -> list[Run]:
        """Store the runs of an exported file. No worker runs them, because they have ended; they are read like any
        other run.

        A run keeps its records and cursors. It has a session of its own, with the messages that it began from. A run
        that had not ended when it was exported gets one more record, `run.failed`.

        Args:
            path: The file.
            as_id: A new id for the run; only for a file with one run.
            keep_s: How long they are kept, in seconds.

        Raises:
            RunExistsError: If a run with that id exists; nothing was changed.
            RunFileError: If the file cannot be read, was cut short or edited, or contradicts itself.
            ValueError: If an id or the time is invalid, or the id names a shard that does not exist.
            LogUnavailableError: If not all runs were stored; importing again shows which ones were.
        """
        self._opened()
        if as_id is not None:
            check_run_id(as_id)
        retention_ms = round(keep_s * 1000)
        check_duration("keep_s in milliseconds", retention_ms)
        with FileLog(path) as file:
            ids = await import_runs(file, self._log, as_id=as_id, retention_ms=retention_ms)
        return [self.run(run_id) for run_id in ids]

    async def archive_runs(self, place: str | Path) -> AsyncGenerator[Archived, None]:
        """Archive every run that has ended and is not in the archive yet; yields each. Redis removes them as before.

        Several processes may do so at once. What a call that was broken off has not done, the next one does.

        Args:
            place: A folder, or a URL that fsspec knows. An archive is for the runs of one prefix.

        Raises:
            ArchiveError: The archive cannot be reached or written, or its URL needs an extra that is not installed.
            LogUnavailableError: Redis cannot be reached. The runs before are archived.
        """
        self._opened()
        with closing(Archive(place)) as archive:
            async with aclosing(archive_runs(self._log, archive)) as runs:
                async for one in runs:
                    yield one

    def clone(self) -> Self:
        """An unopened client with the same options, for another event loop."""
        return type(self)(
            self._given,
            prefix=self.prefix,
            on_notice=self._on_notice,
            max_record_bytes=self._max_record_bytes,
            durability=self._durability,
            shards=self._shards,
            archive=None if self._archive is None else self._archive.place,
        )

    def agent(self, name: str, *, session_id: str | None = None) -> RemoteAgent:
        """An agent of the fleet with the `stream_async`, `invoke_async` and `__call__` of an in-process `Agent`.

        Like an `Agent`, it keeps one conversation across its calls: `session_id`, or a new one.
        """
        check_agent(name)
        if session_id is not None:
            check_session(session_id)
        return RemoteAgent(name, client=self, session_id=session_id or f"agent-{uuid4().hex}")

    def tail(
        self,
        run_id: str,
        *,
        after: Cursor | Entry,
        wait_for_worker: float | None = None,
        on_pause: OnPause = "wait",
        on_notice: OnNotice | None = None,
    ) -> Tail:
        """A tail of a run; most callers need `Run.records` and `Run.stream_async` instead."""
        if on_notice is not None:
            check_callable("on_notice", on_notice)
        shard = self._opened().shard_of(run_id)
        return Tail(
            run_id,
            log=shard.log if self._archive is None else self.reader,
            hub=shard.hub,
            channel=shard.log.keys.log(run_id),
            after=after,
            on_notice=on_notice or self._on_notice,
            wait_for_worker=wait_for_worker,
            on_pause=on_pause,
            reap=shard.want_reap,
            refusal=shard.refusal,
        )
