"""What a server holds for one prefix, read key by key past the log, and what must be true of it at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from playhead.runtime.core.codec import decode_batch, decode_record
from playhead.runtime.core.records import TERMINAL_TYPES, Record

__all__ = ["Held", "HeldRun", "Listener", "broken_promises", "hold"]

ENDED = ("completed", "failed", "cancelled")
LIVE = ("queued", "running", "paused")


@dataclass(frozen=True)
class HeldRun:
    """One run's keys. `ttls` are those of its hash and its log in ms, -1 for none. Bytes in `fields` are escaped."""

    fields: Mapping[str, str]
    entries: list[tuple[int, int, bytes]]
    inbox: list[bytes]
    ttls: tuple[int, int]

    @property
    def state(self) -> str:
        return self.fields["state"]

    @property
    def records(self) -> list[Record]:
        return [decode_record(record) for _, _, record in self.entries]

    def stored(self, field: str) -> bytes:
        """The bytes of a field."""
        return self.fields[field].encode("utf-8", "surrogateescape")

    def having(self, prefix: str) -> set[str]:
        """What follows `prefix` in the names of the hash's fields."""
        return {name.removeprefix(prefix) for name in self.fields if name.startswith(prefix)}


@dataclass(frozen=True)
class HeldDefinition:
    """An agent's definition; `ttl` in ms, -1 for none."""

    data: bytes
    live: int
    kept_until: int
    ttl: int


@dataclass(frozen=True)
class Held:
    """All keys of a prefix; what has an order is in it.

    `forever` are the kinds of keys without a TTL, `kept` the sessions whose messages have none, `kept_ms` the TTLs of all
    sessions' messages, `about_ms` those of what else is known of them. `claimed` is the run that each token claimed, `steered`
    the run that got the prompt of each that was not made.
    """

    runs: Mapping[str, HeldRun]
    ready: Mapping[str, Mapping[str, float]]
    suspects: Mapping[str, Mapping[str, float]]
    serving: Mapping[str, Mapping[str, float]]
    queues: set[str]
    emptying: str | None
    leases: Mapping[str, float]
    deadlines: Mapping[str, float]
    index: Mapping[str, float]
    indexes: Mapping[str, Mapping[str, float]]
    ids: set[str]
    expiring: Mapping[str, float]
    holders: Mapping[str, str]
    waiting: Mapping[str, list[str]]
    messages: Mapping[str, list[tuple[str, bytes]]]
    about: Mapping[str, Mapping[str, str]]
    sessions: Mapping[str, float]
    definitions: Mapping[str, HeldDefinition]
    claimed: Mapping[str, str]
    steers: Mapping[str, list[bytes]]
    steered: Mapping[str, str]
    forever: set[str]
    kept_ms: Mapping[str, int]
    about_ms: Mapping[str, int]

    @property
    def kept(self) -> set[str]:
        return {session for session, ttl in self.kept_ms.items() if ttl == -1}

    @property
    def leaving(self) -> set[tuple[str, str]]:
        """The entries of indexes that have a time at which they go: the name of the index, and the run."""
        parts = [one.partition("\n\n") for one in self.expiring]
        return {(name, run_id) for names, _, run_id in parts for name in names.split("\n")}

    @property
    def queued(self) -> set[str]:
        return {run_id for lines in (self.ready, self.suspects) for line in lines.values() for run_id in line}


_READ_ALL = """
local read = {
  hash = {'HGETALL'}, string = {'GET'}, list = {'LRANGE', 0, -1}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'},
  stream = {'XRANGE', '-', '+'},
}
local found = {}
for i, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local command = read[redis.call('TYPE', key).ok]
  found[i] = {key, redis.call('PTTL', key), redis.call(command[1], key, unpack(command, 2))}
end
return found
"""


