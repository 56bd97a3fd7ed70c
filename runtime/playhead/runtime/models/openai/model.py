"""OpenAI, by either of its APIs, and servers that have one of them: vLLM, Ollama, llama.cpp, gateways, by `base_url`."""

from __future__ import annotations

import copy
import operator
import os
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from playhead.runtime.core.arguments import check_choice, check_mapping, check_text
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.errors import ModelConfigurationError, ModelResponseError
from playhead.runtime.models import chunks as c
from playhead.runtime.models.openai.messages import SendBack
from playhead.runtime.models.openai.response import ResponseReader
from playhead.runtime.models.openai.wires import WIRES, Api
from playhead.runtime.models.sdk import (
    NO_KEY,
    arguments_of,
    check_installed,
    client_of,
    closing,
    load_sdk,
    response_of,
)
from playhead.runtime.models.told import told

__all__ = ["OpenAIModel"]

_OPENAI: Final = "https://api.openai.com/v1"

_SDK_OPTIONS = frozenset({"extra_body", "extra_headers", "extra_query", "timeout"})
"""Keys of `params` that the SDK uses itself and does not send."""


class OpenAIModel:
    """A `Model` over the `openai` SDK, streaming, one HTTP connection per call; needs the extra `playhead-runtime[openai]`.

    Args:
        model_id: The server's name of the model, such as `gpt-5-mini`.
        base_url: The API's address; None means `OPENAI_BASE_URL`, else OpenAI itself.
        api_key: None means `OPENAI_API_KEY`. Not needed for a server given by `base_url` that requires none.
        api: `"chat"` for Chat Completions, which nearly all servers have; `"responses"` for OpenAI's Responses API, where
            a reasoning model gets its own reasoning back and so need not think again after each tool call. Nothing is
            stored on the server.
        params: Additional keys of each request, including the server's own, such as `{"temperature": 0, "top_k": 20}`;
            `timeout` (seconds), `extra_headers`, `extra_query` and `extra_body` have the SDK's meaning.
            `{"stream_options": None}` omits that key, for servers that refuse it; they may report no usage then.
            `tools` are sent before those of the agent, such as `[{"type": "web_search"}]` with `api="responses"`.
        client_args: Additional arguments of `openai.AsyncOpenAI`, such as `timeout` in seconds. The caller must close an
            `http_client` given here.
        continue_params: Additional keys of a request that ends in a partial message, for servers that can continue it;
            None for other servers. vLLM needs `{"continue_final_message": True, "add_generation_prompt": False}`;
            llama.cpp needs no key, so `{}`, but does not continue the messages of reasoning models.
        send_back: What a server gets back of its own words with later requests: with `"calls"` the fields that it added
            to tool calls, such as thought signatures, and the reasoning before them, which DeepSeek, Kimi and Gemini
            require; with `"all"` the reasoning of every message; with `"nothing"` neither, for servers that refuse them.
            By the Responses API these are whole reasoning items.
            Fields that another server sent are never sent.

    Attributes:
        continues_partial: Whether `continue_params` were given, so that an agent may have `on_partial="continue"`.

    Raises:
        ModelConfigurationError: The extra `openai` is not installed.
        TypeError, ValueError: An argument is wrong, or `continue_params` are given with `api="responses"`, which cannot
            continue a message.

    `stream` delivers text, reasoning and tool input as they arrive. Everything that it understands arrives whole;
    anything else is an error with the server's words (docs/providers.md). It raises:

    * `ModelThrottledException` for status 429, also if it is reported inside a stream, except for an exhausted quota,
      because waiting does not help;
    * `ContextWindowOverflowException` if the server says that the request does not fit;
    * `ModelConfigurationError` without a key; raised at a worker's start and at the first call, so an agent can be
      imported without one;
    * `ModelResponseError` for any other error inside a response with status 200, and for one that is not understood;
    * `openai.APIConnectionError` if the connection drops, and also if the stream ends without a finish reason and
      without `[DONE]`, so an incomplete message never looks complete;
    * any other `openai.APIError` unchanged, with the server's words in its message.

    A content block that the API cannot carry is not an error: a sentence that says so is sent in its place.
    Nothing is retried here; the loop retries. No error and no repr shows the key. Closing or cancelling the stream
    closes its connection. One object may be used from several event loops and threads.
    """

    _trust_env: ClassVar[bool] = True
    """Whether proxies named in the environment are used."""

    def __init__(
        self,
        model_id: str,
        *,
        api: Api = "chat",
        base_url: str | None = None,
        api_key: str | None = None,
        params: dict[str, Any] | None = None,
        client_args: dict[str, Any] | None = None,
        continue_params: dict[str, Any] | None = None,
        send_back: SendBack = "calls",
    ) -> None:
        check_text("model_id", model_id)
        check_choice("api", api, tuple(WIRES))
        if api == "responses" and continue_params is not None:
            raise ValueError("continue_params must be None with api='responses', which cannot continue a message")
        check_mapping("params", params, optional=True)
        check_mapping("continue_params", continue_params, optional=True)
        check_installed(model_id, package="openai")
        self.model_id = model_id
        self._api: Api = api
        self._wire = WIRES[api]
        self._send_back: SendBack = send_back
        self.continues_partial: bool = continue_params is not None
        self._continue_params = dict(continue_params or {})
        self._params = dict(params or {})
        self._client_args = arguments_of(client_args, base_url=base_url, api_key=api_key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_id!r})"

    def get_config(self) -> dict[str, Any]:
        """The description of this model that is stored with the runs: its id, parameters and server, without the key."""
        config = {"model_id": self.model_id, "params": self._params, "continue_params": self._continue_params}
        if self._api != "chat":
            config["api"] = self._api
        return {**config, "base_url": str(self._server)} if self._server else config

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """This model with these `params` besides its own."""
        taken = copy.copy(self)
        taken._params = {**self._params, **params}
        return taken

    def check_ready(self) -> None:
        """Check that there is a key, or a server that may need none; makes no call.

        Raises:
            ModelConfigurationError: If there is neither.
        """
        if self._client_args.get("api_key") or os.environ.get("OPENAI_API_KEY") or self._server:
            return
        import openai

        with self._told_of_no_key():
            openai.OpenAI(**{name: value for name, value in self._client_args.items() if name != "http_client"}).close()

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
        provider = self._provider()
        conversation = self._wire.request(
            messages, tool_specs, system_prompt, tool_choice=tool_choice, provider=provider, send_back=self._send_back
        )
        await load_sdk("openai")
        import openai

        started = time.monotonic()
        try:
            async with self._response(self._request(conversation)) as response:
                yield c.message_start()
                translator = self._wire.translator(tools=[spec["name"] for spec in tool_specs or ()], provider=provider)
                reader = ResponseReader(content_type=response.headers.get("content-type", ""), translator=translator)
                async for data in response.iter_bytes():
                    for chunk in reader.feed(data):
                        yield chunk
                    if reader.done:
                        break
                for chunk in reader.finish():
                    yield chunk
                if not (translator.finished or reader.done):
                    raise openai.APIConnectionError(
                        message=f"The stream of model {self.model_id} ended before the message was finished.",
                        request=response.http_request,
                    )
                for chunk in translator.finish():
                    yield chunk
                yield translator.metadata(round((time.monotonic() - started) * 1000))
        except (openai.APIError, ModelResponseError) as error:
            raise told(error, model_id=self.model_id, key=self._key())  # noqa: B904 - it sets the cause itself

    def _request(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the SDK's `create`. It refuses unknown keys, so `params` are passed in `extra_body`."""
        options = {key: value for key, value in self._params.items() if key in _SDK_OPTIONS}
        ours: dict[str, Any] = {**conversation, "model": self.model_id, "stream": True}
        body: dict[str, Any] = {**self._wire.defaults, **self._params, **options.pop("extra_body", {})}
        if any(message["role"] == "assistant" for message in conversation.get("messages", [])[-1:]):
            body |= self._continue_params
        if "tools" in ours and body.get("tools"):
            ours["tools"] = [*body["tools"], *ours["tools"]]
        body = {key: value for key, value in body.items() if value is not None or key not in self._wire.defaults}
        body = {key: value for key, value in body.items() if key not in ours and key not in _SDK_OPTIONS}
        return {**options, **ours, "extra_body": body}

    @asynccontextmanager
    async def _response(self, request: dict[str, Any]) -> AsyncGenerator[Any]:
        """Yield the SDK's unread response to one request. The client and the connection are closed in every case."""
        async with AsyncExitStack() as stack:
            client = self._client()
            if "http_client" not in self._client_args:
                await stack.enter_async_context(closing(client))
            api = operator.attrgetter(self._wire.resource)(client)
            asked = api.with_streaming_response.create(**request)
            yield await stack.enter_async_context(response_of("openai", asked, model_id=self.model_id))

    def _key(self) -> str:
        key = self._client_args.get("api_key") or os.environ.get("OPENAI_API_KEY")
        return key if isinstance(key, str) else ""

    def _provider(self) -> str:
        """The server's host and port, which name it in the fields that are kept for it."""
        base = urlsplit(str(self._server or _OPENAI))
        return f"{base.hostname}:{base.port}" if base.port else str(base.hostname or "")

    def _client(self) -> Any:
        args = dict(self._client_args)
        if self._server:
            args["api_key"] = args.get("api_key") or os.environ.get("OPENAI_API_KEY") or NO_KEY
        with self._told_of_no_key():
            return client_of("openai", args, trust_env=self._trust_env)

    @property
    def _server(self) -> Any:
        """The address of a server other than OpenAI's, which may need no key."""
        return self._client_args.get("base_url") or os.environ.get("OPENAI_BASE_URL")

    @contextmanager
    def _told_of_no_key(self) -> Generator[None]:
        import openai

        try:
            yield
        except openai.OpenAIError as error:
            raise ModelConfigurationError(
                f"model openai/{self.model_id} cannot be used: {error} "
                "Set OPENAI_API_KEY; for a server that needs no key set OPENAI_BASE_URL or pass base_url=."
            ) from error
