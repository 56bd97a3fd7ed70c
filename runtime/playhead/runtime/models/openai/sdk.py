"""The parts of the `openai` SDK and its HTTP library that are used. Both are imported late, because that takes long."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import anyio
import anyio.to_thread

from playhead.runtime.core.errors import ModelConfigurationError

__all__ = ["NO_KEY", "check_installed", "closing", "load_sdk", "request_errors", "ssl_context"]

NO_KEY: Final = "none"
"""The key for a server that needs none, because the SDK requires one."""

_CLOSE_S: Final = 5.0


def check_installed(model_id: str) -> None:
    """Check that the extra `openai` is installed; imports nothing.

    Raises:
        ModelConfigurationError: It is not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("openai", "httpx")):
        raise ModelConfigurationError(
            f"model {model_id} needs the extra `openai`: pip install 'playhead-runtime[openai]'"
        )


@asynccontextmanager
async def closing(resource: Any) -> AsyncGenerator[None]:
    """Close an SDK's client after the block, even if the block is cancelled."""
    try:
        yield
    finally:
        # Shielded: a cancelled call must still return its connection.
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await resource.close()


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """The trust settings of the SDK's HTTP library, read once: reading takes 20 ms of CPU, too much for each call."""
    return cast("ssl.SSLContext", _library().create_ssl_context())


@functools.cache
def request_errors() -> tuple[type[Exception], ...]:
    """The HTTP library's errors for a response that breaks; also httpx's, because a caller may pass such a client."""
    import httpx

    return httpx.RequestError, _library().RequestError


def _library() -> Any:
    """The HTTP library of the SDK: httpx2, or httpx before SDK 3."""
    import openai

    return importlib.import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])


async def load_sdk() -> None:
    """Import the SDK in a thread, once: it may take seconds, and a blocked event loop counts as stuck."""
    if not ssl_context.cache_info().currsize:
        await anyio.to_thread.run_sync(_import_sdk)


def _import_sdk() -> None:
    importlib.import_module("httpx")
    import openai

    http_client = openai.DefaultAsyncHttpxClient(verify=ssl_context())
    # Never used: the SDK imports a large part of itself only with the first client and its first resource.
    _ = openai.AsyncOpenAI(api_key=NO_KEY, http_client=http_client).chat.completions
