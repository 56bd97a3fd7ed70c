"""Errors of model providers. Names that Strands also has keep Strands' spelling."""

from __future__ import annotations

from typing import ClassVar

from playhead.runtime.core.errors.root import PlayheadError
from playhead.runtime.core.errors.strands import also_in_strands

__all__ = [
    "ContextWindowOverflowException",
    "MaxTokensReachedException",
    "ModelConfigurationError",
    "ModelResponseError",
    "ModelThrottledException",
    "ModelUnavailableError",
    "StructuredOutputException",
]


class ModelConfigurationError(PlayheadError):
    """A model's name cannot be resolved, or a key, file or optional package is missing."""

    exit_code = 78


class ModelUnavailableError(PlayheadError):
    """The model cannot be reached, or cannot serve now; the loop makes the call again, as the agent's `retry` says.

    A custom model raises it for a fault that passes: a broken connection, an overloaded server.

    Args:
        text: The message.
        retry_after: The seconds that the provider asked to wait; None if it did not ask.
    """

    transient: ClassVar[bool] = True
    retry_after: float | None = None

    def __init__(self, text: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@also_in_strands("ModelThrottledException")
class ModelThrottledException(ModelUnavailableError):
    """The model provider asked to slow down (Strands' name)."""

    @property
    def message(self) -> str:
        """The exception's message, under Strands' name."""
        return str(self)


class ModelResponseError(PlayheadError):
    """A model provider's response is an error inside a stream, or cannot be understood. The message quotes it.

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


@also_in_strands("ContextWindowOverflowException")
class ContextWindowOverflowException(PlayheadError):
    """The request does not fit the model's context window (Strands' name)."""


@also_in_strands("MaxTokensReachedException")
class MaxTokensReachedException(PlayheadError):
    """The model stopped at its token limit; the partial message is in the history (Strands' name)."""


@also_in_strands("StructuredOutputException")
class StructuredOutputException(PlayheadError):
    """The model did not give the structured output, or the reader's class refuses it (Strands' name)."""

    @property
    def message(self) -> str:
        """The exception's message, under Strands' name."""
        return str(self)
