"""The scripts against the rules: any calls in any order, by an owner or a former one.

The rules are the memory log, and the oracle here: every reply and, after every step, all that the server holds must be
what they say. The calls are drawn and shrunk by hypothesis; leases and deadlines are moved into the past; the server's
keys are read without any code of the log.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import anyio.from_thread
import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from playhead.runtime.core.codec import encode_record, pack, unpack
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import InterruptNotOpenError, SessionHeldError
from playhead.runtime.core.records import (
    CycleStarted,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunSubmitted,
)
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.endings import cancel_ending, parent_ended
from playhead.runtime.log.interface import Log
from playhead.runtime.log.queues import queues_of
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.rules import Rules
from playhead.runtime.log.rules_state import first_of
from playhead.runtime.log.values import Batch, NewRun, RunEnd, WorkerInfo
from tests.contract.contract_rules import HOUR, NOW, by_rules, by_server, finish, given_up, reap, timeless
from tests.contract.contract_server import Held, Listener, broken_promises, hold
from tests.support.sweeps import WHOLE

__all__: list[str] = []

LASTING = {"runs", "ids", "index", "expiring", "sessions", "queue_position", "workers"}
RUNS, AGENTS, SESSIONS, ASKED = ("r1", "r2", "r3", "r4", "r5"), ("a", "b"), ("ada", "bob"), ("i1", "i2")
MESSAGE: Any = {"role": "user", "content": [{"text": "Hi"}]}
SUBMITTED = [RunSubmitted(at=0, agent="a", metadata=tags) for tags in ({}, {"of": "ada"}, {"of": "ada", "night": True})]
CLAIMED = encode_record(RunClaimed(at=0, worker="w"))
DEFINED: list[Any] = [None, *(AgentDefinition("a", {"version": version}).stored() for version in (1, 1, 2))]
PAUSED = encode_record(RunPaused(at=0, interrupts=[], result={}))
ENDS: dict[Any, bytes] = {
    "completed": encode_record(RunCompleted(at=0, result={})),
    "failed": encode_record(RunFailed(at=0, error_type="ValueError", message="")),
    "cancelled": encode_record(RunCancelled(at=0, result={})),
}

ENDED = ("completed", "failed", "cancelled")
ALL = ("queued", "running", "paused", *ENDED)

runs = st.sampled_from(RUNS)
workers = st.sampled_from(["w", "w", "v"])
seldom = st.sampled_from([False, False, False, True])
some_frameworks: Any = st.sampled_from([{}, {}, {"a": "f 1"}, {"a": "f 2"}, {"a": "f 1", "b": "f 1"}])
some_asked = st.lists(st.sampled_from(ASKED), min_size=1, max_size=2, unique=True)
shifts = st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1, -3])

Call = Callable[[Log], Any]
Said = Callable[[Rules], Any]
"""The same call to the rules, and what of their reply is compared."""


def any_run(*states: str) -> Callable[[Any], bool]:
    """A precondition: there is a run in one of these states."""
    return lambda machine: machine.in_state(*states) != []


class LogMachine(RuleBasedStateMachine):
    """Everything that can be done to the runs of one prefix.

    `data` draws what depends on the state: most calls are such that they may change something.
    """

    log: RedisLog
    client: redis.Redis
    portal: anyio.from_thread.BlockingPortal
    exempt: Collection[str]
    examples: int

    def __init__(self) -> None:
        super().__init__()
        self.oracle = Rules()
        self.listener = Listener(self.client, self.log.keys.root)
        self.tokens: dict[str, list[str]] = {run_id: [] for run_id in RUNS}
        self.numbers = itertools.count(1)
        self.past = itertools.count(1)  # times in the past, in the order in which they were set
        self.calls: list[tuple[Call, Said]] = []
        self.claims: list[tuple[Call, Said]] = []

    def teardown(self) -> None:
        """The last runs end; no key is left that stays for ever."""
        try:
            held = self.held()
            for _ in RUNS:
                for run_id in RUNS:
                    cancel = Signal("at the end", "cancel")
                    self.asked(lambda log, run_id=run_id, cancel=cancel: log.signal(run_id, cancel))
                    self.client.zadd(self.log.keys.leases, {run_id: 1}, xx=True)
                self.asked(lambda log: log.reap())
                held = self.held()
                if held.forever <= LASTING:
                    break  # else a steer has become a run, because another one ended
            assert broken_promises(held) == []
            assert held.forever <= LASTING, "nothing but the indexes and the last position outlives the last run"
        finally:
            self.listener.close()
            self.client.flushdb()

    def asked(self, call: Call) -> Any:
        """The log's reply; of a response to what is not open, its ids."""

        async def ask() -> Any:
            try:
                return await call(self.log)
            except InterruptNotOpenError as error:
                return error.ids
            except SessionHeldError as error:
                return error.run_id, error.state

        return self.portal.call(ask)

    def held(self) -> Held:
        return hold(self.client, self.log.keys.root)

    def does(self, data: st.DataObject, call: Call, said: Said) -> None:
        """Call both and compare their replies. Now and then the reply is lost, and the identical call comes again."""
        self.calls = [*self.calls[-2:], (call, said)]
        for _ in range(1 + data.draw(seldom, "again")):
            self.compare(call, said)

    def compare(self, call: Call, said: Said) -> Any:
        reply = self.asked(call)
        try:
            expected = said(self.oracle)
        except InterruptNotOpenError as error:
            expected = error.ids
        except SessionHeldError as error:
            expected = error.run_id, error.state
        assert reply == expected
        return reply

    def in_state(self, *states: str) -> list[str]:
        return [run_id for run_id, run in self.oracle.runs.items() if run.state in states]

    def one(self, data: st.DataObject, *states: str) -> str:
        """A run in one of these states; a precondition ensures that there is one."""
        return data.draw(st.sampled_from(self.in_state(*states)), "run")

    def owner(self, run_id: str) -> str:
        """The token of a running run's owner, by the rules: a claim made again may find a run that it did not find first."""
        token = self.oracle.runs[run_id].token
        assert token is not None
        return token

    # ---------------------------------------------------------------- calls

    @precondition(lambda self: len(self.oracle.runs) < len(RUNS))
    @rule(
        data=st.data(),
        run_id=runs,
        agent=st.sampled_from(AGENTS),
        session=st.sampled_from(["bob", "ada", "bob", None]),
        deadline=st.booleans(),
        child=st.booleans(),
        if_busy=st.sampled_from(["queue", "steer", "queue", "reject", "cancel"]),
    )
    def submit(
        self,
        data: st.DataObject,
        run_id: str,
        agent: str,
        session: str | None,
        deadline: bool,
        child: bool = False,
        if_busy: Any = "queue",
    ) -> None:
        record = data.draw(st.sampled_from(SUBMITTED), "record")
        if_busy = "queue" if child else if_busy
        steers = if_busy == "steer"
        parent = data.draw(st.sampled_from(RUNS), "parent") if child else None
        new = NewRun(
            run_id,
            agent,
            record,
            session,
            HOUR if deadline else None,
            if_busy="queue" if steers else if_busy,
            parent=parent,
        )
        if steers:
            steer = pack(asdict(new.as_signal("steer")))
            self.does(
                data,
                lambda log: log.submit_or_steer(new),
                lambda rules: rules.submit_or_steer(new, steer, now=NOW)[0],
            )
            return
        signal = new.as_signal("cancel")
        cancel = (pack(asdict(signal)), cancel_ending(signal)) if if_busy == "cancel" else None
        end = parent_ended(new)
        self.does(
            data, lambda log: log.submit(new), lambda rules: rules.submit(new, cancel=cancel, end=end, now=NOW)[0]
        )

    @initialize(data=st.data(), deadlines=st.tuples(st.booleans(), st.booleans(), st.booleans()))
    def begin(self, data: st.DataObject, deadlines: tuple[bool, bool, bool]) -> None:
        """Two runs share a session, one has its own."""
        for run_id, agent, session, deadline in zip(RUNS[:3], "aab", ("ada", "ada", "bob"), deadlines, strict=True):
            self.submit(data, run_id, agent, session, deadline)

    @precondition(lambda self: first_of([self.oracle.queue, self.oracle.suspects], self.queues, now=NOW) is not None)
    @rule(
        data=st.data(),
        agents=st.sampled_from([("a", "b"), ("a",), ("b",)]),
        crash_limit=st.sampled_from([1, 0, 2]),
        suspects=st.booleans(),
        worker=workers,
        defined=st.tuples(st.sampled_from(DEFINED), st.sampled_from(DEFINED)),
        frameworks=some_frameworks,
        only=st.sampled_from([None, None, *RUNS]),
    )
    def claim(
        self,
        data: st.DataObject,
        agents: tuple[str, ...],
        crash_limit: int,
        suspects: bool,
        worker: str,
        defined: tuple[Any, Any],
        frameworks: dict[str, str],
        only: str | None,
    ) -> None:
        wanted = dict.fromkeys(agents, CLAIMED)
        token = f"token {next(self.numbers)}"
        terms: dict[str, Any] = {"worker": worker, "token": token, "lease_ms": HOUR, "crash_limit": crash_limit}
        terms |= {"retention_ms": HOUR * (1 + crash_limit), "suspects": suspects, "run_id": only}
        terms["retentions"] = {"b": HOUR * (20 + crash_limit)}
        terms["frameworks"] = frameworks
        terms["definitions"] = {agent: one for agent, one in zip("ab", defined, strict=True) if one}
        queues = [self.oracle.queue, self.oracle.suspects] if suspects else [self.oracle.queue]
        first = first_of(queues, queues_of(agents, frameworks), now=NOW, only=only)
        call: tuple[Call, Said] = (
            lambda log: log.claim(wanted, **terms),
            lambda rules: rules.claim(wanted, **terms, now=NOW),
        )
        self.claims.append(call)
        self.does(data, *call)
        if first is not None:
            self.tokens[first].append(token)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def claim_again(self, data: st.DataObject) -> None:
        """A claim of long ago, whose call was delayed on the way."""
        self.compare(*data.draw(st.sampled_from(self.claims), "claim"))

    def batch(self, data: st.DataObject, last: bytes | None = None, *, former: bool = False) -> Batch:
        """A batch by a run's present owner; `former`: by any other, of any run."""
        finished = [run_id for run_id in self.in_state(*ENDED) if self.oracle.runs[run_id].token]
        if former and finished and data.draw(st.booleans(), "finished"):
            run_id = data.draw(st.sampled_from(finished), "run")
        else:
            run_id = self.one(data, *(ALL if former else ["running"]))
        run, tokens = self.oracle.runs[run_id], ["forged", *self.tokens[run_id]]
        token = data.draw(st.sampled_from([tokens[-1], *tokens]), "token") if former else tokens[-1]
        count = data.draw(st.sampled_from([1, 0, 3]), "records")
        records = [encode_record(CycleStarted(at=0, cycle=next(self.numbers))) for _ in range(count)]
        head = max(0, run.head + data.draw(shifts, "shift"))
        records += [last] if last else []
        ack = data.draw(st.integers(0, min(len(records), len(run.inbox) + 1)), "ack")
        if not former and data.draw(seldom, "a signal comes first"):
            self.interfere(data, data.draw(st.sampled_from(["steer", "cancel"]), "kind"), next(self.numbers))
        return Batch(run_id, token, head, records, ack)

    @precondition(any_run("running"))
    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        batch = self.batch(data)
        self.does(data, lambda log: log.append([batch]), lambda rules: [rules.append(batch)])

    @precondition(any_run("running"))
    @rule(data=st.data(), delay_ms=st.sampled_from([0, 0, HOUR]))
    def release(self, data: st.DataObject, delay_ms: int) -> None:
        batch = self.batch(data)
        self.does(
            data,
            lambda log: log.release(batch, delay_ms=delay_ms),
            lambda rules: rules.release(batch, now=NOW, delay_ms=delay_ms)[0],
        )

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def delay_passes(self, data: st.DataObject) -> None:
        run, when = self.oracle.runs[data.draw(st.sampled_from(self.waiting), "run")], next(self.past)
        for name in {run.agent, run.own_queue or run.agent}:
            for queue, key in (
                (self.oracle.queue, self.log.keys.ready(name)),
                (self.oracle.suspects, self.log.keys.suspects(name)),
            ):
                if self.client.zscore(key, run.run_id) is not None:
                    self.client.zadd(key, {run.run_id: when})
                    queue.put_due(run.run_id, name, position=when)

    @precondition(any_run("running"))
    @rule(data=st.data(), ids=some_asked)
    def pause(self, data: st.DataObject, ids: list[str]) -> None:
        batch = self.batch(data, last=PAUSED)
        self.does(
            data,
            lambda log: log.pause(batch, interrupts=ids),
            lambda rules: rules.pause(batch, ids, now=NOW)[0],
        )

    @precondition(any_run("running"))
    @rule(
        data=st.data(),
        state=st.sampled_from(["completed", "completed", "failed", "cancelled"]),
        days=st.sampled_from([1, 40, 50]),
    )
    def finish(self, data: st.DataObject, state: Any, days: int) -> None:
        batch = self.batch(data, last=ENDS[state])
        kept = data.draw(st.sampled_from([None, {}, {"count": next(self.numbers)}]), "agent's state")
        end = RunEnd(batch, state, self.oracle.runs[batch.run_id].session, [MESSAGE, MESSAGE], HOUR * 24 * days, kept)
        self.does(data, lambda log: log.finish(end), lambda rules: finish(rules, end))

    @precondition(any_run(*ALL))
    @rule(data=st.data(), verb=st.sampled_from(["append", "release", "pause", "finish"]))
    def former(self, data: st.DataObject, verb: str) -> None:
        """A write by a former owner that does not know yet that another owns the run."""
        last = {"pause": PAUSED, "finish": ENDS["completed"]}.get(verb)
        batch = self.batch(data, last, former=True)
        end = RunEnd(batch, "completed", self.oracle.runs[batch.run_id].session, [MESSAGE], HOUR * 5)
        calls: dict[str, tuple[Call, Said]] = {
            "append": (lambda log: log.append([batch]), lambda rules: [rules.append(batch)]),
            "release": (lambda log: log.release(batch), lambda rules: rules.release(batch, now=NOW)[0]),
            "pause": (
                lambda log: log.pause(batch, interrupts=ASKED),
                lambda rules: rules.pause(batch, ASKED, now=NOW)[0],
            ),
            "finish": (lambda log: log.finish(end), lambda rules: finish(rules, end)),
        }
        self.does(data, *calls[verb])

    @precondition(any_run("running"))
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        owned = [(run_id, token) for run_id, tokens in self.tokens.items() for token in ["forged", *tokens[-2:]]]
        self.does(
            data,
            lambda log: log.renew(owned, lease_ms=HOUR),
            lambda rules: rules.renew(owned, lease_ms=HOUR, now=NOW),
        )

    @precondition(any_run(*ALL))
    @rule(data=st.data(), kind=st.sampled_from(["steer", "steer", "cancel", "respond"]), number=st.integers(1, 20))
    def signal(self, data: st.DataObject, kind: str, number: int) -> None:
        ids = data.draw(some_asked, "ids") if kind == "respond" else []
        self.send(data, self.one(data, *ALL), Signal(f"{kind} {number}", kind, dict.fromkeys(ids, "yes")))

    @precondition(any_run("running"))
    @rule(data=st.data(), kind=st.sampled_from(["steer", "cancel"]), number=st.integers(1, 20))
    def interfere(self, data: st.DataObject, kind: str, number: int) -> None:
        self.send(data, self.one(data, "running"), Signal(f"{kind} {number}", kind))

    @precondition(any_run("paused"))
    @rule(data=st.data(), kind=st.sampled_from(["respond", "respond", "steer", "cancel"]))
    def call_back(self, data: st.DataObject, kind: str) -> None:
        ids = data.draw(some_asked, "ids") if kind == "respond" else []
        self.send(
            data, self.one(data, "paused"), Signal(f"{kind} {next(self.numbers)}", kind, dict.fromkeys(ids, "yes"))
        )

    def send(self, data: st.DataObject, run_id: str, signal: Signal) -> None:
        stored, ending = pack(asdict(signal)), cancel_ending(signal)
        self.does(
            data,
            lambda log: log.signal(run_id, signal),
            lambda rules: rules.signal(run_id, signal, stored, ending=ending, now=NOW)[0],
        )

    @precondition(lambda self: self.passed)
    @rule(data=st.data(), limit=st.sampled_from([32, 32, 1, 2]))
    def reap(self, data: st.DataObject, limit: int) -> None:
        self.does(data, lambda log: log.reap(limit=limit), lambda rules: reap(rules, limit))

    @precondition(any_run("running"))
    @rule(data=st.data(), worker=workers, ended=st.sampled_from(["was killed by SIGKILL", ""]))
    def bury(self, data: st.DataObject, worker: str, ended: str) -> None:
        self.does(
            data,
            lambda log: log.bury(worker, ended=ended),
            lambda rules: rules.bury(worker, ended=ended, now=NOW)[0],
        )

    @precondition(lambda self: self.silent or self.in_state("running"))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """By an owner that was silent, or one that could not renew."""
        some = self.silent or [(run_id, self.owner(run_id)) for run_id in self.in_state("running")]
        owned = [data.draw(st.sampled_from(some), "owned"), (RUNS[-1], "forged")]
        self.does(data, lambda log: log.give_up(owned), lambda rules: given_up(rules, owned))

    @precondition(any_run("running"))
    @rule(data=st.data())
    def got_on(self, data: st.DataObject) -> None:
        run_id = self.one(data, "running")
        token = data.draw(st.sampled_from([self.owner(run_id), *self.tokens[run_id]]), "token")
        self.does(data, lambda log: log.got_on(run_id, token), lambda rules: rules.got_on(run_id, token))

    @rule(data=st.data(), worker=workers, frameworks=some_frameworks, draining=seldom)
    def announce(self, data: st.DataObject, worker: str, frameworks: dict[str, str], draining: bool) -> None:
        info = WorkerInfo(worker, AGENTS, frameworks=frameworks, draining=draining)
        self.does(
            data,
            lambda log: log.announce(info, ttl_ms=HOUR),
            lambda rules: rules.announce(info, ttl_ms=HOUR, now=NOW),
        )

    @precondition(lambda self: self.oracle.serving)
    @rule(data=st.data())
    def announcement_expires(self, data: st.DataObject) -> None:
        queue = data.draw(st.sampled_from(sorted(self.oracle.serving)), "queue")
        worker, when = data.draw(st.sampled_from(sorted(self.oracle.serving[queue])), "worker"), next(self.past)
        self.client.zadd(self.log.keys.serving(queue), {worker: when}, xx=True)
        self.oracle.serving[queue][worker] = when
        self.maybe_reap(data)

    @precondition(lambda self: self.oracle.suspects.first(AGENTS, now=NOW) is not None or self.oracle.emptying is None)
    @rule(data=st.data(), agents=st.sampled_from([("a", "b"), ("a",)]), worker=workers)
    def should_empty(self, data: st.DataObject, agents: tuple[str, ...], worker: str) -> None:
        self.does(
            data,
            lambda log: log.should_empty(agents, worker=worker, for_ms=HOUR),
            lambda rules: rules.should_empty(agents, worker=worker, for_ms=HOUR, now=NOW),
        )

    @precondition(any_run(*ALL))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        run_id = self.one(data, *ALL)
        self.does(data, lambda log: log.delete_run(run_id), lambda rules: rules.delete_run(run_id))

    def maybe_reap(self, data: st.DataObject) -> None:
        if data.draw(st.booleans(), "reap"):
            self.reap(data, 32)

    @rule(data=st.data(), session=st.sampled_from(SESSIONS), part=st.sampled_from([1, 2, 3, None]))
    def cut(self, data: st.DataObject, session: str, part: int | None) -> None:
        """Of a session that is free, or is held: then it is refused."""
        held = self.oracle.sessions.all.get(session)
        upto = None if part is None else part + (held.cut if held else 0)
        self.does(
            data,
            lambda log: log.cut_session(session, upto=upto),
            lambda rules: rules.cut_session(session, upto=upto),
        )

    @rule(data=st.data(), session=st.sampled_from(SESSIONS))
    def store(self, data: st.DataObject, session: str) -> None:
        """Only a session without messages and without a run can be made."""
        self.does(
            data,
            lambda log: log.store_session(session, [MESSAGE], agent_state={"copied": 1}),
            lambda rules: rules.store_session(session, [pack(MESSAGE)], agent_state=pack({"copied": 1}), now=NOW),
        )

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """One of the last calls again, identical, as if its reply had been lost and others had called meanwhile."""
        self.compare(*data.draw(st.sampled_from(self.calls), "call"))

    # ---------------------------------------------------------------- time and the server

    @property
    def waiting(self) -> list[str]:
        """Runs that were released with a delay."""
        return [run_id for run_id in self.in_state("queued") if self.oracle.runs[run_id].due is not None]

    @property
    def silent(self) -> list[tuple[str, str]]:
        """Runs that were taken from a silent owner, and its token."""
        return [(run_id, run.silent) for run_id, run in self.oracle.runs.items() if run.silent]

    @property
    def queues(self) -> list[str]:
        """All queues that runs are in."""
        return [*self.oracle.queue.all(), *self.oracle.suspects.all()]

    @property
    def passed(self) -> bool:
        """A lease or a deadline has passed, or the announcement of a worker that has the framework of a queue."""
        times = (self.oracle.leases, self.oracle.deadlines, *self.oracle.serving.values())
        return any(time < NOW for some in times for time in some.values())

    @precondition(any_run("running"))
    @rule(data=st.data())
    def lease_passes(self, data: st.DataObject) -> None:
        run_id, when = self.one(data, "running"), next(self.past)
        self.client.zadd(self.log.keys.leases, {run_id: when}, xx=True)
        self.oracle.leases[run_id] = when
        self.maybe_reap(data)

    @precondition(lambda self: self.oracle.deadlines)
    @rule(data=st.data())
    def deadline_passes(self, data: st.DataObject) -> None:
        run_id, when = data.draw(st.sampled_from(sorted(self.oracle.deadlines)), "run"), next(self.past)
        self.client.zadd(self.log.keys.deadlines, {run_id: when}, xx=True)
        self.oracle.deadlines[run_id] = when
        self.maybe_reap(data)

    @precondition(any_run(*ENDED))
    @rule(data=st.data())
    def retention_passes(self, data: st.DataObject) -> None:
        run_id = self.one(data, *ENDED)
        self.client.delete(self.log.keys.run(run_id), self.log.keys.log(run_id))
        self.oracle.keep_until(self.oracle.runs[run_id], NOW)
        self.oracle.sweep(NOW)

    @rule()
    def all_retention_passes(self) -> None:
        """Everything that has an end reaches it, except tokens and sessions."""
        ended = self.in_state(*ENDED)
        for run_id in ended:
            self.client.delete(self.log.keys.run(run_id), self.log.keys.log(run_id))
            self.oracle.keep_until(self.oracle.runs[run_id], NOW)
        self.oracle.sweep(NOW)
        for digest, definition in list(self.oracle.definitions.all.items()):
            if not definition.live:
                assert self.client.expire(self.log.keys.definition(digest), 0)
                self.oracle.definitions.all.pop(digest)

    @rule()
    def restart(self) -> None:
        """A server that restarted knows no script."""
        self.client.script_flush()

    # ---------------------------------------------------------------- what is true after every step

    @invariant()
    def the_server_holds_what_the_rules_hold(self) -> None:
        held = self.held()
        assert broken_promises(held) == []
        self.listener.catch_up(held)
        assert by_server(held) == by_rules(self.oracle)
        assert held.forever <= {"run", "log", "inbox", "steers", "definition", *self.exempt}

    @precondition(any_run(*ALL))
    @rule(data=st.data(), session=st.sampled_from(SESSIONS))
    def look(self, data: st.DataObject, session: str) -> None:
        """What readers are told."""
        run = self.oracle.runs[self.one(data, *ALL)]
        held = self.oracle.sessions.all.get(session)
        kept = unpack(held.agent_state) if held is not None and held.agent_state is not None else None

        async def look(log: Log) -> list[Any]:
            infos = [await log.info(run.run_id), *await log.runs()]
            entries = await log.read(run.run_id)
            return [
                [replace(info, created=0, updated=0, deadline=None, due=None) for info in infos if info],
                [{**dict(entry.record), "at": 0} for entry in entries],
                await log.inbox(run.run_id),
                (await log.holder(session), await log.messages(session)),
                await log.stored_messages(session),
                [
                    (one.session, one.messages, one.run)
                    for one in [await log.session_info(session), *await log.sessions()]
                    if one
                ],
            ]

        listed = self.oracle.sessions.listed(before=None, limit=len(SESSIONS))
        infos = [run.info(), *(one.info() for one in reversed(self.oracle.runs.values()))]
        assert self.asked(look) == [
            [replace(info, created=0, updated=0, deadline=None, due=None) for info in infos],
            [timeless(record) for record in run.records],
            [Signal(**unpack(stored)) for stored in run.inbox],
            (held.holder, list(map(unpack, held.messages))) if held else (None, []),
            (held.cut, list(map(unpack, held.messages)), kept) if held else (0, [], None),
            [
                (one.session, one.messages, one.run)
                for one in [*(one for one in listed if one.session == session), *listed]
            ],
        ]


EXAMPLES = {"redis": 80, "fakeredis": 25} if WHOLE else {"redis": 40, "fakeredis": 10}


@pytest.fixture(params=EXAMPLES)
def machine(request: pytest.FixtureRequest, prefix: str, exempt_kinds: Collection[str]) -> Iterator[type[LogMachine]]:
    """The machine on the shared server or a false one; the log lives on an event loop in a thread."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        near, far = redis.Redis.from_url(url), connect(url)
    else:
        server = fakeredis.FakeServer()
        near, far = fakeredis.FakeRedis(server=server), fakeredis.FakeAsyncRedis(server=server, protocol=2)

    class Machine(LogMachine):
        exempt = exempt_kinds
        client = near
        examples = EXAMPLES[request.param]

    with anyio.from_thread.start_blocking_portal() as portal, closing(near):
        Machine.portal, Machine.log = portal, RedisLog(far, prefix=prefix)
        yield Machine
        portal.call(Machine.log.aclose)


@pytest.mark.timeout(400)  # to make a failure small takes its time
def test_the_server_keeps_every_promise_for_any_calls_in_any_order(machine: type[LogMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=machine.examples,
            stateful_step_count=50,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            phases=[Phase.generate, Phase.shrink],
        ),
    )