def hold(client: redis.Redis, root: str) -> Held:
    """Read everything under `root` at once."""
    rows: Any = client.execute_command("EVAL", _READ_ALL, 0, root.replace("[", r"\[") + "*")
    found: dict[str, dict[str, Any]] = {}
    ttls: dict[tuple[str, str], int] = {}
    for key, ttl, value in rows:
        kind, _, name = key.decode().removeprefix(root).partition(":")
        found.setdefault(kind, {})[name] = value
        ttls[kind, name] = ttl

    def scores(kind: str, name: str = "") -> dict[str, float]:
        return {member.decode(): float(score) for member, score in _pairs(found.get(kind, {}).get(name, []))}

    def run(name: str) -> HeldRun:
        return HeldRun(
            {field.decode(): value.decode("utf-8", "surrogateescape") for field, value in _pairs(found["run"][name])},
            [_entry(*item) for item in found.get("log", {}).get(name, [])],
            found.get("inbox", {}).get(name, []),
            (ttls["run", name], ttls.get(("log", name), -2)),
        )

    def definition(digest: str) -> HeldDefinition:
        fields = dict(_pairs(found["definition"][digest]))
        live, until = int(fields[b"live"]), int(fields.get(b"kept_until", 0))
        return HeldDefinition(fields[b"definition"], live, until, ttls["definition", digest])

    return Held(
        runs={name: run(name) for name in found.get("run", {})},
        ready={queue: scores("ready", queue) for queue in found.get("ready", {})},
        suspects={queue: scores("suspects", queue) for queue in found.get("suspects", {})},
        serving={queue: scores("serving", queue) for queue in found.get("serving", {})},
        queues=set(scores("queues")),
        emptying=found["emptying"][""].decode() if "emptying" in found else None,
        leases=scores("leases"),
        deadlines=scores("deadlines"),
        index=scores("runs"),
        indexes={name: scores("index", name) for name in found.get("index", {})},
        ids=set(scores("ids")),
        expiring=scores("expiring"),
        holders={name: dict(_pairs(fields))[b"holder"].decode() for name, fields in found.get("session", {}).items()},
        waiting={name: [one.decode() for one in items] for name, items in found.get("waiting", {}).items()},
        messages={name: [_message(*item) for item in items] for name, items in found.get("messages", {}).items()},
        about={
            name: {field.decode(): value.decode("utf-8", "surrogateescape") for field, value in _pairs(fields)}
            for name, fields in found.get("about", {}).items()
        },
        sessions=scores("sessions"),
        definitions={digest: definition(digest) for digest in found.get("definition", {})},
        claimed={token: run_id.decode() for token, run_id in found.get("claimed", {}).items()},
        steers=found.get("steers", {}),
        steered={new: run_id.decode() for new, run_id in found.get("steered", {}).items()},
        forever={kind for (kind, _), ttl in ttls.items() if ttl == -1},
        kept_ms={name: ttl for (kind, name), ttl in ttls.items() if kind == "messages"},
        about_ms={name: ttl for (kind, name), ttl in ttls.items() if kind == "about"},
    )


