"""Reads the events and the errors of Bedrock's ConverseStream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelConfigurationError,
    ModelResponseError,
    ModelThrottledException,
    ModelUnavailableError,
)
from playhead.runtime.core.faults import TRANSIENT_STATUSES
from playhead.runtime.core.plain import plain
from playhead.runtime.models.finish import is_failure
from playhead.runtime.models.server_errors import broken_off, not_understood
from playhead.runtime.models.told import is_overflow

__all__ = ["ChunkReader", "told"]

_KINDS: Final = frozenset(
    {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
)

_STATUSES: Final = {
    "internalserverexception": 500,
    "modelerrorexception": 424,
    "modelnotreadyexception": 429,
    "modelstreamerrorexception": 503,  # of the service itself 424, but "retry your request"
    "modeltimeoutexception": 408,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "toomanyrequestsexception": 429,
    "validationexception": 400,
}
"""The HTTP status that an error has, which it lacks inside a stream."""

_UNREACHABLE: Final = frozenset({"ConnectionError", "HTTPClientError", "ClientError", "IncompleteReadError"})
"""Classes of botocore and aiohttp for a connection that could not be made or that broke."""

_NOT_CONFIGURED: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "SSOError"}
)
_GARBLED: Final = frozenset({"ParserError", "ResponseParserError"})


class ChunkReader:
    """One streamed message.

    Attributes:
        finished: Whether `messageStop` arrived. Without it the message is incomplete.
    """

    def __init__(self) -> None:
        self.finished: bool = False

    def read(self, event: Mapping[str, Any]) -> Chunk:
        """The chunk of one event: as it came, without the number of its block.

        Raises:
            ModelResponseError: If the event is of an unknown kind, or says that the message broke off.
        """
        ((kind, body),) = event.items() if len(event) == 1 else [("", event)]
        if kind not in _KINDS:
            raise not_understood("an event of an unknown kind", plain(event))
        fields = {name: value for name, value in plain(body).items() if name != "contentBlockIndex"}
        if kind == "contentBlockStart" and "toolUse" not in (fields.get("start") or {}):
            fields["start"] = {}
        if kind == "messageStop":
            word = str(fields.get("stopReason"))
            if is_failure(word) and word != "model_context_window_exceeded":
                raise broken_off(word)
            fields["stopReason"] = "max_tokens" if word == "model_context_window_exceeded" else word
            self.finished = True
        return {kind: fields}


def told(error: Exception, *, model_id: str) -> Exception:
    """The exception to raise for one of botocore or aiohttp: by its class or its code, with the service's words."""
    names = {cls.__name__ for cls in type(error).__mro__}
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return _of_service(error, cast("Mapping[str, Any]", response), model_id)
    text = f"model {model_id}: {str(error) or type(error).__name__}"
    if names & _NOT_CONFIGURED:
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or AWS_BEARER_TOKEN_BEDROCK."
        return ModelConfigurationError(f"model bedrock/{model_id} cannot be used: {error}. {hint}")
    if names & _UNREACHABLE:
        return ModelUnavailableError(text)
    return ModelResponseError(text, transient=True) if names & _GARBLED else error


def _of_service(error: Exception, response: Mapping[str, Any], model_id: str) -> Exception:
    body: Any = response.get("Error") or {}
    code, words = str(body.get("Code") or ""), str(body.get("Message") or error)
    status: Any = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
    status = _STATUSES.get(code.lower(), status if isinstance(status, int) and status >= 400 else None)
    text = f"model {model_id}: {words} ({code})"
    if is_overflow(words):
        return ContextWindowOverflowException(text)
    if status == 429:
        return ModelThrottledException(text)
    return ModelResponseError(text, status=status, code=code, transient=status in TRANSIENT_STATUSES)
