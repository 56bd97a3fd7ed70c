"""Anthropic's models, and servers with its Messages API, by `base_url`."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import Any, Final, Self

from playhead.runtime.core.arguments import check_mapping, check_text, check_whole
from playhead.runtime.core.converse import Chunk, ContentBlock, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.errors import ModelConfigurationError, ModelResponseError
from playhead.runtime.models import chunks as c
from playhead.runtime.models.anthropic.events import EventTranslator
from playhead.runtime.models.anthropic.messages import CacheTtl, messages_request
from playhead.runtime.models.sdk import (
    NO_KEY,
    arguments_of,
    check_installed,
    client_of,
    closing,
    load_sdk,
    response_of,
)
from playhead.runtime.models.server_errors import not_understood
from playhead.runtime.models.sse import EventDecoder, ServerEvent
from playhead.runtime.models.told import told

__all__ = ["MAX_TOKENS", "AnthropicModel"]

MAX_TOKENS: Final = 32_000
"""The default of `max_tokens`: every model from Claude 4 on can write that many. The API requires the parameter."""

_SDK_OPTIONS: Final = frozenset({"extra_body", "extra_headers", "extra_query", "timeout"})
"""Keys of `params` that the SDK uses itself and does not send."""

_CREDENTIALS: Final = ("api_key", "auth_token", "credentials", "config", "profile")
"""Arguments of the SDK's client, any of which replaces a key of the environment."""


