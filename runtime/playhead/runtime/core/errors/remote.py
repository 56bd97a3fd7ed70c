"""Makes the exception that a reader raises for one that a worker raised."""

from __future__ import annotations

import builtins
from typing import Any

from playhead.runtime.core.errors.hosting import DivergedError, OutcomeUnknownError, RecordedError
from playhead.runtime.core.errors.log import EncodingError, ForeignRecordError, GapError, RecordTooLargeError
from playhead.runtime.core.errors.models import (
    ContextWindowOverflowException,
    MaxTokensReachedException,
    ModelConfigurationError,
    ModelResponseError,
    ModelThrottledException,
    ModelUnavailableError,
    StructuredOutputException,
)
from playhead.runtime.core.errors.requests import AgentFactoryError, InvalidMessageError, OverrideRefusedError
from playhead.runtime.core.errors.root import PlayheadError

__all__ = ["RunFailedError", "remote_error"]


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
        OverrideRefusedError,
        StructuredOutputException,
        AgentFactoryError,
        DivergedError,
        OutcomeUnknownError,
        RecordedError,
    )
}


def remote_error(error_type: str, message: str, *, run_id: str = "") -> RunFailedError:
    """Make a reader's exception from a worker's: the same class name and message, caught as the same built-in exception.

    Only playhead's own exceptions, and built-in ones that take one string argument, become bases; nothing is imported
    or executed by name.
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
