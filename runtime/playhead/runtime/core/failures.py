"""Makes the record of an exception: of one that ends a run, or of one after which a model call is made again. Pure."""

from __future__ import annotations

from typing import Final

from playhead.runtime.core.plain import plain_text
from playhead.runtime.core.records import ModelFailed, RunFailed, now_ms

__all__ = ["failure", "transient_failure"]

_MAX_ERROR_CHARS: Final = 10_000
_MAX_FAULT_CHARS: Final = 1000  # of each failed call; a run may have many of them


def failure(error: BaseException, *, force_stop: bool = True) -> RunFailed:
    """The record of an exception that ends a run. It can always be stored."""
    return RunFailed(at=now_ms(), error_type=type(error).__name__, message=_text(error), force_stop=force_stop)


def transient_failure(error: BaseException, *, delay: float = 0.0, attempt: int, overflow: bool = False) -> ModelFailed:
    """The record of an exception after which a model call is made again, if need be with a shorter history."""
    name, text = type(error).__name__, _text(error)[:_MAX_FAULT_CHARS]
    return ModelFailed(at=now_ms(), error_type=name, message=text, delay=delay, attempt=attempt, overflow=overflow)


def _text(error: BaseException) -> str:
    try:
        return plain_text(str(error))[:_MAX_ERROR_CHARS]
    except Exception:  # a broken __str__ must not prevent the end of the run
        return "(its text cannot be shown)"