class AnthropicModel:
    """A `Model` over the `anthropic` SDK, streaming; needs the extra `playhead-runtime[anthropic]`.

    Args:
        model_id: The server's name of the model, such as `claude-sonnet-4-5`.
        max_tokens: The most tokens that one message may have, those of the reasoning included.
        base_url: The API's address; None means `ANTHROPIC_BASE_URL`, else Anthropic itself.
        api_key: None means `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN` or a profile of the SDK. Not needed for a server
            given by `base_url` that requires none.
        params: Additional keys of each request, such as `{"temperature": 0}` or
            `{"thinking": {"type": "enabled", "budget_tokens": 4000}}`; `timeout` (seconds), `extra_headers`,
            `extra_query` and `extra_body` have the SDK's meaning.
        client_args: Additional arguments of `anthropic.AsyncAnthropic`, such as `timeout` in seconds. The caller must
            close an `http_client` given here.
        cache: `"5m"` or `"1h"` has the provider keep the tools, the system prompt and the history that long, so that the
            next request pays less for them. Cache points in the messages are sent with and without it; the API accepts
            four, so the oldest of the messages are left out.

    Raises:
        ModelConfigurationError: The extra `anthropic` is not installed.
        TypeError, ValueError: An argument is wrong.

    `stream` delivers text, reasoning with its signature, and tool input as they arrive. It raises:

    * `ModelThrottledException` for status 429 and for a rate limit that is reported inside a stream;
    * `ContextWindowOverflowException` if the server says that the request does not fit;
    * `ModelConfigurationError` without a key; raised at a worker's start and at the first call, so an agent can be
      imported without one;
    * `ModelResponseError` for any other error inside a response with status 200, which is transient if the server is
      overloaded, and for one that is not understood, such as a block of Anthropic's own tools;
    * `anthropic.APIConnectionError` if the connection drops, and also if the stream ends before the message does, so an
      incomplete message never looks complete;
    * any other `anthropic.APIError` unchanged, with the server's words in its message.

    A content block that the API cannot carry is not an error: a sentence that says so is sent in its place.
    Nothing is retried here; the loop retries. No error and no repr shows the key. Closing or cancelling the stream
    closes its connection. One object may be used from several event loops and threads.
    """

    def __init__(
        self,
        model_id: str,
        *,
        max_tokens: int = MAX_TOKENS,
        base_url: str | None = None,
        api_key: str | None = None,
        params: dict[str, Any] | None = None,
        client_args: dict[str, Any] | None = None,
        cache: CacheTtl | None = None,
    ) -> None:
        check_text("model_id", model_id)
        check_whole("max_tokens", max_tokens, least=1)
        check_mapping("params", params, optional=True)
        if cache not in (None, "5m", "1h"):
            raise ValueError(f"cache must be '5m', '1h' or None, and is {cache!r}")
        check_installed(model_id, package="anthropic")
        self.model_id = model_id
        self._max_tokens = max_tokens
        self._params = dict(params or {})
        self._cache: CacheTtl | None = cache
        self._client_args = arguments_of(client_args, base_url=base_url, api_key=api_key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_id!r})"

    @property
    def continues_partial(self) -> bool:
        """Whether the model goes on from a partial message, so that an agent may have `on_partial="continue"`.

        Always, except with `thinking` in `params`. Some models refuse it; then the loop makes the call again from its
        beginning.
        """
        thinking = self._params.get("thinking")
        return not isinstance(thinking, dict) or thinking.get("type") == "disabled"

    def get_config(self) -> dict[str, Any]:
        """The description of this model that is stored with the runs: its id, parameters and server, without the key."""
        config: dict[str, Any] = {"model_id": self.model_id, "max_tokens": self._max_tokens, "params": self._params}
        if self._cache:
            config["cache"] = self._cache
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
        if self._has_credentials() or self._server:
            return
        import anthropic

        args = {name: value for name, value in self._client_args.items() if name != "http_client"}
        with self._told_of_no_key(), anthropic.Anthropic(**args) as client:
            self._check_key(client)

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        system_prompt_content: Sequence[ContentBlock] | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """Call the model and yield its chunks; see the class for the errors.

        Args:
            messages: The history.
            tool_specs: The offered tools.
            system_prompt: The system prompt; not used if there is `system_prompt_content`.
            tool_choice: The tool choice.
            system_prompt_content: The system prompt as blocks, which may hold cache points.
            kwargs: Not used.
        """
        system = system_prompt if system_prompt_content is None else system_prompt_content
        conversation = messages_request(messages, tool_specs, system, tool_choice=tool_choice, cache=self._cache)
        await load_sdk("anthropic")
        import anthropic

        try:
            async with (
                self._response(self._request(conversation)) as response,
                aclosing(self._chunks(response)) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk
        except (anthropic.APIError, ModelResponseError) as error:
            raise told(error, model_id=self.model_id, key=self._key())  # noqa: B904 - it sets the cause itself

    async def _chunks(self, response: Any) -> AsyncGenerator[Chunk]:
        """The chunks of a response.

        Raises:
            anthropic.APIConnectionError: If it ends before the message does.
            ModelResponseError: If it reports an error, or holds something that is not understood.
        """
        import anthropic

        started = time.monotonic()
        translator = EventTranslator()
        yield c.message_start()
        async with aclosing(_events(response)) as events:
            async for event in events:
                for chunk in translator.feed(event):
                    yield chunk
                if translator.finished:
                    break
        if not translator.finished:
            message = f"The stream of model {self.model_id} ended before the message was finished."
            raise anthropic.APIConnectionError(message=message, request=response.http_request)
        yield translator.metadata(round((time.monotonic() - started) * 1000))

    def _request(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the SDK's `create`. It refuses unknown keys, so `params` are passed in `extra_body`."""
        options = {key: value for key, value in self._params.items() if key in _SDK_OPTIONS}
        ours = {"max_tokens": self._max_tokens, "model": self.model_id, "stream": True, **conversation}
        body = {**self._params, **options.pop("extra_body", {})}
        body = {key: value for key, value in body.items() if key not in ours and key not in _SDK_OPTIONS}
        return {**options, **ours, "extra_body": body or None}

    @asynccontextmanager
    async def _response(self, request: dict[str, Any]) -> AsyncGenerator[Any]:
        """Yield the SDK's unread response to one request. The client and the connection are closed in every case."""
        async with AsyncExitStack() as stack:
            client = self._client()
            if "http_client" not in self._client_args:
                await stack.enter_async_context(closing(client))
            self._check_key(client)
            asked = client.messages.with_streaming_response.create(**request)
            yield await stack.enter_async_context(response_of("anthropic", asked, model_id=self.model_id))

    def _client(self) -> Any:
        args = dict(self._client_args)
        if self._server and not self._has_credentials():
            args["api_key"] = NO_KEY
        with self._told_of_no_key():
            return client_of("anthropic", args)

    def _has_credentials(self) -> bool:
        if any(self._client_args.get(name) is not None for name in _CREDENTIALS):
            return True
        return any(os.environ.get(name) for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"))

    def _check_key(self, client: Any) -> None:
        """Check the credentials that the SDK found; by itself it raises a `TypeError` at the first request."""
        found = (client.api_key, client.auth_token, getattr(client, "credentials", None))
        if all(one is None for one in found) and not {"Authorization", "X-Api-Key"} & set(client.default_headers):
            raise self._no_key("there is no key.")

    @contextmanager
    def _told_of_no_key(self) -> Generator[None]:
        """Tell of a profile of the SDK that it cannot read."""
        import anthropic

        try:
            yield
        except anthropic.AnthropicError as error:
            raise self._no_key(str(error)) from error

    def _no_key(self, why: str) -> ModelConfigurationError:
        return ModelConfigurationError(
            f"model anthropic/{self.model_id} cannot be used: {why} "
            "Set ANTHROPIC_API_KEY; for a server that needs no key set ANTHROPIC_BASE_URL or pass base_url=."
        )

    def _key(self) -> str:
        key = self._client_args.get("api_key") or os.environ.get("ANTHROPIC_API_KEY")
        return key if isinstance(key, str) else ""

    @property
    def _server(self) -> Any:
        """The address of a server other than Anthropic's, which may need no key."""
        return self._client_args.get("base_url") or os.environ.get("ANTHROPIC_BASE_URL")


async def _events(response: Any) -> AsyncGenerator[ServerEvent]:
    """The events of a response's body.

    Raises:
        ModelResponseError: If the body holds lines that are not events, or bytes that are not UTF-8.
    """
    decoder = EventDecoder()
    try:
        async for data in response.iter_bytes():
            for event in decoder.feed(data):
                yield event
        for event in decoder.finish():
            yield event
    except UnicodeDecodeError as error:
        raise not_understood("what is not UTF-8", repr(error.object[:200])) from error
    if stray := "\n".join(decoder.stray).strip():
        raise not_understood("what is not a stream of events", stray)
