"""Checks the arguments of a log's calls that every backend must refuse alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from playhead.runtime.core.checks import check_agents, check_count, check_duration, check_name, check_session
from playhead.runtime.core.converse import Message
from playhead.runtime.core.signals import Signal

__all__ = ["check_claim", "check_cut", "check_new_session", "check_pause", "check_signal"]

SIGNAL_KINDS: Final = ("cancel", "respond", "steer")


def check_signal(signal: Signal) -> None:
    """Refuse a signal that no run can receive.

    Raises:
        ValueError: If the kind is unknown, the id is not a name, or the body of a `respond` has no responses.
    """
    if signal.kind not in SIGNAL_KINDS:
        raise ValueError(f"a signal's kind must be one of {', '.join(SIGNAL_KINDS)}, not {signal.kind!r}")
    check_name("signal_id", signal.signal_id)
    if signal.kind == "respond":
        if not (isinstance(signal.body, dict) and signal.body):
            raise ValueError(
                f"a respond signal needs answers as {{interrupt id: answer}}, not {type(signal.body).__name__}"
            )
        _check_interrupts(signal.body)


def check_claim(
    agents: Iterable[str],
    *,
    frameworks: Mapping[str, str],
    worker: str,
    token: str,
    lease_ms: int,
    crash_limit: int,
    retention_ms: int,
    retentions: Mapping[str, int],
    run_id: str | None,
) -> None:
    """Refuse the arguments of an impossible claim.

    Raises:
        ValueError: If a name is malformed, the lease or a retention is below a millisecond, or the crash limit below 0.
    """
    check_agents(agents)
    for framework in frameworks.values():
        check_name("framework", framework)
    check_name("worker", worker)
    check_name("token", token)
    if run_id is not None:
        check_name("run_id", run_id)
    check_duration("lease_ms", lease_ms)
    check_count("crash_limit", crash_limit)
    for retention in (retention_ms, *retentions.values()):
        check_duration("retention_ms", retention)


def check_pause(interrupts: Sequence[str]) -> None:
    """Refuse a pause that no response can end.

    Raises:
        ValueError: If `interrupts` is empty, or one of the ids is not a string.
    """
    if not interrupts:
        raise ValueError("a run that waits for nothing cannot be paused: no interrupt is open")
    _check_interrupts(interrupts)


def check_cut(session: str, upto: int | None) -> None:
    """Refuse a cut that is not one of a session's oldest messages.

    Raises:
        ValueError: If the name is malformed, or `upto` is neither a whole number nor None.
    """
    check_session(session)
    if upto is not None:
        check_count("upto", upto)


def check_new_session(session: str, messages: Sequence[Message]) -> None:
    """Refuse to make a session without messages.

    Raises:
        ValueError: If the name is malformed, or there is no message.
    """
    check_session(session)
    if not messages:
        raise ValueError("a session is made of messages, and none was given")


def _check_interrupts(ids: Iterable[object]) -> None:
    """Any string is valid, because a model's own call id is part of it."""
    for interrupt in ids:
        if not isinstance(interrupt, str) or not interrupt:
            raise ValueError(f"the id of an interrupt must be a text, not {interrupt!r}")