def _pairs(flat: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _entry(entry_id: bytes, parts: list[bytes]) -> tuple[int, int, bytes]:
    seq, _, epoch = entry_id.partition(b"-")
    assert parts[:1] == [b"r"]
    return int(seq), int(epoch), parts[1]


def _message(entry_id: bytes, parts: list[bytes]) -> tuple[str, bytes]:
    assert parts[:1] == [b"m"]
    return entry_id.decode(), parts[1]


class Listener:
    """Receives what is published of the runs under `root`, and compares it with their logs."""

    def __init__(self, client: redis.Redis, root: str) -> None:
        self._pubsub = client.pubsub()
        self._pubsub.psubscribe(f"{root}log:*")
        self._root = f"{root}log:"
        self._told: dict[str, int] = {}
        assert self._pubsub.get_message(timeout=5) is not None, "subscribed"

    def close(self) -> None:
        """End the subscription."""
        self._pubsub.close()

    def catch_up(self, held: Held) -> None:
        """Every record has been published once, in order, as the log has it; waits for messages on their way."""
        self._told = {run_id: told for run_id, told in self._told.items() if run_id in held.runs}
        heads = {run_id: len(run.entries) for run_id, run in held.runs.items()}
        while self._told != heads:
            message: Any = self._pubsub.get_message(timeout=5)
            assert message is not None, f"published up to {self._told}, stored up to {heads}"
            run_id = message["channel"].decode().removeprefix(self._root)
            first, epoch, batch = _batch(message["data"])
            told = self._told.get(run_id, 0)
            assert first == told + 1, f"{run_id}: {first} published after {told}"
            for seq, owner, record in held.runs[run_id].entries[told:]:
                if batch:
                    assert (owner, batch[: len(record)]) == (epoch, record), f"{run_id}: {seq} was published otherwise"
                    batch, told = batch[len(record) :], seq
            assert not batch, f"{run_id}: more was published than is stored"
            self._told[run_id] = told
        assert self._pubsub.get_message(timeout=0) is None, "nothing else was published"


def _batch(data: bytes) -> tuple[int, int, bytes]:
    """The first number, the owner's and the records of a message."""
    head, _, records = data.partition(b"\n")
    place, _, count = head.partition(b" ")
    assert len(decode_batch(records, int(count))) == int(count)
    first, _, epoch = place.partition(b"-")
    return int(first), int(epoch), records


def broken_promises(held: Held) -> list[str]:
    """What is wrong with what a server holds, whatever was called before; empty if all promises hold."""
    found: list[str] = []
    for run_id, run in held.runs.items():
        found += [f"{run_id}: {fault}" for fault in _faults(run)]
        found += [f"{run_id}: {fault}" for fault in _misplaced(run_id, run, held)]
    for session, holder in held.holders.items():
        live = [run_id for run_id, run in held.runs.items() if _busy(run_id, run, held, session)]
        if holder not in held.runs or held.runs[holder].state not in LIVE or live not in ([], [holder]):
            found.append(f"session {session}: held by {holder}, busy in {live}")
    if held.kept != held.messages.keys() & held.holders.keys():
        found.append(f"messages of {sorted(held.kept)} have no TTL, sessions {sorted(held.holders)} are held")
    if forever := {name for name, ttl in held.about_ms.items() if ttl == -1} ^ held.holders.keys():
        found.append(f"sessions {sorted(forever)} are held and may end, or are free and stay")
    for digest, kept in held.definitions.items():
        naming = [run for run in held.runs.values() if digest in run.fields.get("definitions", "").split()]
        if kept.live != sum(run.state in LIVE for run in naming) or (kept.ttl == -1) != (kept.live > 0):
            found.append(f"definition {digest}: {kept.live} live, TTL {kept.ttl}, named by {len(naming)}")
        if kept.live == 0 and kept.ttl < max((run.ttls[0] for run in naming), default=0) - 1000:
            found.append(f"definition {digest} goes before a run that names it")
    named = {digest for run in held.runs.values() for digest in run.fields.get("definitions", "").split()}
    if missing := named - held.definitions.keys():
        found.append(f"definitions {missing} are not there")
    for session, ttl in held.kept_ms.items():
        if any(
            run.fields["session"] == session and run.ttls[0] > ttl + 1000 for run in held.runs.values() if ttl != -1
        ):
            found.append(f"messages of {session} go before a run that began from some of them")
    if unlisted := {queue for lines in (held.ready, held.suspects) for queue in lines if ":" in queue} - held.queues:
        found.append(f"runs wait in {unlisted}, where no reaper looks")
    found += _misfiled(held)
    if ended := {run_id for run_id in held.steers if held.runs[run_id].state in ENDED}:
        found.append(f"steers are left of {ended}, which have ended")
    known = held.runs.keys()
    found += [f"{place} names {names}" for place, names in _places(held) if not names <= known]
    return found


def _faults(run: HeldRun) -> Iterable[str]:
    seqs, epochs = [seq for seq, _, _ in run.entries], [epoch for _, epoch, _ in run.entries]
    if seqs != list(range(1, len(seqs) + 1)) or int(run.fields["head"]) != len(seqs):
        yield f"not dense up to head {run.fields['head']}: {seqs}"
    if epochs != sorted(epochs) or epochs[-1] > int(run.fields["epoch"]):
        yield f"epochs {epochs} in epoch {run.fields['epoch']}"
    last = [record.type in TERMINAL_TYPES for record in run.records]
    if True in last[:-1] or last[-1] != (run.state in ENDED):
        yield f"{run.state}, with terminal records at {[seq for seq, ends in zip(seqs, last, strict=True) if ends]}"
    if last[-1] and run.records[-1].type != f"run.{run.state}":
        yield f"{run.state}, but the last record is {run.records[-1].type}"
    if int(run.fields["inbox"]) != len(run.inbox):
        yield f"{run.fields['inbox']} signals counted, {len(run.inbox)} there"
    if (run.state in LIVE) != (max(run.ttls) == -1) or (run.state in ENDED) != (min(run.ttls) > 0):
        yield f"{run.state}, with TTLs {run.ttls}"
    if (run.state == "running") != (run.fields.get("worker", "") != "") and run.state in LIVE:
        yield f"{run.state}, held by {run.fields.get('worker')!r}"


def _misplaced(run_id: str, run: HeldRun, held: Held) -> Iterable[str]:
    waits = run_id in held.waiting.get(run.fields["session"], [])
    places = {"ready": run_id in held.queued, "leases": run_id in held.leases, "waits for its session": waits}
    wanted = {"queued": "waits for its session" if waits else "ready", "running": "leases"}.get(run.state)
    actual = [place for place, there in places.items() if there]
    if actual != ([wanted] if wanted else []):
        yield f"{run.state}, found in {actual}"
    if run.state in ENDED and run_id in held.deadlines:
        yield f"{run.state}, with a deadline left"


def _misfiled(held: Held) -> Iterable[str]:
    """A run has one position in all indexes; what is not there any longer has a time at which its entries go."""
    leaving = {run_id for _, run_id in held.leaving}
    ended = {run_id for run_id, run in held.runs.items() if run.state in ENDED}
    if not ended <= leaving or not held.index.keys() - held.runs.keys() <= leaving:
        yield f"ended {ended} and in the index {set(held.index)}, with times to leave it {leaving}"
    if held.ids != set(held.index) or not held.runs.keys() <= held.ids:
        yield f"runs {set(held.runs)}, by id {held.ids}, in order {set(held.index)}"
    for name, index in held.indexes.items():
        for run_id, position in index.items():
            if held.index.get(run_id) != position and (name, run_id) not in held.leaving:
                yield f"index {name} has {run_id} at {position}, and the order of all at {held.index.get(run_id)}"


def _busy(run_id: str, run: HeldRun, held: Held, session: str) -> bool:
    return run.fields["session"] == session and (run.state in ("running", "paused") or run_id in held.queued)


def _places(held: Held) -> Iterable[tuple[str, set[str]]]:
    yield "leases", set(held.leases)
    yield "deadlines", set(held.deadlines)
    yield "ready", held.queued
    for session, names in held.waiting.items():
        yield f"waiting:{session}", set(names)
