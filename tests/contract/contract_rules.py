"""What the rules hold and what a server holds, both in the same form, so that a test can compare them.

It contains all that a later call can depend on. It leaves out times, except which of them were moved into the
past, and notifications, which are hints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from playhead.runtime.core.agent_state import packed_state
from playhead.runtime.core.codec import decode_record, pack
from playhead.runtime.core.metadata import tags_of
from playhead.runtime.core.records import ENDED_STATES
from playhead.runtime.log.endings import deadline_failure
from playhead.runtime.log.listing import RunFilter
from playhead.runtime.log.rules import Rules
from playhead.runtime.log.rules_state import LogRun, Steer
from playhead.runtime.log.values import RunEnd, WriteResult
from tests.contract.contract_server import Held, HeldRun

__all__ = ["HOUR", "NOW", "by_rules", "by_server", "finish", "given_up", "reap", "timeless"]

HOUR: Final = 3_600_000
NOW: Final = 10**12
"""The present of the rules. Times of a server are later; those that a test has moved into the past are small numbers."""


def by_rules(rules: Rules) -> dict[str, Any]:
    """All that the rules hold."""
    return {
        "runs": {run_id: _run_of_rules(run) for run_id, run in rules.runs.items()},
        "index": [run.run_id for run in sorted(rules.runs.values(), key=lambda run: run.position)],
        "indexes": _indexes_of_rules(rules),
        "queue": rules.queue.all(),
        "suspects": rules.suspects.all(),
        "serving": {queue: _silent(workers) for queue, workers in rules.serving.items()},
        "emptying": rules.emptying and rules.emptying[0],
        "leases": _passed(rules.leases),
        "deadlines": _passed(rules.deadlines),
        "definitions": {
            digest: (one.data, one.live, 0 if one.live else _hours(one.kept_until - NOW))
            for digest, one in rules.definitions.all.items()
        },
        "claimed": {token: run_id for token, (_, run_id) in rules.claims.items()},
        "steers": {run_id: [_steer(one) for one in run.steers] for run_id, run in rules.runs.items() if run.steers},
        "steered": {new: run_id for new, (_, run_id) in rules.steered.items()},
        "holders": {name: one.holder for name, one in rules.sessions.all.items() if one.holder},
        "waiting": {name: list(one.waiting) for name, one in rules.sessions.all.items() if one.waiting},
        "sessions": [info.session for info in rules.sessions.listed(before=None, limit=100)],
        "about": {
            name: (one.cut, len(one.messages), one.created is not None, one.agent_state)
            for name, one in rules.sessions.all.items()
        },
        "hours about": {name: one.expires and _hours(one.expires - NOW) for name, one in rules.sessions.all.items()},
        "hours kept": {
            name: one.expires and _hours(one.expires - NOW) for name, one in rules.sessions.all.items() if one.messages
        },
        "messages": {
            name: [(f"{number}-0", message) for number, message in enumerate(one.messages, 1)]
            for name, one in rules.sessions.all.items()
            if one.messages
        },
    }


def by_server(held: Held) -> dict[str, Any]:
    """All that a server holds. Its index may also name runs whose retention is over."""
    return {
        "runs": {run_id: _run_of_server(run) for run_id, run in held.runs.items()},
        "index": [run_id for run_id in held.index if run_id in held.runs],
        "indexes": {name: there for name in held.indexes if (there := _index_of_server(name, held))},
        "queue": {name: list(queue) for name, queue in held.ready.items()},
        "suspects": {name: list(queue) for name, queue in held.suspects.items()},
        "serving": {queue: _silent(workers) for queue, workers in held.serving.items()},
        "emptying": held.emptying,
        "leases": _passed(held.leases),
        "deadlines": _passed(held.deadlines),
        "definitions": {
            digest: (one.data, one.live, 0 if one.live else _hours(one.ttl)) for digest, one in held.definitions.items()
        },
        "claimed": held.claimed,
        "steers": {run_id: _steers_of_server(parts) for run_id, parts in held.steers.items()},
        "steered": held.steered,
        "holders": held.holders,
        "waiting": held.waiting,
        "sessions": sorted(held.sessions, key=lambda name: held.sessions[name], reverse=True),
        "about": {
            name: (int(one.get("cut", 0)), int(one.get("messages", 0)), "created" in one, _state(one))
            for name, one in held.about.items()
        },
        "hours about": {name: _hours(ttl) if ttl > 0 else None for name, ttl in held.about_ms.items()},
        "hours kept": {name: _hours(ttl) if ttl > 0 else None for name, ttl in held.kept_ms.items()},
        "messages": held.messages,
    }


def _steer(steer: Steer) -> tuple[bytes, str, bytes, bool]:
    return steer.signal, steer.new.run_id, steer.new.data, steer.deadline is not None


def _steers_of_server(parts: list[bytes]) -> list[tuple[bytes, str, bytes, bool]]:
    steers = [parts[start : start + 8] for start in range(0, len(parts), 8)]
    return [(signal, new.decode(), record, deadline != b"0") for signal, new, record, deadline, *_ in steers]


def _state(about: Mapping[str, str]) -> bytes | None:
    return about["agent_state"].encode("utf-8", "surrogateescape") if "agent_state" in about else None


def _indexes_of_rules(rules: Rules) -> dict[str, list[str]]:
    """The runs of each index, in order."""
    found: dict[str, list[str]] = {}
    for run in sorted(rules.runs.values(), key=lambda run: run.position):
        filters = RunFilter(agent=run.agent, state=run.state, session=run.session, tags=tags_of(run.metadata))
        for name in filters.indexes:
            found.setdefault(name, []).append(run.run_id)
    return found


def _index_of_server(name: str, held: Held) -> list[str]:
    """The runs of an index, without entries of former runs that had the same id, if these have a time at which they go."""
    kind, _, value = name.partition(":")
    found: list[str] = []
    for run_id in held.indexes[name]:
        fields: Mapping[str, str] = held.runs[run_id].fields if run_id in held.runs else {}
        own = value in (fields.get("tags", "").split("\n") if kind == "tag" else [fields.get(kind)])
        if own or (run_id in held.runs and (name, run_id) not in held.leaving):
            found.append(run_id)
    return found


def _silent(workers: Mapping[str, float]) -> dict[str, bool]:
    """Of each worker whether its announcement has expired."""
    return {worker: until < NOW for worker, until in workers.items()}


def _run_of_rules(run: LogRun) -> dict[str, Any]:
    ends = [*(start - 1 for start in run.starts[1:]), run.head]
    epochs = [
        epoch for epoch, (start, end) in enumerate(zip(run.starts, ends, strict=True)) for _ in range(start, end + 1)
    ]
    return {
        "state": run.state,
        "epoch": run.epoch,
        "agent": run.agent,
        "session": run.session or "",
        "token": run.token or "",
        "worker": run.worker or "",
        "released": run.released,
        "counts": (run.crashes, run.handovers, run.errors),
        "since it got on": (run.crash_streak, run.idle_owners, run.silent or "", run.crash_end),
        "limits": (run.crash_limit, run.retention_ms, run.lease_ms),
        "deadline": run.deadline is not None,
        "waits": run.due is not None,
        "inbox": run.inbox,
        "seen": run.signal_ids,
        "asked": run.open_interrupts,
        "cancel": run.cancel and (run.cancel[0], [timeless(record) for record in run.cancel[1]]),
        "records": [(epoch, timeless(record)) for epoch, record in zip(epochs, run.records, strict=True)],
        "definitions": run.definitions,
        "framework": run.framework,
        "children": run.children,
        "hours kept": None if run.expires is None else (run.expires - run.updated) // HOUR,
    }


def _run_of_server(held: HeldRun) -> dict[str, Any]:
    fields = held.fields
    numbers = {name: int(fields[name]) for name in ("crashes", "handovers", "errors", "crash_limit", "retention_ms")}
    cancel = None
    if "cancel_signal" in fields:
        records = [timeless(held.stored(f"cancel_record:{r + 1}")) for r in range(int(fields["cancel_records"]))]
        cancel = held.stored("cancel_signal"), records
    return {
        "state": held.state,
        "epoch": int(fields["epoch"]),
        "agent": fields["agent"],
        "session": fields["session"],
        "token": fields["token"],
        "worker": fields.get("worker", ""),
        "released": (fields["released_token"], int(fields["released_head"])) if "released_token" in fields else None,
        "counts": (numbers["crashes"], numbers["handovers"], numbers["errors"]),
        "since it got on": (
            *(int(fields[name]) for name in ("crash_streak", "idle_owners")),
            *(fields.get(name, "") for name in ("silent_token", "crash_end")),
        ),
        "limits": (numbers["crash_limit"], numbers["retention_ms"], int(fields.get("lease_ms", 0))),
        "deadline": "deadline" in fields,
        "waits": fields.get("due", "") != "",
        "inbox": held.inbox,
        "seen": held.having("signal:"),
        "asked": held.having("interrupt:"),
        "cancel": cancel,
        "records": [(epoch, timeless(record)) for _, epoch, record in held.entries],
        "definitions": fields.get("definitions", "").split(),
        "framework": fields.get("framework"),
        "children": fields.get("children", "").split(),
        "hours kept": _hours(held.ttls[0]) if held.state in ENDED_STATES else None,
    }


def _hours(ms: int) -> int:
    """In whole hours, the last of which may have begun."""
    return -(-ms // HOUR)


def _passed(times: Mapping[str, float]) -> dict[str, float | None]:
    return {run_id: time if time < NOW else None for run_id, time in times.items()}


@cache
def timeless(record: bytes) -> dict[str, Any]:
    """A record without its time: a record that the log makes itself has the time at which it was made."""
    return {**dict(decode_record(record)), "at": 0}


def finish(rules: Rules, end: RunEnd) -> WriteResult:
    """As the log's call, whose messages are not encoded."""
    messages, state = [pack(message) for message in end.messages], packed_state(end.agent_state)
    return rules.finish(end, messages, agent_state=state, now=NOW)[0]


def given_up(rules: Rules, owned: Iterable[tuple[str, str]]) -> None:
    """As the log's call, which has no answer."""
    rules.give_up(owned, now=NOW)


def reap(rules: Rules, limit: int) -> list[str]:
    """As the log's call, which makes the record of a passed deadline itself."""
    return rules.reap(limit=limit, late=deadline_failure(), now=NOW)[0]
