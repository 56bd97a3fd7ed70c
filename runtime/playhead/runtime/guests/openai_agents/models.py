"""Models of the OpenAI Agents SDK whose answers are recorded in hosted runs. Elsewhere they work as before."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from agents import Model, ModelProvider

from playhead.runtime.guests.openai_agents import forms
from playhead.runtime.host.context import current_context

__all__ = ["RecordedProvider", "recorded_model"]


def _asked(instructions: Any, given: Any) -> dict[str, Any]:
    return {"instructions": instructions, "messages": given}


class _RecordedModel(Model):
    def __init__(self, inner: Model) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def get_response(self, system_instructions: Any, input: Any, *given: Any, **more: Any) -> Any:  # noqa: A002
        async def asks() -> AsyncIterator[Any]:
            yield forms.response_of(await self.inner.get_response(system_instructions, input, *given, **more))

        if (ctx := current_context()) is None:
            return await self.inner.get_response(system_instructions, input, *given, **more)
        (whole,) = [item async for item in ctx.model(_asked(system_instructions, input), asks)]
        return forms.response_of(whole)

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        *given: Any,
        **more: Any,
    ) -> AsyncIterator[Any]:
        def asks() -> AsyncGenerator[Any, None]:
            return cast("Any", self.inner.stream_response(system_instructions, input, *given, **more))

        async def chunks() -> AsyncIterator[Any]:
            async with aclosing(asks()) as events:
                async for event in events:
                    yield forms.chunk_of(event)

        ctx = current_context()
        async with aclosing(asks() if ctx is None else ctx.model(_asked(system_instructions, input), chunks)) as items:
            async for item in items:
                yield item if ctx is None else forms.of_chunk(item)

    async def close(self) -> None:
        await self.inner.close()

    def get_retry_advice(self, request: Any) -> Any:
        return self.inner.get_retry_advice(request)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await vars(Model)["_cleanup_on_run_end"](self.inner, owner)


class RecordedProvider(ModelProvider):
    """Gives models by their names, as another provider does."""

    def __init__(self, inner: ModelProvider) -> None:
        self._inner = inner

    def get_model(self, model_name: str | None) -> Model:
        """The model with that name."""
        return recorded_model(self._inner.get_model(model_name))

    async def aclose(self) -> None:
        """Close that provider."""
        await self._inner.aclose()


def recorded_model(model: Any) -> Any:
    """The model with its answers recorded; a name, or None, as it is."""
    return _RecordedModel(model) if isinstance(model, Model) and not isinstance(model, _RecordedModel) else model
