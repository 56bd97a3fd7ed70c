"""A GGUF file as a model, which llama.cpp runs on this machine in its own process."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import anyio.to_thread

from playhead.runtime.core.arguments import check_mapping, check_number, check_text, check_whole
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.models.local.process import LocalOptions, shared_process
from playhead.runtime.models.openai.model import OpenAIModel
from playhead.runtime.models.sdk import load_sdk

__all__ = ["LocalModel"]

_CRASH_SHOWS_S = 1.0


class _LoopbackModel(OpenAIModel):
    """An OpenAI model on this machine, whose requests a proxy named in the environment must not see."""

    _trust_env: ClassVar[bool] = False


class LocalModel:
    """A `Model` that runs a GGUF file; needs the extra `playhead-runtime[local]`.

    Args:
        path: The file.
        context_tokens: The context window in tokens; memory grows with it. 0 means the window of the model's training.
        threads: CPU threads for computing; None means llama.cpp's default.
        params: Additional keys of each request, such as `{"temperature": 0, "max_tokens": 200}`.
        start_timeout: Seconds that the file may take to load.

    The file is loaded at the first call, in a child process that serves 127.0.0.1 and requires a random key, so a crash
    of the native code does not end the worker. Models with the same path, `context_tokens` and `threads` share that
    process, which computes one message at a time and queues the other calls. It ends at `close()` or with this process,
    however this process ends. After `close()` or a crash the next call starts it again.

    The file's own chat template offers the tools; a template without tool support omits them.

    `stream` raises ModelConfigurationError if the file is missing, the extra is not installed or the file does not load
    (with the end of the engine's output), and otherwise what `OpenAIModel` raises. It may be used from several event
    loops and threads.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        context_tokens: int = 4096,
        threads: int | None = None,
        params: dict[str, Any] | None = None,
        start_timeout: float = 300.0,
    ) -> None:
        if not isinstance(cast("object", path), Path):
            check_text("path", path)
        check_whole("context_tokens", context_tokens, least=0)
        check_whole("threads", threads, least=1, optional=True)
        check_mapping("params", params, optional=True)
        check_number("start_timeout", start_timeout, above=0)
        self._options = LocalOptions(str(Path(path).absolute()), context_tokens, threads)
        self._params = params
        self._start_timeout = start_timeout

    def __repr__(self) -> str:
        return f"LocalModel({self._options.path!r}, context_tokens={self._options.context_tokens})"

    def get_config(self) -> dict[str, Any]:
        """The description of this model that is stored with the runs: the file's name, without its folder, and the parameters."""
        options = self._options
        config = {"model_id": Path(options.path).name, "params": self._params or {}}
        return {**config, "context_tokens": options.context_tokens, "threads": options.threads}

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """This model, in the same process, with these `params` besides its own."""
        taken = copy.copy(self)
        taken._params = {**(self._params or {}), **params}
        return taken

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """Call the model, after starting its process if necessary; see the class."""
        process = shared_process(self._options)
        endpoint = process.running()
        if endpoint is None:
            with process.wanted():  # in a thread, since loading takes long
                endpoint = await anyio.to_thread.run_sync(process.start, self._start_timeout, abandon_on_cancel=True)
        model = _LoopbackModel(
            Path(self._options.path).stem, base_url=endpoint.base_url, api_key=endpoint.api_key, params=self._params
        )
        await load_sdk("openai")
        import openai

        stream = model.stream(messages, tool_specs, system_prompt, tool_choice=tool_choice)
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    yield chunk
        except openai.APIConnectionError as error:
            code = await anyio.to_thread.run_sync(process.exit_code, _CRASH_SHOWS_S)
            if code is None:
                raise
            raise openai.APIConnectionError(
                message=f"The process of model {self._options.path} ended during the call (exit code {code}).",
                request=error.request,
            ) from error

    def check_ready(self) -> None:
        """Check that the file exists and that the engine is installed; loads nothing.

        Raises:
            ModelConfigurationError: If one of them is missing.
        """
        shared_process(self._options).check()

    def close(self) -> None:
        """End the process that this model shares, at once; calls in progress fail."""
        shared_process(self._options).stop()
