"""Amazon Bedrock's models, by its ConverseStream.

On aiobotocore and not on boto3 in a thread: a thread that waits for a stalled stream cannot be stopped, so a cancelled
run would keep its thread and its connection until the service speaks again, and a worker would need a thread for each
of its runs.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import threading
import weakref
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Self

from playhead.runtime.core.arguments import check_mapping, check_text
from playhead.runtime.core.converse import Chunk, ContentBlock, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.errors import ModelConfigurationError, ModelUnavailableError, PlayheadError
from playhead.runtime.models.bedrock.client import SharedClient, load_sdk, new_session
from playhead.runtime.models.bedrock.events import ChunkReader, told
from playhead.runtime.models.bedrock.request import converse_request, is_claude

__all__ = ["BedrockModel"]


class BedrockModel:
    """A `Model` over `aiobotocore`, streaming; needs the extra `playhead-runtime[bedrock]`.

    Args:
        model_id: The id or the ARN of a model or of an inference profile, such as
            `us.anthropic.claude-sonnet-4-5-20250929-v1:0`.
        region: None means `AWS_REGION`, `AWS_DEFAULT_REGION` or that of the profile.
        params: Additional keys of each `ConverseStream`, in the API's own form, such as
            `{"inferenceConfig": {"maxTokens": 4000}, "additionalModelRequestFields": {"top_k": 9}}` or `guardrailConfig`.
        client_args: Additional arguments of the SDK's `create_client`, such as `endpoint_url` or `aws_access_key_id`;
            `config` is an `aiobotocore.config.AioConfig` in the place of the one that forbids the SDK's own retries and
            does not limit its connections.

    Raises:
        ModelConfigurationError: The extra `bedrock` is not installed.
        TypeError, ValueError: An argument is wrong.

    Credentials are found as in every SDK of AWS. `stream` delivers the service's events as they arrive. It raises:

    * `ModelThrottledException` if the service asks to slow down, also inside the stream;
    * `ContextWindowOverflowException` if the service says that the request does not fit;
    * `ModelConfigurationError` without a region, at a worker's start and at the first call, and without credentials, at
      the first call;
    * `ModelUnavailableError` if the connection cannot be made or drops, and also if the stream ends before the message
      does, so an incomplete message never looks complete;
    * `ModelResponseError` for any other error of the service, with its words, code and status, and for an event that is
      not understood;
    * the SDK's own exception for anything else, such as a parameter of a wrong type.

    A content block that the API cannot carry is not an error: a sentence that says so is sent in its place.
    Nothing is retried here; the loop retries. Closing or cancelling the stream closes its connection. One object may be
    used from several event loops and threads.
    """

    def __init__(
        self,
        model_id: str,
        *,
        region: str | None = None,
        params: dict[str, Any] | None = None,
        client_args: dict[str, Any] | None = None,
    ) -> None:
        check_text("model_id", model_id)
        check_text("region", region, optional=True)
        check_mapping("params", params, optional=True)
        check_mapping("client_args", client_args, optional=True)
        if importlib.util.find_spec("aiobotocore") is None:
            raise ModelConfigurationError(
                f"model {model_id} needs the extra `bedrock`: pip install 'playhead-runtime[bedrock]'"
            )
        self.model_id = model_id
        self._region = region
        self._params = dict(params or {})
        self._client_args = dict(client_args or {})
        # One for each event loop: a session caches credentials, and guards them with a lock of its loop.
        self._clients: weakref.WeakKeyDictionary[AbstractEventLoop, SharedClient] = weakref.WeakKeyDictionary()
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_id!r})"

    @property
    def continues_partial(self) -> bool:
        """Whether the model goes on from a partial message, so that an agent may have `on_partial="continue"`.

        Models of Anthropic do, except with `thinking`. Some of them refuse it; then the loop makes the call again from
        its beginning.
        """
        thinks = "thinking" in (self._params.get("additionalModelRequestFields") or {})
        return is_claude(self.model_id) and not thinks

    def get_config(self) -> dict[str, Any]:
        """The description of this model that is stored with the runs: its id, region and parameters."""
        config: dict[str, Any] = {"model_id": self.model_id, "region": self._region, "params": self._params}
        endpoint = self._client_args.get("endpoint_url")
        return {**config, "endpoint_url": str(endpoint)} if endpoint else config

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """This model with these `params` besides its own; a key of both, such as `inferenceConfig`, is replaced whole."""
        taken = copy.copy(self)
        taken._params = {**self._params, **params}
        return taken

    def check_ready(self) -> None:
        """Check that there is a region; makes no call. Credentials may need one, so they are not looked for.

        Raises:
            ModelConfigurationError: If there is none.
        """
        if self._given_region() is None:  # the SDK is imported only if it may know more
            self._region_of(new_session())

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
        request = converse_request(
            self.model_id, messages, tool_specs, system, tool_choice=tool_choice, params=self._params
        )
        await load_sdk()
        shared = self._shared()
        args = {**self._client_args, "region_name": self._region_of(shared.session)}
        reader = ChunkReader()
        try:
            async with shared.using(args) as client:
                response = await client.converse_stream(**request)
                with closing(response["stream"]) as stream:
                    async with aclosing(aiter(stream)) as events:
                        async for event in events:
                            yield reader.read(event)
        except PlayheadError:
            raise
        except Exception as error:
            raise told(error, model_id=self.model_id) from error
        if not reader.finished:
            raise ModelUnavailableError(f"The stream of model {self.model_id} ended before the message was finished.")

    def _shared(self) -> SharedClient:
        """The client of the running event loop."""
        loop = get_running_loop()
        with self._guard:
            if loop not in self._clients:
                self._clients[loop] = SharedClient(new_session())
            return self._clients[loop]

    def _given_region(self) -> Any:
        return self._region or self._client_args.get("region_name") or os.environ.get("AWS_REGION") or None

    def _region_of(self, session: Any) -> str:
        if region := self._given_region() or session.get_config_variable("region"):
            return str(region)
        raise ModelConfigurationError(
            f"model bedrock/{self.model_id} cannot be used: there is no region. Set AWS_REGION or pass region=."
        )
