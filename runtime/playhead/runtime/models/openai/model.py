"""OpenAI and every server that speaks its Chat Completions API: vLLM, Ollama, llama.cpp and gateways, by `base_url`."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

import anyio
import anyio.to_thread

from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelConfigurationError,
    ModelThrottledException,
)
from playhead.runtime.models import chunks as c
from playhead.runtime.models.openai.chunks import ChunkTranslator
from playhead.runtime.models.openai.messages import chat_request

__all__ = ["OpenAIModel", "load_sdk"]

_CLOSE_S = 5.0
_SHORTEST_SECRET = 8  # anything shorter is a filler for a server that wants no key, and may occur in any text
_NO_KEY = "none"  # what the SDK sends to a server that wants no key; it refuses to send nothing

_SDK_OPTIONS = frozenset({"extra_body", "extra_headers", "extra_query", "timeout"})
"""Keys of `params` that the SDK takes for itself instead of sending them."""

_OVERFLOW = re.compile(
    "|".join(
        (
            r"context[_ ]length",
            r"exceed_context_size",
            r"exceeds? (?:the )?(?:(?:model's|available) )?context (?:size|window|limit)",
            r"exceeds the max_model_len",
            r"exceed(?:s|ed)?(?: customer)? model maximum",
            r"exceeds the maximum number of tokens allowed",
            r"prompt is too long",
            r"input is too long",
            r"too many (?:input )?tokens",
        )
    ),
    re.IGNORECASE,
)
"""How OpenAI, vLLM, llama.cpp, Bedrock, Gemini and Anthropic's gateway say that a request does not fit."""


