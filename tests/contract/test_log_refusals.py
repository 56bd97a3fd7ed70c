"""What no log takes: each is refused by a text that names the value, before anything is changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunPaused, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd, WorkerInfo, WriteStatus

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HOUR = 3_600_000
CLAIMED = encode_record(RunClaimed(at=0, worker="w"))
FACT = encode_record(CycleStarted(at=0, cycle=1))
PAUSED = encode_record(RunPaused(at=0, interrupts=[], result={}))
SUBMITTED = RunSubmitted(at=0, agent="echo")
BATCH = Batch("r1", "t1", 2, [FACT])

Call = Callable[[Log], Awaitable[Any]]


def submit(**wrong: Any) -> Call:
    kind: dict[str, Any] = {"run_id": "r9", "agent": "echo", "record": SUBMITTED, **wrong}
    return lambda log: log.submit(NewRun(**kind))


def claim(agents: dict[str, bytes] | None = None, **wrong: Any) -> Call:
    terms: dict[str, Any] = {"worker": "w", "token": "t9", "lease_ms": HOUR, **wrong}
    return lambda log: log.claim({"echo": CLAIMED} if agents is None else agents, **terms)


def finish(**wrong: Any) -> Call:
    kind: dict[str, Any] = {"batch": BATCH, "state": "completed", **wrong}
    return lambda log: log.finish(RunEnd(**kind))


def batch(**wrong: Any) -> Call:
    kind: dict[str, Any] = {"run_id": "r1", "token": "t1", "head": 2, "records": [FACT], **wrong}
    return lambda log: log.append([Batch(**kind)])


def signal(**wrong: Any) -> Call:
    kind: dict[str, Any] = {"signal_id": "s1", "kind": "steer", "body": "left", **wrong}
    return lambda log: log.signal("r1", Signal(**kind))


def renew(lease_ms: Any) -> Call:
    return lambda log: log.renew([("r1", "t1")], lease_ms=lease_ms)


def pause(*interrupts: Any) -> Call:
    return lambda log: log.pause(BATCH, interrupts=interrupts)


HALF = "\ud800"
MESSAGE: Any = {"role": "user", "content": []}
LONG = "x" * 1025
NO_AGENTS = ("", HALF, "x" * 129, "my agent!", "a:b", "}{", "*")
BAD_TIMES: list[Any] = [0, -1, 10**30, 1.5, float("nan"), float("inf"), True, "9"]
CASES: dict[str, Call] = {
    **{f"submit as {str(name)[:9]!a}": submit(run_id=name) for name in ("", HALF, LONG, None, 7)},
    **{f"submit for {name[:9]!a}": submit(agent=name) for name in NO_AGENTS},
    **{f"submit in {name[:9]!a}": submit(session=name) for name in ("", HALF, "x" * 257, "a\nb")},
    **{f"submit until {time!r}": submit(deadline_ms=time) for time in BAD_TIMES},
    **{f"claim for {time!r}": claim(lease_ms=time) for time in BAD_TIMES},
    **{f"claim, retention {time!r}": claim(retention_ms=time) for time in BAD_TIMES},
    **{f"claim, crash limit {limit!r}": claim(crash_limit=limit) for limit in (-1, 0.5, None, 10**30)},
    **{f"claim by {name[:9]!a}": claim(worker=name) for name in ("", HALF, LONG)},
    **{f"claim with {name[:9]!a}": claim(token=name) for name in ("", HALF, LONG)},
    **{f"claim for {name[:9]!a}": claim({name: CLAIMED}) for name in NO_AGENTS},
    **{f"renew for {time!r}": renew(time) for time in BAD_TIMES},
    **{f"finish as {state}": finish(state=state) for state in ("running", "queued", "paused", "done", "", None)},
    **{f"finish, retention {time!r}": finish(retention_ms=time) for time in BAD_TIMES},
    "append after -1": batch(head=-1),
    "append, acknowledging more than it holds": batch(ack=2),
    "append, acknowledging -1": batch(ack=-1),
    "pause for nothing": pause(),
    "pause for no text": pause("i1", 7),
    "pause for no id": pause("i1", ""),
    **{f"signal of kind {kind!r}": signal(kind=kind) for kind in ("stop", "", "CANCEL", None)},
    **{f"signal as {name[:9]!a}": signal(signal_id=name) for name in ("", HALF, LONG)},
    **{f"respond with {body!r}": signal(kind="respond", body=body) for body in (None, {}, "yes", ["i1"], {1: "y"})},
    **{f"reap {limit!r}": lambda log, limit=limit: log.reap(limit=limit) for limit in (0, -1)},
    "announce for nothing": lambda log: log.announce(WorkerInfo("w", ["echo"]), ttl_ms=0),
    **{f"read after {after!r}": lambda log, after=after: log.read("r1", after=after) for after in (-1, -5, 10**30)},
    **{f"read {limit!r}": lambda log, limit=limit: log.read("r1", limit=limit) for limit in (0, -1)},
    **{
        f"read back {limit!r}": lambda log, limit=limit: log.read_back("r1", before=3, limit=limit) for limit in (0, -1)
    },
    **{f"read before {n!r}": lambda log, n=n: log.read_back("r1", before=n) for n in (-1, 10**30)},
    **{f"list {limit!r}": lambda log, limit=limit: log.runs(limit=limit) for limit in (0, -1)},
    **{f"list {limit!r} sessions": lambda log, limit=limit: log.sessions(limit=limit) for limit in (0, -1)},
    **{f"cut {name[:9]!a}": lambda log, name=name: log.cut_session(name, upto=1) for name in ("", HALF, "a\nb")},
    **{f"cut to {upto!r}": lambda log, upto=upto: log.cut_session("ada", upto=upto) for upto in (-1, True, 10**30)},
    **{f"make {name[:9]!a}": lambda log, name=name: log.store_session(name, [MESSAGE]) for name in ("", HALF, "a\nb")},
    "make a session of nothing": lambda log: log.store_session("eve", []),
}


async def everything(log: Log) -> Any:
    """All that a log gives to its readers."""
    return [
        (info, await log.read(info.run_id), await log.inbox(info.run_id), await log.messages(info.session or "none"))
        for info in await log.runs()
    ] + [await log.workers()]


async def stage(log: Log) -> Claim:
    """A run that is held, one that waits for the first one's session, and one that is queued."""
    for run_id, session in (("r1", "ada"), ("r2", "ada"), ("r3", None)):
        await log.submit(NewRun(run_id, "echo" if session else "other", SUBMITTED, session, deadline_ms=HOUR))
    made = await log.claim({"echo": CLAIMED}, worker="w", token="t1", lease_ms=HOUR)
    assert made is not None
    return made


