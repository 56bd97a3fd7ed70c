"""`Model`, the interface that the loop expects of a model provider."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any, Protocol, runtime_checkable

from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec

__all__ = ["Model"]


@runtime_checkable
class Model(Protocol):
    """A model provider: any object with Strands' `stream` method, so `strands.models` objects work unchanged.

    `stream` yields chunks in Converse order and ends. It raises `ModelThrottledException`, `ModelUnavailableError`,
    `ContextWindowOverflowException` or the vendor's own exception; a closed or cancelled stream releases its
    connection. After a transient error (see `core.faults.is_transient`) `stream` is called again. `messages` carry
    neither `metadata` nor `tracking_id`.

    The loop passes what Strands' loop passes, as far as `stream` accepts it: `tool_choice`, `system_prompt_content` (the
    system prompt as blocks), `invocation_state` (the caller's values), `cancel_signal` (a `threading.Event`),
    `agent_metadata` (with `session_id`), and `model_state`, a dict of the model's own, which is not in the log and so
    is empty after a takeover.

    A model that can continue a partial message (an assistant message at the end of `messages`) has an attribute
    `continues_partial` that is true. It then yields only the text that follows.

    A model may have a method `get_config()`, as Strands' models do. The mapping that it returns, with the model's id and
    parameters, is stored with the runs as part of the agent's definition, so it should not contain a secret; see
    `description.describe`.

    A model may have a method `with_params(params)`, which returns a model with these parameters besides its own: then a run
    may have `params` of its own.

    A model may have a method `check_ready()` without arguments, which raises `ModelConfigurationError` if a key, file
    or package that it needs is missing. A worker calls it at its start.
    """

    def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncIterable[Chunk]: ...
