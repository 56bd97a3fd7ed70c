"""Every exception that playhead raises. Each names what went wrong, with which value, and what to do.

All derive from `PlayheadError`; the command line prints their text and exits with `exit_code`.
Names shared with Strands (`MaxTokensReachedException`, …) keep Strands' spelling, since callers catch them by it.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "AgentBusyError",
    "AgentNotFoundError",
    "AgentPausedError",
    "BadTargetError",
    "ContextWindowOverflowException",
    "EncodingError",
    "FencedError",
    "FileEndsError",
    "ForeignRecordError",
    "ForkAfterEffectsError",
    "GapError",
    "InterruptNotOpenError",
    "InvalidMessageError",
    "LeaseTooShortError",
    "LogUnavailableError",
    "MaxTokensReachedException",
    "ModelConfigurationError",
    "ModelResponseError",
    "ModelThrottledException",
    "ModelUnavailableError",
    "NoWorkerError",
    "PlayheadError",
    "RecordNotFoundError",
    "RecordTooLargeError",
    "RedisAuthError",
    "RedisTooOldError",
    "RequestNotFoundError",
    "RewindError",
    "RunConflictError",
    "RunEndedError",
    "RunExistsError",
    "RunFailedError",
    "RunFileError",
    "RunNotFoundError",
    "ShardsError",
    "UnusableServerError",
    "WriteRefusedError",
    "remote_error",
]


class PlayheadError(Exception):
    """Base class of all errors of playhead; the text says what to do."""

    exit_code: ClassVar[int] = 1


class LogUnavailableError(PlayheadError):
    """Redis cannot be reached, or it refused for a reason that may pass."""

    exit_code = 69


class UnusableServerError(LogUnavailableError):
    """The server answers, and the log cannot be kept there as it was asked for: waiting does not help."""


class WriteRefusedError(LogUnavailableError):
    """The server answers, and accepts no writes now: it is full, it is a replica or lacks one, it loads its data, …"""


class RedisAuthError(PlayheadError):
    """Redis refused the user name or password, or the user lacks a right."""

    exit_code = 77


class RedisTooOldError(PlayheadError):
    """The server lacks what the log needs (Redis 6.2)."""

    exit_code = 69


class ShardsError(PlayheadError):
    """The number of shards is not that of the deployment.

    Attributes:
        settled: The number of shards of the deployment.
        wanted: The number that was requested.
    """

    exit_code = 78

    def __init__(self, *, prefix: str, settled: int, wanted: int) -> None:
        self.settled = settled
        self.wanted = wanted
        super().__init__(
            f"the deployment with prefix {prefix!r} has the number of shards {settled}, not {wanted}, and keeps "
            f"it, because sessions are placed by it. Pass {settled} or nothing; another number needs another prefix."
        )


class LeaseTooShortError(PlayheadError):
    """A worker cannot keep its lease, because round trips to Redis take too much of it."""

    exit_code = 69  # not 78: round trips may be shorter when a supervisor tries again


class BadTargetError(PlayheadError):
    """A TARGET that cannot be imported, holds no Agent, or names an agent twice."""

    exit_code = 64


class AgentNotFoundError(PlayheadError):
    """No agent of that name is known here."""

    exit_code = 64


class NoWorkerError(PlayheadError):
    """No live worker serves the run's agent, and the caller chose not to wait."""

    exit_code = 75


class AgentBusyError(PlayheadError):
    """The in-process agent is already running. It takes one invocation at a time, because each extends its history."""


class AgentPausedError(PlayheadError, ValueError):
    """The in-process agent waits for responses, and got another prompt.

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
    """A response to an interrupt that is not open: never asked, or already answered. Nothing was changed.

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


class RunEndedError(PlayheadError):
    """The run has ended, and the request needs a run that has not: a response, or a steer."""

    exit_code = 65


class RunConflictError(PlayheadError, ValueError):
    """A run id was submitted again for another request than the one that it was first submitted for. Nothing was changed.

    Attributes:
        run_id: The run.
        differs: The arguments that differ: `agent`, `prompt`, `session_id`, `invocation_state`.
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
    """A run is to be imported under an id that a run has already. Nothing was changed.

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
    """The request of a model call is not known: the record is not a `model.started`, or what it was made of is gone."""

    exit_code = 66


class RecordNotFoundError(PlayheadError):
    """The run does not have a record of that number: it is beyond the last one."""

    exit_code = 66


class GapError(PlayheadError):
    """Records that a reader needs are not in the log: they were removed, or are not there again yet.

    Attributes:
        run_id: The run.
        expected: The `seq` of the record that the reader needed next.
        found: The `seq` that was there instead, or None if the log ends before it.
    """

    exit_code = 66

    def __init__(self, run_id: str, *, expected: int, found: int | None) -> None:
        self.run_id = run_id
        self.expected = expected
        self.found = found
        if found is not None and found < expected:
            what = (
                f"record {expected} is beyond the end of the log, record {found}: the cursor is of another run, or Redis "
                "lost the end of this log"
            )
        elif found is None:
            what = f"record {expected} is missing, and the log ends before it: Redis lost its end, or it was deleted"
        else:
            what = f"record {expected} is missing, and the next one is {found}: the log was trimmed"
        super().__init__(f"run {run_id}: {what}. Read again from the start (after=0) or from an export.")


