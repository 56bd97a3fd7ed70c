"""An HTTP client for models. Its input is not trusted: anything in a conversation may ask a model to fetch any address.

Each hop of a redirect chain is checked, and the connection goes to exactly the address that was checked.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, cast

import anyio

from playhead.runtime.core.arguments import check_flag, check_items, check_number, check_whole
from playhead.runtime.toolbox.addresses import AddressPolicy
from playhead.runtime.tools.decorator import tool
from playhead.runtime.tools.tool import Tool

try:
    import httpx
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "the tool http_request needs the extra `http`: pip install 'playhead-runtime[http]'", name="httpx"
    ) from _error

__all__ = ["http_request", "make_http_request"]

MAX_REDIRECTS: Final = 5
MAX_BODY_BYTES: Final = 256 * 1024
TIMEOUT_S: Final = 30.0

_CONNECT_TIMEOUT_S: Final = 10.0  # per address, so that one dead address leaves time for the next
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = (301, 302, 303, 307, 308)

_OURS: Final = re.compile(
    r"(host|content-length|transfer-encoding|accept-encoding|connection|keep-alive|upgrade|te|trailer|expect|proxy-.*)",
    re.IGNORECASE,
)
"""Headers that describe the transfer. Set by a caller, they could make one request look like two."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")

_HARMLESS: Final = ("accept", "accept-language", "content-type", "user-agent")
"""The caller's headers that follow a redirect to another origin; any other header may hold a credential."""

_TEXTUAL: Final = re.compile(
    r"text/.*|.*[/+](json|xml|yaml|javascript)|application/(x-ndjson|x-yaml|x-javascript|x-www-form-urlencoded|toml|graphql)"
)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: httpx.URL
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)

    @property
    def what(self) -> str:
        """The request as error messages name it: without the query, which may hold a key."""
        return f"{self.method} {self.url.scheme}://{self.url.netloc.decode('ascii')}"


@dataclass(frozen=True, slots=True)
class _Limits:
    policy: AddressPolicy
    max_bytes: int
    timeout: float
    ssl_context: ssl.SSLContext | None


def make_http_request(
    *,
    allow_private: bool = False,
    allow_networks: Sequence[str] = (),
    timeout: float = TIMEOUT_S,
    max_bytes: int = MAX_BODY_BYTES,
    ssl_context: ssl.SSLContext | None = None,
    name: str = "http_request",
) -> Tool:
    """Make a variant of the `http_request` tool.

    Args:
        allow_private: Allow private, loopback and other addresses that are not public. The environment variable
            `PLAYHEAD_HTTP_ALLOW_PRIVATE=1`, read at each call, allows them as well.
        allow_networks: Networks to allow besides the public ones, such as `10.1.0.0/16`.
        timeout: Seconds from the start of a call to the end of the body, redirects included.
        max_bytes: Bytes of the (decoded) body that are read; the rest is cut, with a note.
        ssl_context: The trusted authorities, such as a company's own; by default the public authorities.
        name: The tool's name.

    Raises:
        ValueError: If a network cannot be parsed, a number is out of range, or the name is invalid.
        TypeError: If an argument has the wrong type.
    """
    check_flag("allow_private", allow_private)
    check_items("allow_networks", allow_networks, str, each="a network such as '10.1.0.0/16'")
    check_number("timeout", timeout, above=0)
    check_whole("max_bytes", max_bytes, least=1)
    if not isinstance(cast("object", ssl_context), ssl.SSLContext | None):
        raise TypeError(f"ssl_context must be an ssl.SSLContext or None, not {ssl_context!r}")
    restricted = AddressPolicy(allow_networks=allow_networks)
    unrestricted = AddressPolicy(allow_private=True)

    @tool(name=name)
    async def http_request(
        url: str, method: str = "GET", headers: dict[str, str] | None = None, body: str | None = None
    ) -> str:
        """Send an HTTP request to a public web address and return the status, the content type and the body as text.

        Redirects are followed. Long bodies are cut; bodies that are not text are described, not shown.

        Args:
            url: An http:// or https:// address without user name and password.
            method: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.
            headers: Request headers, as names and values.
            body: The request body. Without a content-type header, JSON is sent as application/json and anything else
                as text/plain.
        """
        free = allow_private or os.environ.get("PLAYHEAD_HTTP_ALLOW_PRIVATE") == "1"
        limits = _Limits(unrestricted if free else restricted, max_bytes, timeout, ssl_context)
        return await _follow(_request(url, method, headers or {}, body), limits)

    return http_request


http_request: Tool[..., Any] = make_http_request()


def _request(url: str, method: str, headers: dict[str, str], body: str | None) -> _Request:
    if method.upper() not in _METHODS:
        raise ValueError(f"method {method[:20]!r} is not one of {', '.join(_METHODS)}")
    if ours := next((name for name in headers if _OURS.fullmatch(name.strip())), None):
        raise ValueError(f"the header {ours!r} is set by the tool; leave it out")
    for name, value in headers.items():
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise ValueError(
                f"the header {name[:40]!r} cannot be sent: a name or value has characters headers cannot have"
            )
    given = {name.lower(): value for name, value in headers.items()}
    if body is not None and "content-type" not in given:
        given["content-type"] = "application/json" if _is_json(body) else "text/plain; charset=utf-8"
    return _Request(method.upper(), _url(url), given, None if body is None else body.encode())


