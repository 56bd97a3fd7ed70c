"""Records about a run as a whole: its submission, its owners, its pauses, its signals and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from playhead.runtime.core.records.base import CheckedRecord

__all__ = [
    "AgentMade",
    "ENDED_STATES",
    "RunCancelled",
    "RunClaimed",
    "RunCompleted",
    "RunFailed",
    "RunHandedOver",
    "RunPaused",
    "RunResumed",
    "RunStateName",
    "RunSubmitted",
    "SignalReceived",
    "StateChanged",
    "TERMINAL_TYPES",
    "TERMINAL_TYPE_OF_STATE",
]


RunStateName = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]

ENDED_STATES: Final = frozenset({"completed", "failed", "cancelled"})
"""The states of a run that no longer accepts anything."""


class RunSubmitted(CheckedRecord):
    """The run was submitted; always record 1. `prompt` is what the caller passed: text, content blocks, messages or None.

    `options` holds `history` (messages before the first session message; in-process agents put theirs here) and, in a
    fork, `fork`: `{"run": its parent, "at": how many of its records are the parent's, "session": the
    parent's session, "of": the parent's options}`, the last two if it has such. By the
    names of `overrides.OVERRIDES` they hold what the run has instead of its agent's own, and by those of
    `terms.TERM_OPTIONS` the `Terms` of the call. `invocation_state` holds the caller's serialisable keys, `metadata` what
    the run is found by (see `metadata`), and `trace` a W3C trace context.
    """

    type: str = "run.submitted"
    agent: str
    prompt: Any = None
    session: str | None = None
    invocation_state: dict[str, Any] = {}
    options: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    trace: dict[str, str] = {}


class RunClaimed(CheckedRecord):
    """A worker became the owner; the entry's epoch is the ordinal of the new ownership.

    `definition` is the digest of the agent's definition that this owner uses, see `StoredDefinition`; empty if a factory
    makes the agent, see `AgentMade`, and for an in-process run, whose log is not kept.
    """

    type: str = "run.claimed"
    worker: str
    definition: str = ""


class AgentMade(CheckedRecord):
    """The owner had its agent from a factory; written right after its claim, unless the log has the same already.

    `definition` has the fields of the agent's definition, without what the run has instead of the agent's own.
    `model_name` is the name by which the agent has its model; None if it has an object, or that of the environment.
    """

    type: str = "agent.made"
    definition: dict[str, Any]
    model_name: str | None = None


class RunHandedOver(CheckedRecord):
    """The owner gave the run back: it drained, or the run waits before its model is called again. This is not a crash.

    `delay`: the seconds, by the log's clock, before which no owner gets the run; the wait is over then.
    """

    type: str = "run.handed_over"
    worker: str
    delay: float = 0.0


class RunPaused(CheckedRecord):
    """The run waits for responses and has no owner. `interrupts` are all open ones.

    `result` is an `AgentResult` as a dict with the stop reason `interrupt`. If an owner dies before this is stored, the
    next owner writes it. Not terminal.
    """

    type: str = "run.paused"
    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


class RunResumed(CheckedRecord):
    """Every interrupt has its response, and the run continues. The owner writes it before it runs the calls again.

    `invocation_state` has the caller's values if a response has replaced those of `run.submitted`: readers that begin
    here need them for the events. So it is in `cycle.started` and `model.started`.
    """

    type: str = "run.resumed"
    invocation_state: dict[str, Any] | None = None


class SignalReceived(CheckedRecord):
    """The owner took a signal from the inbox; it takes effect here, in the order of the log.

    `body` is for `cancel` None or the body of a `Cancel`, `{interrupt id: response}` for `respond`, a prompt for `steer`.
    `invocation_state` has the caller's values from a response on; None leaves those that the run has.
    """

    type: str = "signal.received"
    signal_id: str
    kind: str
    body: Any = None
    invocation_state: dict[str, Any] | None = None


class StateChanged(CheckedRecord):
    """The state of the agent changed, by a hook: `values` are set, the keys in `deleted` are no longer there.

    `begins`: it is what the run began from, from its session or the agent; nothing was there before.
    """

    type: str = "state.changed"
    values: dict[str, Any] = {}
    deleted: list[str] = []
    begins: bool = False


class RunCompleted(CheckedRecord):
    """Terminal: the run completed. `result` is an `AgentResult` as a dict."""

    type: str = "run.completed"
    result: dict[str, Any]


class RunFailed(CheckedRecord):
    """Terminal: the run failed. With `force_stop` readers emit Strands' `force_stop` event before it."""

    type: str = "run.failed"
    error_type: str
    message: str
    force_stop: bool = False


class RunCancelled(CheckedRecord):
    """Terminal: the run was cancelled, and its last message says so. `result` is an `AgentResult` as a dict."""

    type: str = "run.cancelled"
    result: dict[str, Any]


TERMINAL_TYPE_OF_STATE: Final[Mapping[str, str]] = {
    "completed": "run.completed",
    "failed": "run.failed",
    "cancelled": "run.cancelled",
}
TERMINAL_TYPES: Final = frozenset(TERMINAL_TYPE_OF_STATE.values())