class RewindError(GapError):
    """Records that this reader has seen were replaced: Redis lost the end of the log, and the run went on before it.

    Attributes:
        expected: The `seq` of the last record seen, which is not in the log any more.
        found: The `seq` of the record that replaced it, or None if the log ends before it and will not get it back.
        common: The `seq` of the last record that is certainly unchanged; 0 if none is known.
    """

    def __init__(self, run_id: str, *, expected: int, found: int | None, common: int = 0) -> None:
        super().__init__(run_id, expected=expected, found=found)
        self.common = common
        now = "the log ends before it" if found is None else "another record replaced it"
        self.args: tuple[Any, ...] = (
            f"run {run_id}: record {expected}, which this reader has seen, is gone ({now}): Redis lost the end "
            f"of the log, and the run went on from before it. Read again after {common} (after={common}), and discard what was "
            "read beyond that.",
        )


class FileEndsError(GapError):
    """The run had not ended when it was written to this file, and the reader has read all that the file has of it.

    Attributes:
        state: The run's state when it was written.
    """

    def __init__(self, run_id: str, *, expected: int, state: str) -> None:
        super().__init__(run_id, expected=expected, found=None)
        self.state = state
        self.args: tuple[Any, ...] = (
            f"run {run_id} was {state} when it was exported, so the file ends with its record {expected - 1}. "
            "Export it again after its end to have the rest.",
        )


class FencedError(PlayheadError):
    """This process lost the run to another process. Its last append may or may not be stored."""


class ForeignRecordError(PlayheadError):
    """A stream entry that is damaged or was not written by playhead."""

    exit_code = 65


class EncodingError(PlayheadError):
    """A value that has no msgpack form; the text says where it was found."""

    exit_code = 65


class InvalidMessageError(PlayheadError, ValueError):
    """A prompt, steer or message that no model can be sent: nothing was stored. The text names the value."""

    exit_code = 65


class RecordTooLargeError(PlayheadError):
    """A prompt or record above the size limit (default 1 MiB of msgpack)."""

    exit_code = 65

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"{what} is {size:,} bytes, over the limit of {limit:,}. "
            "Store large content elsewhere and pass a reference, or raise max_record_bytes."
        )


class RunFileError(PlayheadError):
    """A file of runs that cannot be read: cut short, edited, of a newer format, or something else.

    Attributes:
        path: The file.
        line: The number of the line at fault, from 1; 0 if it is not about a line.
    """

    exit_code = 65

    def __init__(self, path: str, line: int, what: str) -> None:
        self.path = path
        self.line = line
        super().__init__(f"{path}, line {line}: {what}" if line else f"{path}: {what}")


class ModelConfigurationError(PlayheadError):
    """A model name that cannot be resolved; a missing key, file or optional package."""

    exit_code = 78


class ModelUnavailableError(PlayheadError):
    """The model cannot be reached, or cannot serve now; the loop makes the call again, as the agent's `retry` says.

    A custom model raises it for a fault that passes: a broken connection, an overloaded server.

    Args:
        text: What happened.
        retry_after: Seconds that the provider asked to wait; None if it did not ask.
    """

    transient: ClassVar[bool] = True
    retry_after: float | None = None

    def __init__(self, text: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class ModelThrottledException(ModelUnavailableError):
    """The model provider asked to slow down (Strands' name)."""


class ModelResponseError(PlayheadError):
    """A model provider's response is an error inside a stream, or cannot be understood. The text has its words.

    Attributes:
        status: The HTTP status that the provider named in the response, or None.
        code: The provider's own code, such as `server_error`, or None.
        retry_after: The seconds after which the provider asked to be called again, or None.
        transient: Whether the same request may succeed later.
    """

    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    transient: bool = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.transient = transient


class ContextWindowOverflowException(PlayheadError):
    """The request does not fit the model's context window (Strands' name)."""


class MaxTokensReachedException(PlayheadError):
    """The model stopped at its token limit; the partial message is in the history (Strands' name)."""


class RunFailedError(PlayheadError):
    """A run ended with `run.failed`.

    Readers get a subclass that carries the name of the worker's exception, and that also derives from the built-in
    exception of that name if there is one, so `except RuntimeError` works across processes.

    Attributes:
        run_id: The run.
        error_type: The class name of the exception on the worker.
    """

    run_id: str = ""
    error_type: str = "RunFailedError"


_OURS: dict[str, type[PlayheadError]] = {
    cls.__name__: cls
    for cls in (
        MaxTokensReachedException,
        ModelThrottledException,
        ModelUnavailableError,
        ContextWindowOverflowException,
        RecordTooLargeError,
        EncodingError,
        InvalidMessageError,
        ForeignRecordError,
        GapError,
        ModelConfigurationError,
        ModelResponseError,
    )
}


def remote_error(error_type: str, message: str, *, run_id: str = "") -> RunFailedError:
    """Make the reader's exception for a worker's: same class name, same text, caught as the same built-in exception.

    Only built-in exceptions that take one text argument and playhead's own are used as bases; nothing is imported or
    executed by name.
    """
    base: Any = _OURS.get(error_type) or getattr(builtins, error_type, None)
    bases: tuple[type, ...] = (RunFailedError,)
    if isinstance(base, type) and issubclass(base, Exception) and base is not Exception:
        bases = (RunFailedError, base)
    try:
        # Exception's own methods, because some built-ins need other arguments or, as KeyError, quote their text again.
        methods = {"__init__": Exception.__init__, "__str__": Exception.__str__}
        cls = type(error_type, bases, {"__module__": __name__, **methods})
        error = cls(message)
        str(error)
    except TypeError:  # a base with its own memory layout or signature: keep the name, drop the base
        error = type(error_type, (RunFailedError,), {"__module__": __name__})(message)
    assert isinstance(error, RunFailedError)
    error.run_id = run_id
    error.error_type = error_type
    return error