def _is_json(body: str) -> bool:
    try:
        return isinstance(json.loads(body), dict | list)
    except (ValueError, RecursionError):
        return False


def _url(text: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        url = httpx.URL(text) if base is None else base.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"not a web address: {error}") from None
    if url.userinfo:
        raise ValueError("the address contains a user name or password; send credentials in a header instead")
    if url.scheme not in _PORTS or not url.host:
        raise ValueError(f"only http:// and https:// addresses are allowed, not {url.scheme[:20] or 'a relative one'}")
    return url.copy_with(fragment=None)


async def _follow(request: _Request, limits: _Limits) -> str:
    try:
        with anyio.fail_after(limits.timeout):
            for _ in range(MAX_REDIRECTS + 1):
                outcome = await _send(request, limits)
                if isinstance(outcome, str):
                    return outcome
                request = outcome
    except TimeoutError:
        raise ValueError(f"{request.what}: no complete response within {limits.timeout:g} s") from None
    except httpx.HTTPError as error:
        raise ValueError(f"{request.what}: {type(error).__name__}: {error or 'the connection failed'}") from None
    raise ValueError(f"{request.what}: more than {MAX_REDIRECTS} redirects")


async def _send(request: _Request, limits: _Limits) -> _Request | str:
    """Perform one hop. Returns the response as text, or the request that it redirects to."""
    url = request.url
    addresses = await limits.policy.resolve(url.raw_host.decode("ascii").strip("[]"), url.port or _PORTS[url.scheme])
    # A new client for each hop: a pooled connection is found by its address alone, and could have been opened, and its
    # certificate checked, for another name.
    async with httpx.AsyncClient(
        verify=limits.ssl_context or _public_authorities(),
        trust_env=False,
        timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
    ) as client:
        response = await _connect(client, request, addresses)
        try:
            location = response.headers.get("location")
            if response.status_code in _REDIRECTS and location:
                return _redirected(request, response.status_code, location)
            return await _read(response, request, limits.max_bytes)
        finally:
            await response.aclose()


async def _connect(client: httpx.AsyncClient, request: _Request, addresses: Sequence[str]) -> httpx.Response:
    """Send to the first address that accepts a connection; the name goes into the Host header and the TLS handshake."""
    headers = {
        "accept": "*/*",
        "user-agent": "playhead",
        **request.headers,
        "host": request.url.netloc.decode("ascii"),
        "accept-encoding": "identity",
        "connection": "close",
    }
    failure: httpx.HTTPError | None = None
    for address in addresses:
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=headers,
            content=request.body,
            extensions={
                "sni_hostname": request.url.raw_host.decode("ascii").strip("[]"),
                "timeout": client.timeout.as_dict(),
            },
        )
        try:
            return await client.send(pinned, stream=True, follow_redirects=False, auth=None)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # nothing was sent yet, so a retry is safe
            failure = error
    raise failure or httpx.ConnectError("the name has no address")


def _redirected(request: _Request, status: int, location: str) -> _Request:
    url = _url(location, base=request.url)
    moved = replace(request, url=url)
    if (url.scheme, url.netloc) != (request.url.scheme, request.url.netloc):
        moved = replace(moved, headers={name: value for name, value in moved.headers.items() if name in _HARMLESS})
    if (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST"):
        headers = {name: value for name, value in moved.headers.items() if name != "content-type"}
        moved = replace(moved, method="GET", body=None, headers=headers)
    return moved


async def _read(response: httpx.Response, request: _Request, max_bytes: int) -> str:
    content_type = response.headers.get("content-type", "")
    lines = [
        f"status: {response.status_code} {response.reason_phrase}".rstrip(),
        f"url: {request.url}",
        f"content-type: {content_type or 'not given'}",
    ]
    if content_type and not _TEXTUAL.fullmatch(content_type.partition(";")[0].strip().lower()):
        length = response.headers.get("content-length", "an unknown number of")
        return "\n".join([*lines, f"body: {length} bytes that are not text, not shown"])
    data, is_cut = await _body(response, max_bytes)
    text = _decode(data, response.charset_encoding, is_surely_text=bool(content_type) or is_cut)
    if text is None:
        return "\n".join([*lines, f"body: {len(data)} bytes that are not text, not shown"])
    return "\n".join([*lines, "body:", text, *([f"[cut after {max_bytes:,} bytes]"] if is_cut else [])])


def _decode(data: bytes, charset: str | None, *, is_surely_text: bool) -> str | None:
    try:
        return data.decode(charset or "utf-8", "replace" if is_surely_text else "strict")
    except LookupError:  # an unknown charset
        return data.decode("utf-8", "replace")
    except UnicodeError:
        return None


async def _body(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    """Up to `max_bytes` of the decoded body, and whether there was more.

    It is decoded here, one layer and with a limit: httpx would unpack every layer that a server applied, in full.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise ValueError(f"the response has the content encoding {coding[:40]!r}, which was not asked for")
    unpack = None if coding == "identity" else zlib.decompressobj(wbits=47)  # 47: gzip or zlib
    data = bytearray()
    try:
        async for chunk in response.aiter_raw():
            data += unpack.decompress(chunk, max_bytes + 1 - len(data)) if unpack else chunk
            if len(data) > max_bytes:
                return bytes(data[:max_bytes]), True
    except zlib.error as error:
        raise ValueError(f"the response is damaged: {error}") from None
    return bytes(data), False


@cache
def _public_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)
