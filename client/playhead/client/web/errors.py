"""Errors as responses: a status, and a JSON body that says what is wrong and names nothing of the fleet."""

from __future__ import annotations

import logging
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from playhead.runtime.core.errors import (
    AgentPausedError,
    EncodingError,
    ForkAfterEffectsError,
    GapError,
    InterruptNotOpenError,
    LogUnavailableError,
    NoWorkerError,
    RecordNotFoundError,
    RecordTooLargeError,
    RequestNotFoundError,
    RewindError,
    RunConflictError,
    RunEndedError,
    RunExistsError,
    RunFailedError,
    RunNotFoundError,
    SessionExistsError,
    SessionHeldError,
    SessionNotFoundError,
)

__all__ = ["error_response", "refusal", "told"]

logger: logging.Logger = logging.getLogger(__name__)

_STATUSES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (RunFailedError, 500),  # first, because one may be a subclass of any exception below
    (RunNotFoundError, 404),
    (RecordNotFoundError, 404),
    (RequestNotFoundError, 404),
    (SessionNotFoundError, 404),
    (GapError, 409),
    (RunConflictError, 409),
    (RunEndedError, 409),
    (RunExistsError, 409),
    (SessionExistsError, 409),
    (SessionHeldError, 409),
    (InterruptNotOpenError, 409),
    (AgentPausedError, 409),
    (ForkAfterEffectsError, 409),
    (RecordTooLargeError, 413),
    (LogUnavailableError, 503),
    (NoWorkerError, 503),
    (EncodingError, 400),
    (ValueError, 400),
)
_OF_THE_FLEET: Final[tuple[tuple[type[Exception], str], ...]] = (
    (LogUnavailableError, "the runs cannot be reached now; try again"),
    (NoWorkerError, "no worker serves the agent now; the run stays queued"),
)
"""What is said instead of a text that names servers, workers or agents."""

_RETRY_AFTER: Final = {"retry-after": "1"}


def _status(error: Exception) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def told(error: Exception) -> dict[str, Any]:
    """An error as a browser is told of it: its `type` and `message`; of a `RewindError` also `after`, where to read on.

    The message of an error that is not about the run or the request is replaced, and logged instead.
    """
    if isinstance(error, RunFailedError):
        return {"type": error.error_type, "message": str(error)}
    data: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    for kind, text in _OF_THE_FLEET:
        if isinstance(error, kind):
            logger.warning("%s", error)
            return data | {"message": text}
    if _status(error) == 500:
        logger.error("%s", error, exc_info=error)
        return data | {"message": "the server cannot read the run; its log says why"}
    return data | {"after": error.common} if isinstance(error, RewindError) else data


def refusal(status: int, data: dict[str, Any]) -> Response:
    """A JSON response of this status with an error."""
    return JSONResponse({"error": data}, status, _RETRY_AFTER if status == 503 else None)


async def error_response(request: Request, error: Exception) -> Response:
    """The response to an error of playhead: `app.add_exception_handler(PlayheadError, error_response)`.

    | status | error |
    |---|---|
    | 400 | a value of the request is invalid |
    | 404 | no such run or record |
    | 409 | the run is not in the state for it: it has ended, waits for something else, lacks the cursor, … |
    | 413 | the prompt, response or steer is too large |
    | 503 | the runs cannot be reached now, or no worker serves the agent |
    | 500 | the run failed, or something else |

    The body is `{"error": {"type": …, "message": …}}`.
    """
    return refusal(_status(error), told(error))