async def refusal(call: Call, log: Log) -> str:
    """The text of the refusal, or none if there is none."""
    try:
        await call(log)
    except ValueError as error:
        return str(error)
    return ""


async def test_impossible_arguments_are_refused_and_change_nothing(log: Log) -> None:
    await stage(log)
    before = await everything(log)
    for name, call in CASES.items():
        assert 10 < len(await refusal(call, log)) < 300, name
        assert await everything(log) == before, name
    assert (await log.append([BATCH]))[0].status is WriteStatus.OK, "the owner goes on"


async def test_a_run_adds_to_no_other_conversation(log: Log) -> None:
    await stage(log)
    before = await everything(log)
    for run_id, token, session in (("r1", "t1", "bob"), ("r3", "t3", "ada")):
        if run_id == "r3":
            assert await log.claim({"other": CLAIMED}, worker="w", token=token, lease_ms=HOUR)
            before = await everything(log)
        end = RunEnd(Batch(run_id, token, 2, [FACT]), "completed", session, [MESSAGE])
        with pytest.raises(PlayheadError, match=f"run {run_id} is not of the session"):
            await log.finish(end)
        assert await everything(log) == before
        assert await log.messages(session) == []


@pytest.mark.parametrize("interrupt", [HALF, "x" * 5000, "v1:tool_call:}{\r\n\0:1", "*"])
async def test_an_interrupt_can_be_answered_whatever_its_id(log: Log, interrupt: str) -> None:
    await stage(log)
    await log.pause(Batch("r1", "t1", 2, [PAUSED]), interrupts=[interrupt])
    assert await log.signal("r1", Signal("s1", "respond", {interrupt: "yes"})) == "queued"
    assert (await log.inbox("r1"))[0].body == {interrupt: "yes"}
    with pytest.raises(PlayheadError) as refused:
        await log.signal("r1", Signal("s2", "respond", {interrupt: "no"}))
    assert getattr(refused.value, "ids", None) == [interrupt]


ODD = ["}{", "{other:0}:run:r1", "a\r\nb\0c", "*", "r1:extra", " ", "ü\u2028\U0001f600", "x" * 1024]


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
async def test_an_odd_name_is_a_name_of_its_own(log: Log, name: str) -> None:
    session = name if name.isprintable() and len(name) <= 256 else "odd"
    await stage(log)
    bystanders = await everything(log)
    await log.submit(NewRun(name, "odd", SUBMITTED, session))
    made = await log.claim({"odd": CLAIMED}, worker=name, token=name, lease_ms=HOUR)
    assert made == Claim(name, name, 1, 2, "odd", session, 0, 0)
    assert await log.signal(name, Signal(name, "steer", "left")) == "running"
    assert await log.wait_for_work([], worker=name, timeout=5) == name
    assert await log.inbox(name) == [Signal(name, "steer", "left")]
    end = RunEnd(Batch(name, name, 2, [FACT], ack=1), "completed", session, [MESSAGE])
    assert (await log.finish(end)).status is WriteStatus.OK
    assert [entry.seq for entry in await log.read(name)] == [1, 2, 3]
    assert len(await log.messages(session)) == 1
    assert [one for one in await everything(log) if one == [] or one[0].run_id != name] == bystanders


@pytest.mark.parametrize("backend", ["memory", "redis"], indirect=True)
@pytest.mark.parametrize("count", [7_999, 20_000])
async def test_batches_beyond_what_lua_can_unpack_are_stored_whole(log: Log, count: int) -> None:
    facts = [FACT] * count
    made = await stage(log)
    (result,) = await log.append([Batch("r1", "t1", 2, facts)])
    assert (result.status, result.head) == (WriteStatus.OK, 2 + count)
    await log.signal("r1", Signal("s1", "cancel"))
    assert (await log.pause(Batch("r1", "t1", result.head, facts), interrupts=[f"i{n}" for n in range(count)])).stored
    seqs = [entry.seq for entry in await log.read("r1", limit=10**6)]
    assert seqs == list(range(1, 5 + 2 * count)), "appended, paused, and the two that end a cancelled run"
    made = await log.claim({"echo": CLAIMED}, worker="w", token="t2", lease_ms=HOUR)
    assert made is not None
    end = RunEnd(Batch(made.run_id, "t2", 2, facts), "completed", "ada", [MESSAGE] * count)
    assert (await log.finish(end)).status is WriteStatus.OK
    assert len(await log.messages("ada")) == count
