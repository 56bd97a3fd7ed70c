"""The scripts on a real server against a model of them: whatever is called in whatever order by whoever.

`test_backends_agree` walks at random over the calls of an interface; this one is drawn and shrunk by hypothesis, moves
leases and deadlines into the past, and looks at the server's keys themselves after every step, past all our code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import anyio.from_thread
import pytest
import redis
from contract_model import ENDED, Model, ModelRun
from contract_server import Held, HeldRun, Listener, broken_promises, hold
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

from playhead.runtime.codec import decode_record, encode_record, unpack
from playhead.runtime.errors import InterruptNotOpenError
from playhead.runtime.log.base import Answer, Batch, Finish, Log, NewRun, Renewal, Signal
from playhead.runtime.log.redis import RedisLog, connect
from playhead.runtime.records import (
    CycleStarted,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunSubmitted,
    SignalReceived,
)

__all__: list[str] = []

HOUR = 3_600_000
RUNS, AGENTS, SESSIONS, ASKED = ("r1", "r2", "r3", "r4", "r5"), ("a", "b"), ("ada", "bob"), ("i1", "i2")
MESSAGE: Any = {"role": "user", "content": [{"text": "Hi"}]}
SUBMITTED = RunSubmitted(at=0, agent="a")
CLAIMED = encode_record(RunClaimed(at=0, worker="w"))
PAUSED = encode_record(RunPaused(at=0, interrupts=[], result={}))
LAST_WORDS = [
    encode_record(SignalReceived(at=0, signal_id="s", kind="cancel")),
    encode_record(RunCancelled(at=0, result={})),
]
ENDS: dict[Any, bytes] = {
    "completed": encode_record(RunCompleted(at=0, result={})),
    "failed": encode_record(RunFailed(at=0, error_type="ValueError", message="")),
    "cancelled": LAST_WORDS[1],
}

ALL = ("queued", "running", "paused", *ENDED)

runs = st.sampled_from(RUNS)
seldom = st.sampled_from([False, False, False, True])
some_asked = st.lists(st.sampled_from(ASKED), min_size=1, max_size=2, unique=True)
shifts = st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1, -3])

Call = Callable[[Log], Any]


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

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.listener = Listener(self.client, self.log.keys.root)
        self.tokens: dict[str, list[str]] = {run_id: [] for run_id in RUNS}
        self.numbers = itertools.count(1)
        self.past = itertools.count(1)  # times long gone, in the order in which they were made to pass
        self.calls: list[tuple[Call, Callable[[Any], Any]]] = []
        self.claims: list[tuple[Call, Callable[[Any], Any]]] = []

    def teardown(self) -> None:
        """The last runs end; nothing is left that stays for ever."""
        try:
            for run_id in RUNS:
                cancel = Signal("at the end", "cancel")
                self.asked(lambda log, run_id=run_id, cancel=cancel: log.signal(run_id, cancel, at_once=LAST_WORDS))
                self.client.zadd(self.log.keys.leases, {run_id: next(self.past)}, xx=True)
            self.asked(lambda log: log.reap())
            held = self.held()
            assert broken_promises(held) == []
            assert held.forever <= {"runs", "line"}, "nothing but the index and the last place outlives the last run"
        finally:
            self.listener.close()
            self.client.flushdb()

    def asked(self, call: Call) -> Any:
        """The log's answer; of an answer to what is not open, its ids."""

        async def ask() -> Any:
            try:
                return await call(self.log)
            except InterruptNotOpenError as error:
                return error.ids

        return self.portal.call(ask)

    def held(self) -> Held:
        return hold(self.client, self.log.keys.root)

    def does(self, data: st.DataObject, call: Call, model: Callable[[Any], Any]) -> None:
        """Call both and compare their answers; `model` is also told the log's. Now and then the answer is lost."""
        self.calls = [*self.calls[-2:], (call, model)]
        for _ in range(1 + data.draw(seldom, "again")):
            self.compare(call, model)

    def compare(self, call: Call, model: Callable[[Any], Any]) -> None:
        answer = self.asked(call)
        try:
            expected = model(answer)
        except InterruptNotOpenError as error:
            expected = error.ids
        assert told(answer) == told(expected)

    def in_state(self, *states: str) -> list[str]:
        return [run_id for run_id, run in self.model.runs.items() if run.state in states]

    def one(self, data: st.DataObject, *states: str) -> str:
        """A run in one of these states; a precondition sees to it that there is one."""
        return data.draw(st.sampled_from(self.in_state(*states)), "run")

    # ---------------------------------------------------------------- calls

    @precondition(lambda self: len(self.model.runs) < len(RUNS))
    @rule(
        data=st.data(),
        run_id=runs,
        agent=st.sampled_from(AGENTS),
        session=st.sampled_from(["bob", "ada", "bob", None]),
        deadline=st.booleans(),
    )
    def submit(self, data: st.DataObject, run_id: str, agent: str, session: str | None, deadline: bool) -> None:
        new = NewRun(run_id, agent, SUBMITTED, session, HOUR if deadline else None)
        self.does(data, lambda log: log.submit(new), lambda _: self.model.submit(new, encode_record(SUBMITTED)))

    @initialize(data=st.data(), deadlines=st.tuples(st.booleans(), st.booleans(), st.booleans()))
    def begin(self, data: st.DataObject, deadlines: tuple[bool, bool, bool]) -> None:
        """Two runs share a session, one has its own."""
        for run_id, agent, session, deadline in zip(RUNS[:3], "aab", ("ada", "ada", "bob"), deadlines, strict=True):
            self.submit(data, run_id, agent, session, deadline)

    @precondition(lambda self: self.model.in_line(AGENTS))
    @rule(data=st.data(), agents=st.sampled_from([("a", "b"), ("a",), ("b",)]), crash_limit=st.sampled_from([1, 0, 2]))
    def claim(self, data: st.DataObject, agents: tuple[str, ...], crash_limit: int) -> None:
        token, wanted = f"token {next(self.numbers)}", dict.fromkeys(agents, CLAIMED)
        limits = {"crash_limit": crash_limit, "retention_ms": HOUR * (1 + crash_limit)}

        def model(answer: Any) -> Any:
            if token in self.model.claims:
                return self.model.claim_again(token)
            if answer is None:
                assert self.model.in_line(agents) == set()
                return None
            assert answer.run_id in self.model.in_line(agents)
            assert due[answer.run_id] == min(due.values())
            self.tokens[answer.run_id].append(token)
            return self.model.claim(answer.run_id, token, CLAIMED, **limits)

        def call(log: Log) -> Any:
            ready = self.held().ready
            due.clear()
            due.update({run_id: at for agent in agents for run_id, at in ready.get(agent, {}).items()})
            return log.claim(wanted, worker="w", token=token, lease_ms=HOUR, **limits)

        due: dict[str, float] = {}
        self.claims.append((call, model))
        self.does(data, call, model)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def claim_again(self, data: st.DataObject) -> None:
        """A claim of long ago, whose call was held up on the way."""
        self.compare(*data.draw(st.sampled_from(self.claims), "claim"))

    def batch(self, data: st.DataObject, last: bytes | None = None, *, former: bool = False) -> Batch:
        """A batch by a run's present owner; `former`: by any other, of any run."""
        finished = [run_id for run_id in self.in_state(*ENDED) if self.model.runs[run_id].token]
        if former and finished and data.draw(st.booleans(), "finished"):
            run_id = data.draw(st.sampled_from(finished), "run")
        else:
            run_id = self.one(data, *(ALL if former else ["running"]))
        run, tokens = self.model.runs[run_id], ["forged", *self.tokens[run_id]]
        token = data.draw(st.sampled_from([tokens[-1], *tokens]), "token") if former else tokens[-1]
        count = data.draw(st.sampled_from([1, 0, 3]), "records")
        records = [encode_record(CycleStarted(at=0, cycle=next(self.numbers))) for _ in range(count)]
        head = max(0, run.head + data.draw(shifts, "shift"))
        records += [last] if last else []
        ack = data.draw(st.integers(0, min(len(records), len(run.inbox) + 1)), "ack")
        return Batch(run_id, token, head, records, ack)

    @precondition(any_run("running"))
    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        batch = self.batch(data)
        self.does(data, lambda log: log.append([batch]), lambda _: [self.model.append(batch)])

    @precondition(any_run("running"))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        batch = self.batch(data)
        self.does(data, lambda log: log.release(batch), lambda _: self.model.release(batch))

    @precondition(any_run("running"))
    @rule(data=st.data(), ids=some_asked)
    def pause(self, data: st.DataObject, ids: list[str]) -> None:
        batch = self.batch(data, last=PAUSED)
        self.does(data, lambda log: log.pause(batch, interrupts=ids), lambda _: self.model.pause(batch, ids))

    @precondition(any_run("running"))
    @rule(data=st.data(), state=st.sampled_from(["completed", "completed", "failed", "cancelled"]))
    def finish(self, data: st.DataObject, state: Any) -> None:
        batch = self.batch(data, last=ENDS[state])
        run = self.model.runs.get(batch.run_id)
        end = Finish(batch, state, run.session if run else None, [MESSAGE, MESSAGE], HOUR * 5)
        self.does(data, lambda log: log.finish(end), lambda _: self.model.finish(end))

    @precondition(any_run(*ALL))
    @rule(data=st.data(), verb=st.sampled_from(["append", "release", "pause", "finish"]))
    def former(self, data: st.DataObject, verb: str) -> None:
        """Somebody who may not know yet that he is the owner no more."""
        last = {"pause": PAUSED, "finish": ENDS["completed"]}.get(verb)
        batch = self.batch(data, last, former=True)
        end = Finish(batch, "completed", self.model.runs[batch.run_id].session, [MESSAGE], HOUR * 5)
        calls: dict[str, tuple[Call, Callable[[Any], Any]]] = {
            "append": (lambda log: log.append([batch]), lambda _: [self.model.append(batch)]),
            "release": (lambda log: log.release(batch), lambda _: self.model.release(batch)),
            "pause": (lambda log: log.pause(batch, interrupts=ASKED), lambda _: self.model.pause(batch, ASKED)),
            "finish": (lambda log: log.finish(end), lambda _: self.model.finish(end)),
        }
        self.does(data, *calls[verb])

    @precondition(any_run("running"))
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        owned = [(run_id, token) for run_id, tokens in self.tokens.items() for token in ["forged", *tokens[-2:]]]
        self.does(data, lambda log: log.renew(owned, lease_ms=HOUR), lambda _: self.model.renew(owned))

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
    @rule(data=st.data(), ids=some_asked)
    def respond(self, data: st.DataObject, ids: list[str]) -> None:
        self.send(data, self.one(data, "paused"), Signal(f"answer to {ids}", "respond", dict.fromkeys(ids, "yes")))

    def send(self, data: st.DataObject, run_id: str, signal: Signal) -> None:
        at_once = LAST_WORDS if data.draw(seldom, "at once") else []
        self.does(
            data,
            lambda log: log.signal(run_id, signal, at_once=at_once),
            lambda _: self.model.signal(run_id, signal, at_once),
        )

    @precondition(lambda self: self.model.late or self.model.dead)
    @rule(data=st.data(), limit=st.sampled_from([32, 32, 1, 2]))
    def reap(self, data: st.DataObject, limit: int) -> None:
        self.does(data, lambda log: log.reap(limit=limit), lambda _: self.model.reap(limit))

    def maybe_reap(self, data: st.DataObject) -> None:
        if data.draw(st.booleans(), "reap"):
            self.does(data, lambda log: log.reap(), lambda _: self.model.reap(32))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """One of the last calls again, identical, as if its answer had been lost and others had called since."""
        self.compare(*data.draw(st.sampled_from(self.calls), "call"))

    # ---------------------------------------------------------------- time and the server

    @precondition(any_run("running"))
    @rule(data=st.data())
    def lease_passes(self, data: st.DataObject) -> None:
        run_id = self.one(data, "running")
        self.client.zadd(self.log.keys.leases, {run_id: next(self.past)}, xx=True)
        self.model.lease_passes(run_id)
        self.maybe_reap(data)

    @precondition(lambda self: self.model.deadlines)
    @rule(data=st.data())
    def deadline_passes(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.model.deadlines)), "run")
        self.client.zadd(self.log.keys.deadlines, {run_id: next(self.past)}, xx=True)
        self.model.deadline_passes(run_id)
        self.maybe_reap(data)

    @precondition(any_run(*ENDED))
    @rule(data=st.data())
    def retention_passes(self, data: st.DataObject) -> None:
        run_id = self.one(data, *ENDED)
        self.client.delete(self.log.keys.run(run_id), self.log.keys.log(run_id))
        self.model.retention_passes(run_id)

    @rule()
    def restart(self) -> None:
        """A server that restarted knows no script."""
        self.client.script_flush()

    # ---------------------------------------------------------------- what is true after every step

    @invariant()
    def the_server_holds_what_the_model_says(self) -> None:
        held, model = self.held(), self.model
        assert broken_promises(held) == []
        self.listener.catch_up(held)
        assert held.runs.keys() == model.runs.keys() <= held.index.keys()
        for run_id, run in model.runs.items():
            assert facts(held.runs[run_id]) == wanted(run), run_id
        assert held.in_line == model.in_line(AGENTS)
        assert held.holders == model.holders
        assert held.waiting == {session: line for session, line in model.waiting.items() if line}
        assert held.messages == {name: [f"{n + 1}-0" for n in range(count)] for name, count in model.messages.items()}
        assert held.deadlines.keys() == model.deadlines | set(model.late)
        assert held.forever <= {"run", "log", "inbox", *self.exempt}


