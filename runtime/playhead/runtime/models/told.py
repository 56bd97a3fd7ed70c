"""Prepares a model call's error for the loop and the user: with the server's words and without the key."""

from __future__ import annotations

import re
from typing import Any, Final

from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelResponseError,
    ModelThrottledException,
)
from playhead.runtime.core.faults import status_of
from playhead.runtime.models.server_errors import error_words

__all__ = ["is_overflow", "told"]

_SHORTEST_SECRET: Final = 8  # a shorter key is a placeholder for a server without keys, and may occur in any text

_OVERFLOW = re.compile(
    "|".join(
        (
            r"context[_ ]length",
            r"exceed_context_size",
            r"exceeds? (?:(?:the|your) )?(?:(?:model's|available) )?context (?:size|window|limit)",
            r"exceeds the max_model_len",
            r"exceed(?:s|ed)?(?: customer)? model maximum",
            r"exceeds the maximum number of tokens allowed",
            r"prompt is too long",
            r"input is too long",
            r"too many (?:(?:input )?tokens|total text bytes)",
        )
    ),
    re.IGNORECASE,
)
"""Messages of OpenAI, vLLM, llama.cpp, Bedrock, Gemini and Anthropic's gateway for a request that does not fit."""

_THROTTLED: Final = re.compile(r"rate.?limit|too.?many.?requests|throttl|resource.?exhausted", re.IGNORECASE)
"""Codes of providers that ask to slow down."""


def told(error: Any, *, model_id: str, key: str) -> Exception:
    """The exception to raise for an `APIError` of an SDK or a `ModelResponseError`.

    Args:
        error: The error. Its message is changed in place, because its class says what went wrong.
        model_id: The server's name of the model.
        key: The key, which some gateways repeat in their response; empty without one.
    """
    if isinstance(error, ModelResponseError):
        error.args = (_without_key(f"model {model_id}: {error}", key),)
        text = str(error)
    else:
        _complete(error, key)
        text = f"model {model_id}: {error}"
    kind = _overload(error)
    if kind is None:
        return error
    overload = kind(text)
    overload.__cause__ = error
    return overload


def _without_key(text: str, key: str) -> str:
    return text.replace(key, "***") if len(key) >= _SHORTEST_SECRET else text


def _complete(error: Any, key: str) -> None:
    """Add the server's words to an error of the SDK, which has them only for some forms of a body, and hide the key."""
    words = error_words(error.body) if error.body else ""
    message = error.message if words in error.message else f"{error.message} - {words}"
    shown = _without_key(message, key)
    if shown != message or _without_key(f"{error.body}", key) != f"{error.body}":
        error.body = None
    if shown != error.message:
        error.message = shown
        error.args = (shown,)


def _overload(error: Any) -> type[Exception] | None:
    """The exception that tells the loop to wait or to cut the history, if the error means one of these."""
    status, code = status_of(error), str(getattr(error, "code", None) or "")
    if status == 429 or _THROTTLED.search(code):
        return None if code == "insufficient_quota" else ModelThrottledException  # a quota does not pass
    return ContextWindowOverflowException if is_overflow(f"{code} {error}") else None


def is_overflow(words: str) -> bool:
    """Whether a server's words say that a request does not fit the context window."""
    return bool(_OVERFLOW.search(words))
