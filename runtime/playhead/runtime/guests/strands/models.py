"""Models of a Strands agent whose calls are recorded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from strands.models.model import Model

from playhead.runtime.guests.strands.forms import steady, wire
from playhead.runtime.guests.strands.hosted import HOSTED, HostedRun

__all__ = ["RecordedModel", "ShownModel", "bare_model"]


class RecordedModel(Model):
    """A model whose calls readers do not see: those of summaries, judges and agents within the agent."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def stateful(self) -> bool:
        """As that of the model."""
        return self.inner.stateful

    @property
    def context_window_limit(self) -> int | None:
        """As that of the model."""
        return self.inner.context_window_limit

    def update_config(self, **model_config: Any) -> None:
        """Change the model's."""
        self.inner.update_config(**model_config)

    def get_config(self) -> Any:
        """The model's."""
        return self.inner.get_config()

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the model. Strands' deprecated way of a structured output, which is not recorded."""
        return self.inner.structured_output(*args, **kwargs)

    async def stream(
        self, messages: Any, tool_specs: Any = None, system_prompt: Any = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        """Ask the model, or give what it answered before."""

        def asks() -> AsyncIterable[Any]:
            if run is not None and run.recorder.cancelled:
                return _no_answer()
            return self.inner.stream(messages, tool_specs, system_prompt, **kwargs)

        run = HOSTED.get()
        request = {
            "messages": steady(wire(messages)),  # ids and times are made up each time
            "system_prompt": system_prompt,
            "tool_specs": tool_specs,
            "tool_choice": kwargs.get("tool_choice"),
        }
        items = asks() if run is None else self._recorded(run, request, asks)
        try:
            async for chunk in items:
                yield chunk
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _recorded(self, run: HostedRun, request: object, asks: Any) -> AsyncGenerator[Any, None]:
        return run.models.hidden(request, asks)


class ShownModel(RecordedModel):
    """The model of a call of the agent's own cycle, whose chunks readers see as they pass."""

    def _recorded(self, run: HostedRun, request: object, asks: Any) -> AsyncGenerator[Any, None]:
        return run.models.shown(request, asks)


async def _no_answer() -> AsyncGenerator[Any, None]:
    """What a model that is not asked says, because its run is cancelled: Strands looks at the cancel when a chunk arrives."""
    yield {"messageStart": {"role": "assistant"}}


def bare_model(model: Model) -> Model:
    """The model without what records its calls."""
    return model.inner if isinstance(model, RecordedModel) else model