class OpenAIModel:
    """A `Model` over the `openai` SDK, streaming, one HTTP connection per call.

    Args:
        model_id: The server's name of the model, such as `gpt-5-mini`.
        base_url: The API's address; None takes `OPENAI_BASE_URL`, else OpenAI itself.
        api_key: None takes `OPENAI_API_KEY`. Not needed for a server given by `base_url` that wants none.
        params: Further keys of each request, the server's own included, such as `{"temperature": 0, "top_k": 20}`;
            `timeout` (seconds), `extra_headers`, `extra_query` and `extra_body` mean what they mean to the SDK.
        client_args: Further arguments of `openai.AsyncOpenAI`, such as `timeout` in seconds. An `http_client` given
            here stays open and is the caller's to close.
        continue_params: Further keys of a request that ends in a partial answer, for servers that go on behind one; None
            if this one does not. vLLM takes `{"continue_final_message": True, "add_generation_prompt": False}`;
            llama.cpp needs no key, so `{}`, but refuses it to models that think.

    Attributes:
        continues_partial: Whether `continue_params` were given, so that an agent may have `on_partial="continue"`.

    `stream` delivers text, reasoning and tool input as they arrive. It raises:

    * `ModelThrottledException` for status 429, but for an exhausted quota, which waiting does not cure;
    * `ContextWindowOverflowException` where the server says the request does not fit;
    * `ModelConfigurationError` when there is no key; not before the first call, so an agent can be imported without;
    * TypeError for a content block that the API cannot carry;
    * `openai.APIConnectionError` when the connection drops, and also when the stream ends with no finish reason: half
      an answer never looks like a whole one;
    * any other `openai.APIError` as it is.

    Nothing is retried here, that is the loop's. The key is in no error and in no repr. Closing or cancelling the stream
    closes its connection. One object may serve several event loops and threads.
    """

    _trust_env: ClassVar[bool] = True
    """Whether proxies named in the environment are used."""

    def __init__(
        self,
        model_id: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        params: dict[str, Any] | None = None,
        client_args: dict[str, Any] | None = None,
        continue_params: dict[str, Any] | None = None,
    ) -> None:
        self.model_id = model_id
        self.continues_partial: bool = continue_params is not None
        self._continue_params = dict(continue_params or {})
        self._params = dict(params or {})
        self._client_args: dict[str, Any] = {"max_retries": 0, **(client_args or {})}
        if base_url is not None:
            self._client_args["base_url"] = base_url
        if api_key is not None:
            self._client_args["api_key"] = api_key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_id!r})"

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """Ask the model and yield its answer's chunks; see the class for what is raised. `kwargs` are not used."""
        request = self._request(chat_request(messages, tool_specs, system_prompt, tool_choice=tool_choice))
        await load_sdk()
        import openai

        started = time.monotonic()
        try:
            async with self._completion(request) as events:
                yield c.message_start()
                answer = ChunkTranslator()
                async for event in events:
                    for chunk in answer.feed(event):
                        yield chunk
                if not answer.finished:
                    raise openai.APIConnectionError(
                        message=f"The stream of model {self.model_id} ended before the answer was finished.",
                        request=events.response.request,
                    )
                yield answer.metadata(round((time.monotonic() - started) * 1000))
        except openai.APIError as error:
            self._hide_key(error)
            kind = _overload(error)
            if kind is None:
                raise
            raise kind(f"model {self.model_id}: {error}") from error

    def _request(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the SDK's `create`; it refuses keys it does not know, so `params` go by `extra_body`."""
        options = {key: value for key, value in self._params.items() if key in _SDK_OPTIONS}
        ours = {**conversation, "model": self.model_id, "stream": True}
        body = {"stream_options": {"include_usage": True}, **self._params, **options.pop("extra_body", {})}
        if conversation["messages"][-1:] and conversation["messages"][-1]["role"] == "assistant":
            body |= self._continue_params
        body = {key: value for key, value in body.items() if key not in ours and key not in _SDK_OPTIONS}
        return {**options, **ours, "extra_body": body}

    @asynccontextmanager
    async def _completion(self, request: dict[str, Any]) -> AsyncGenerator[Any]:
        """The SDK's stream of events of one request; client and connection are closed on every way out."""
        import httpx
        import openai

        client = self._client()
        async with _closing(client, keep="http_client" in self._client_args):
            events: Any = await client.chat.completions.create(**request)
            async with _closing(events):
                try:
                    yield events
                except (json.JSONDecodeError, UnicodeDecodeError) as error:
                    raise openai.APIError(
                        f"The server of model {self.model_id} sent a stream event that is not JSON ({error}).",
                        events.response.request,
                        body=None,
                    ) from error
                except httpx.TransportError as error:  # SDK 2 lets it through once the stream has begun
                    message = f"The stream of model {self.model_id} broke: {error or type(error).__name__}"
                    raise openai.APIConnectionError(message=message, request=events.response.request) from error

    def _client(self) -> Any:
        import openai

        args = dict(self._client_args)
        if "http_client" not in args:
            args["http_client"] = openai.DefaultAsyncHttpxClient(verify=_ssl_context(), trust_env=self._trust_env)
        if args.get("base_url") or os.environ.get("OPENAI_BASE_URL"):
            args["api_key"] = args.get("api_key") or os.environ.get("OPENAI_API_KEY") or _NO_KEY
        try:
            return openai.AsyncOpenAI(**args)
        except openai.OpenAIError as error:
            raise ModelConfigurationError(
                f"model openai/{self.model_id} cannot be used: {error} "
                "Set OPENAI_API_KEY; a server that needs no key is named by OPENAI_BASE_URL or base_url=."
            ) from error

    def _hide_key(self, error: Any) -> None:
        """Some gateways repeat the key they were given in what they answer."""
        key = self._client_args.get("api_key") or os.environ.get("OPENAI_API_KEY")
        if isinstance(key, str) and len(key) >= _SHORTEST_SECRET and key in f"{error} {error.message} {error.body}":
            error.message = error.message.replace(key, "***")
            error.args = (error.message,)
            error.body = None


def _overload(error: Any) -> type[Exception] | None:
    """The exception that tells the loop to wait or to cut the history, if an `openai.APIError` means either."""
    code = str(error.code or "")
    if getattr(error, "status_code", None) == 429 or code == "rate_limit_exceeded":
        return None if code == "insufficient_quota" else ModelThrottledException
    return ContextWindowOverflowException if _OVERFLOW.search(f"{code} {error.message}") else None


@asynccontextmanager
async def _closing(resource: Any, *, keep: bool = False) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        if not keep:
            # Shielded: a cancelled call must still give its connection back.
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await resource.close()


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """The trust settings of the SDK's own HTTP library, read once: it costs 20 ms of CPU, too much for each call."""
    import openai

    library = openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]  # httpx2, or httpx before SDK 3
    return cast("ssl.SSLContext", importlib.import_module(library).create_ssl_context())


async def load_sdk() -> None:
    """Import the SDK in a thread, once: it takes seconds on a slow machine, and a blocked event loop looks dead."""
    if not _ssl_context.cache_info().currsize:
        await anyio.to_thread.run_sync(_import_sdk)


def _import_sdk() -> None:
    importlib.import_module("httpx")
    import openai

    http_client = openai.DefaultAsyncHttpxClient(verify=_ssl_context())
    # Never used: the SDK imports much of itself only with the first client and its first resource.
    _ = openai.AsyncOpenAI(api_key=_NO_KEY, http_client=http_client).chat.completions
