"""OpenAI and servers with its Chat Completions API: vLLM, Ollama, llama.cpp and gateways, by `base_url`."""

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
_SHORTEST_SECRET = 8  # a shorter key is a placeholder for a server without keys, and may occur in any text
_NO_KEY = "none"  # sent to a server without keys, because the SDK requires a key

_SDK_OPTIONS = frozenset({"extra_body", "extra_headers", "extra_query", "timeout"})
"""Keys of `params` that the SDK uses itself and does not send."""

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
"""Error texts of OpenAI, vLLM, llama.cpp, Bedrock, Gemini and Anthropic's gateway for a request that does not fit."""


class OpenAIModel:
    """A `Model` over the `openai` SDK, streaming, one HTTP connection per call.

    Args:
        model_id: The server's name of the model, such as `gpt-5-mini`.
        base_url: The API's address; None means `OPENAI_BASE_URL`, else OpenAI itself.
        api_key: None means `OPENAI_API_KEY`. Not needed for a server given by `base_url` that requires none.
        params: Further keys of each request, including those of the server, such as `{"temperature": 0, "top_k": 20}`;
            `timeout` (seconds), `extra_headers`, `extra_query` and `extra_body` have the SDK's meaning.
        client_args: Further arguments of `openai.AsyncOpenAI`, such as `timeout` in seconds. The caller must close an
            `http_client` given here.
        continue_params: Further keys of a request that ends in a partial message, for servers that can continue it;
            None for other servers. vLLM needs `{"continue_final_message": True, "add_generation_prompt": False}`;
            llama.cpp needs no key, so `{}`, but does not continue the messages of reasoning models.

    Attributes:
        continues_partial: Whether `continue_params` were given, so that an agent may have `on_partial="continue"`.

    `stream` delivers text, reasoning and tool input as they arrive. It raises:

    * `ModelThrottledException` for status 429, except for an exhausted quota, because waiting does not help;
    * `ContextWindowOverflowException` if the server says that the request does not fit;
    * `ModelConfigurationError` if there is no key; raised at the first call, so an agent can be imported without one;
    * TypeError for a content block that the API cannot carry;
    * `openai.APIConnectionError` if the connection drops, and also if the stream ends without a finish reason, so an
      incomplete message never looks complete;
    * any other `openai.APIError` unchanged.

    Nothing is retried here; the loop retries. No error and no repr shows the key. Closing or cancelling the stream
    closes its connection. One object may be used from several event loops and threads.
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

    def get_config(self) -> dict[str, Any]:
        """What is stored of this model with the runs: its id, parameters and server, without the key."""
        base_url = self._client_args.get("base_url") or os.environ.get("OPENAI_BASE_URL")
        config = {"model_id": self.model_id, "params": self._params, "continue_params": self._continue_params}
        return {**config, "base_url": str(base_url)} if base_url else config

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """Call the model and yield its chunks; see the class for the errors. `kwargs` are not used."""
        request = self._request(chat_request(messages, tool_specs, system_prompt, tool_choice=tool_choice))
        await load_sdk()
        import openai

        started = time.monotonic()
        try:
            async with self._completion(request) as events:
                yield c.message_start()
                translator = ChunkTranslator()
                async for event in events:
                    for chunk in translator.feed(event):
                        yield chunk
                if not translator.finished:
                    raise openai.APIConnectionError(
                        message=f"The stream of model {self.model_id} ended before the message was finished.",
                        request=events.response.request,
                    )
                yield translator.metadata(round((time.monotonic() - started) * 1000))
        except openai.APIError as error:
            self._hide_key(error)
            kind = _overload(error)
            if kind is None:
                raise
            raise kind(f"model {self.model_id}: {error}") from error

    def _request(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the SDK's `create`. It refuses unknown keys, so `params` go by `extra_body`."""
        options = {key: value for key, value in self._params.items() if key in _SDK_OPTIONS}
        ours = {**conversation, "model": self.model_id, "stream": True}
        body = {"stream_options": {"include_usage": True}, **self._params, **options.pop("extra_body", {})}
        if conversation["messages"][-1:] and conversation["messages"][-1]["role"] == "assistant":
            body |= self._continue_params
        body = {key: value for key, value in body.items() if key not in ours and key not in _SDK_OPTIONS}
        return {**options, **ours, "extra_body": body}

    @asynccontextmanager
    async def _completion(self, request: dict[str, Any]) -> AsyncGenerator[Any]:
        """The SDK's stream of events of one request; client and connection are closed in every case."""
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
                except httpx.TransportError as error:  # SDK 2 does not wrap it once the stream has begun
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
                "Set OPENAI_API_KEY; for a server that needs no key set OPENAI_BASE_URL or pass base_url=."
            ) from error

    def _hide_key(self, error: Any) -> None:
        """Remove the key from an error, because some gateways repeat it in their response."""
        key = self._client_args.get("api_key") or os.environ.get("OPENAI_API_KEY")
        if isinstance(key, str) and len(key) >= _SHORTEST_SECRET and key in f"{error} {error.message} {error.body}":
            error.message = error.message.replace(key, "***")
            error.args = (error.message,)
            error.body = None


def _overload(error: Any) -> type[Exception] | None:
    """The exception that tells the loop to wait or to cut the history, if an `openai.APIError` means one of these."""
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
            # Shielded: a cancelled call must still return its connection.
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await resource.close()


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """The trust settings of the SDK's HTTP library, read once: reading takes 20 ms of CPU, too much for each call."""
    import openai

    library = openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]  # httpx2, or httpx before SDK 3
    return cast("ssl.SSLContext", importlib.import_module(library).create_ssl_context())


async def load_sdk() -> None:
    """Import the SDK in a thread, once: it may take seconds, and a blocked event loop counts as stuck."""
    if not _ssl_context.cache_info().currsize:
        await anyio.to_thread.run_sync(_import_sdk)


def _import_sdk() -> None:
    importlib.import_module("httpx")
    import openai

    http_client = openai.DefaultAsyncHttpxClient(verify=_ssl_context())
    # Never used: the SDK imports a large part of itself only with the first client and its first resource.
    _ = openai.AsyncOpenAI(api_key=_NO_KEY, http_client=http_client).chat.completions
