"""The parts of the vendors' SDKs and their HTTP libraries that are used. They are imported late, because that takes long.

The SDKs `openai` and `anthropic` are made by one generator, so the same few names are used of both. `package` is the
name of the SDK, which is also the name of the extra that installs it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import operator
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Literal, cast

import anyio
import anyio.to_thread

from playhead.runtime.core.arguments import check_mapping, check_text
from playhead.runtime.core.errors import ModelConfigurationError

__all__ = ["NO_KEY", "Package", "arguments_of", "check_installed", "client_of", "closing", "load_sdk", "response_of"]

Package = Literal["openai", "anthropic"]

NO_KEY: Final = "none"
"""The key for a server that needs none, because the SDK requires one."""

_CLOSE_S: Final = 5.0

_CLIENTS: Final = {"openai": "AsyncOpenAI", "anthropic": "AsyncAnthropic"}

_RESOURCES: Final = {"openai": ("chat.completions", "responses"), "anthropic": ("messages",)}
"""The SDK imports a large part of itself only with the first client and its first resource."""

_loaded: Final = set[str]()


def check_installed(model_id: str, *, package: Package) -> None:
    """Check that the extra of an SDK is installed; imports nothing.

    Raises:
        ModelConfigurationError: It is not.
    """
    if any(importlib.util.find_spec(name) is None for name in (package, "httpx")):
        raise ModelConfigurationError(
            f"model {model_id} needs the extra `{package}`: pip install 'playhead-runtime[{package}]'"
        )


def arguments_of(client_args: Mapping[str, Any] | None, *, base_url: str | None, api_key: str | None) -> dict[str, Any]:
    """The arguments of an SDK's client: it does not retry by itself, unless `client_args` say so.

    Args:
        client_args: The caller's own arguments of the client.
        base_url: The API's address, in place of that in `client_args`; None leaves it.
        api_key: The key, in place of that in `client_args`; None leaves it.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is empty, or `base_url` does not begin with http:// or https://.
    """
    check_text("api_key", api_key, optional=True)
    check_text("base_url", base_url, optional=True)
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise ValueError(f"base_url must begin with http:// or https://, and is {base_url!r}")
    check_mapping("client_args", client_args, optional=True)
    given = {"base_url": base_url, "api_key": api_key}
    return {"max_retries": 0, **(client_args or {}), **{name: one for name, one in given.items() if one is not None}}


@asynccontextmanager
async def closing(resource: Any) -> AsyncGenerator[None]:
    """Close an SDK's client after the block, even if the block is cancelled."""
    try:
        yield
    finally:
        # Shielded: a cancelled call must still return its connection.
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await resource.close()


def client_of(package: Package, args: Mapping[str, Any], *, trust_env: bool = True) -> Any:
    """An SDK's client.

    Args:
        package: The SDK.
        args: The arguments of its client; without `http_client` it gets one with the shared trust settings.
        trust_env: Whether proxies named in the environment are used.
    """
    sdk = importlib.import_module(package)
    given = dict(args)
    if "http_client" not in given:
        given["http_client"] = sdk.DefaultAsyncHttpxClient(verify=_ssl_context(package), trust_env=trust_env)
    return getattr(sdk, _CLIENTS[package])(**given)


@asynccontextmanager
async def response_of(
    package: Package, asked: AbstractAsyncContextManager[Any], *, model_id: str
) -> AsyncGenerator[Any]:
    """Yield the SDK's unread response to a request. A connection that breaks is the SDK's `APIConnectionError`."""
    async with asked as response, closing(response):
        try:
            yield response
        except _request_errors(package) as error:
            message = f"The stream of model {model_id} broke: {str(error) or type(error).__name__}"
            sdk = importlib.import_module(package)
            raise sdk.APIConnectionError(message=message, request=response.http_request) from error


@functools.cache
def _ssl_context(package: Package) -> ssl.SSLContext:
    """The trust settings of the SDK's HTTP library, read once: reading takes 20 ms of CPU, too much for each call."""
    return cast("ssl.SSLContext", _library(package).create_ssl_context())


@functools.cache
def _request_errors(package: Package) -> tuple[type[Exception], ...]:
    """The HTTP library's errors for a response that breaks; also httpx's, because a caller may pass such a client."""
    import httpx

    return httpx.RequestError, _library(package).RequestError


def _library(package: Package) -> Any:
    """The HTTP library of the SDK: httpx, or httpx2 from SDK 3 of OpenAI on."""
    sdk = importlib.import_module(package)
    return importlib.import_module(sdk.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])


async def load_sdk(package: Package) -> None:
    """Import the SDK in a thread, once: it may take seconds, and a blocked event loop counts as stuck."""
    if package not in _loaded:
        await anyio.to_thread.run_sync(_import_sdk, package)
        _loaded.add(package)


def _import_sdk(package: Package) -> None:
    importlib.import_module("httpx")
    unused = client_of(package, {"api_key": NO_KEY})
    for resource in _RESOURCES[package]:
        operator.attrgetter(resource)(unused)
