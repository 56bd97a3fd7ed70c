"""Errors of a caller's request, which names what does not exist or asks for what cannot be done now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from playhead.runtime.core.errors.root import PlayheadError
from playhead.runtime.core.errors.strands import also_in_strands

__all__ = [
    "AgentBusyError",
    "AgentFactoryError",
    "AgentNotFoundError",
    "AgentPausedError",
    "BadTargetError",
    "ForkAfterEffectsError",
    "InterruptNotOpenError",
    "InvalidMessageError",
    "NoWorkerError",
    "OverrideRefusedError",
    "RecordNotFoundError",
    "RequestNotFoundError",
    "RunConflictError",
    "RunEndedError",
    "RunExistsError",
    "RunNotEndedError",
    "RunNotFoundError",
    "SessionExistsError",
    "SessionHeldError",
    "SessionNotFoundError",
]


class BadTargetError(PlayheadError):
    """A TARGET cannot be imported, holds no Agent, or names an agent twice."""

    exit_code = 64


class AgentNotFoundError(PlayheadError):
    """No agent with that name is known here."""

    exit_code = 64


class AgentFactoryError(PlayheadError):
    """A factory raised, took too long or returned no Agent, so the run has no agent. Its cause is what the factory raised."""


class NoWorkerError(PlayheadError):
    """No live worker serves the run's agent, and the caller's time to wait for one has passed."""

    exit_code = 75


@also_in_strands("ConcurrencyException")
class AgentBusyError(PlayheadError):
    """The in-process agent is already running. It takes one invocation at a time, because each extends its history."""


class AgentPausedError(PlayheadError, ValueError):
    """The in-process agent waits for responses but got another prompt.

    Attributes:
        interrupt_ids: The interrupts it waits for.
    """

    def __init__(self, agent: str, interrupt_ids: Sequence[str]) -> None:
        self.interrupt_ids: list[str] = list(interrupt_ids)
        super().__init__(
            f"agent {agent!r} waits for responses to {', '.join(self.interrupt_ids)}; pass a list of "
            '{"interruptResponse": {"interruptId": …, "response": …}}, or give the invocation up with cancel().'
        )


class InterruptNotOpenError(PlayheadError, ValueError):
    """A response names an interrupt that is not open: it was never asked, or is already answered. Nothing was changed.

    Attributes:
        run_id: The run; empty for an in-process agent that waits for nothing.
        ids: The interrupt ids that are not open, in the order given.
    """

    exit_code = 64

    def __init__(self, run_id: str, ids: Sequence[str]) -> None:
        self.run_id = run_id
        self.ids: list[str] = list(ids)
        where = f"run {run_id} does not wait" if run_id else "the agent does not wait"
        super().__init__(
            f"{where} for a response to {', '.join(self.ids)}: never asked, or already answered. Nothing was changed; "
            "respond to the interrupts of the result whose stop_reason is 'interrupt'."
        )


class OverrideRefusedError(PlayheadError, ValueError):
    """A run is to have something else than its agent's own, which the agent does not allow.

    Attributes:
        agent: The agent's name.
        refused: What it does not allow, such as `model='openai/gpt-5'`.
        allowed: What it allows in its place; empty if nothing.
    """

    exit_code = 64

    def __init__(self, agent: str, refused: str, *, allowed: Sequence[str]) -> None:
        self.agent = agent
        self.refused = refused
        self.allowed: list[str] = list(allowed)
        told = f"it allows {', '.join(self.allowed)}" if self.allowed else "it allows none"
        super().__init__(
            f"agent {agent!r} does not allow {refused} for a run: {told}. The agent's allow_overrides say what it allows."
        )


class RunEndedError(PlayheadError):
    """The run has ended, but the request (a response or a steer) needs one that has not."""

    exit_code = 65


class RunNotEndedError(PlayheadError):
    """A run cannot be deleted because it has not ended. Nothing was changed.

    Attributes:
        run_id: The run.
    """

    exit_code = 65

    def __init__(self, run_id: str, state: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"run {run_id} is {state}, and only a run that has ended can be deleted: stop it first, with "
            f"`playhead cancel {run_id}`"
        )


class RunConflictError(PlayheadError, ValueError):
    """A run id was submitted again with a different request. Nothing was changed.

    Attributes:
        run_id: The run.
        differs: The arguments that differ: `agent`, `prompt`, `session_id`, `invocation_state`, `metadata`, overrides and
        terms; of a fork those of `fork`, and `parent`.
    """

    exit_code = 64

    def __init__(self, run_id: str, differs: Sequence[str]) -> None:
        self.run_id = run_id
        self.differs: list[str] = list(differs)
        super().__init__(
            f"run {run_id} was submitted before with another {' and '.join(self.differs)}, and one run_id is one run. "
            "Nothing was changed: to submit this as well, choose another id by `await client.new_run_id()`."
        )


class RunExistsError(PlayheadError, ValueError):
    """A run cannot be imported under an id that another run has. Nothing was changed.

    Attributes:
        run_id: The run.
    """

    exit_code = 64

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"a run {run_id!r} exists already, or is being imported by another process; nothing was changed. "
            "Import it under another id: --as NEW_ID."
        )


class ForkAfterEffectsError(PlayheadError, ValueError):
    """A fork would begin after tools have run. What they did stays done, so that must be accepted. Nothing was changed.

    Attributes:
        run_id: The run to fork.
        calls: How often each tool has run in the records that the fork would have.
        warning: What that means, in one sentence.
    """

    exit_code = 64

    def __init__(self, run_id: str, *, at: int, calls: Mapping[str, int]) -> None:
        self.run_id = run_id
        self.calls: dict[str, int] = dict(calls)
        told = ", ".join(f"{name} ({count})" for name, count in calls.items())
        self.warning: str = f"up to record {at} run {run_id} has run tools: {told}; a fork does not undo what they did"
        super().__init__(f"{self.warning}. Accept it with --yes, in Python with accept_effects=True.")


class RunNotFoundError(PlayheadError):
    """The run does not exist: never submitted, or removed when its retention ended."""

    exit_code = 66


class RequestNotFoundError(PlayheadError):
    """The request of a model call is not known: the record is not a `model.started`, or its definition or messages are gone."""

    exit_code = 66


class RecordNotFoundError(PlayheadError):
    """The run does not have a record with that number, because it is beyond the last one."""

    exit_code = 66


class InvalidMessageError(PlayheadError, ValueError):
    """A prompt, steer or message cannot be sent to any model; nothing was stored. The message names the value."""

    exit_code = 65


@also_in_strands("SessionException")
class SessionNotFoundError(PlayheadError):
    """There is no such session: no run of it was ever submitted, or it was deleted, or its retention has ended.

    Attributes:
        session_id: The session.
    """

    exit_code = 66

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(
            f"no session {session_id!r}: it never had a run under this prefix, or it was deleted, or its retention has ended"
        )


@also_in_strands("SessionException")
class SessionHeldError(PlayheadError):
    """A run holds the session, which therefore cannot be changed. Nothing was changed.

    Attributes:
        session_id: The session.
        run_id: The run.
        state: The run's state.
    """

    exit_code = 65

    def __init__(self, session_id: str, run_id: str, *, state: str) -> None:
        self.session_id = session_id
        self.run_id = run_id
        self.state = state
        super().__init__(
            f"run {run_id} ({state}) holds the session {session_id!r}, so nothing was changed: wait until the run has "
            "ended, or cancel it"
        )


@also_in_strands("SessionException")
class SessionExistsError(PlayheadError, ValueError):
    """A session cannot be made under this id, because it has messages or a run already. Nothing was changed.

    Attributes:
        session_id: The session.
    """

    exit_code = 64

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"there is a session {session_id!r} already; nothing was changed. Choose another id.")