def told(answer: Any) -> Any:
    """An answer without what a refusal says of signals: those of a lost run are nobody's business."""
    if isinstance(answer, list):
        return [told(one) for one in answer]
    if isinstance(answer, Answer) and not answer.stored:
        return answer.code, answer.head
    return answer.ours if isinstance(answer, Renewal) and not answer.ours else answer


def wanted(run: ModelRun) -> dict[str, Any]:
    """What the model says of a run, in the words of `facts`."""
    return {
        "state": run.state,
        "epoch": run.epoch,
        "agent": run.agent,
        "session": run.session or "",
        "token": run.token,
        "counts": run.counts,
        "inbox": [signal.signal_id for signal in run.inbox],
        "seen": run.seen,
        "asked": run.asked,
        "log": [(epoch, record) for epoch, record in run.log],
        "limits": (run.crash_limit, None if run.state in ENDED else run.retention_ms),
        "ttl": run.retention_ms // HOUR if run.state in ENDED else None,
    }


def facts(held: HeldRun) -> dict[str, Any]:
    """What the server holds of a run."""
    fields, ended = held.fields, held.state in ENDED
    return {
        "state": held.state,
        "epoch": int(fields["epoch"]),
        "agent": fields["agent"],
        "session": fields["session"],
        "token": fields["token"],
        "counts": {name: int(fields[name]) for name in ("crashes", "handovers", "errors")},
        "inbox": [unpack(signal)["signal_id"] for signal in held.inbox],
        "seen": held.having("sig:"),
        "asked": held.having("ask:"),
        "log": [(epoch, named(record)) for _, epoch, record in held.entries],
        "limits": (int(fields["crash limit"]), None if ended else int(fields["retention"])),
        "ttl": -(-held.ttls[0] // HOUR) if ended else None,
    }


def named(record: bytes) -> bytes | str:
    """A record's bytes, or the error type of one that the log builds itself."""
    decoded = decode_record(record)
    return decoded.error_type if isinstance(decoded, RunFailed) and decoded.error_type != "ValueError" else record


@pytest.fixture
def machine(redis_url: str, prefix: str, exempt_kinds: Collection[str]) -> Iterator[type[LogMachine]]:
    """The machine on the shared server; the log lives on an event loop in a thread."""

    class Machine(LogMachine):
        pass

    Machine.exempt = exempt_kinds
    with anyio.from_thread.start_blocking_portal() as portal, redis.Redis.from_url(redis_url) as client:
        Machine.portal, Machine.client, Machine.log = portal, client, RedisLog(connect(redis_url), prefix=prefix)
        yield Machine
        portal.call(Machine.log.aclose)


@pytest.mark.timeout(400)  # to make a failure small takes its time
def test_whatever_is_called_in_whatever_order_the_server_keeps_every_promise(machine: type[LogMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=50,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            phases=[Phase.generate, Phase.shrink],
        ),
    )
