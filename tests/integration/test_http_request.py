"""The HTTP tool fetches what is public, within its bounds, and connects only to the address that was checked.

A real server on loopback responds; `allow_networks` opens loopback for the tests that need a response.
"""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from playhead.runtime.toolbox import addresses, http_request, make_http_request
from playhead.runtime.tools.tool import Tool

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1/32"


@dataclass
class Seen:
    """A request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    sni: str | None = None


@dataclass
class Site:
    """A server on 127.0.0.1; `routes` says what it sends."""

    port: int = 0
    routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict[str, Any])
    seen: list[Seen] = field(default_factory=list[Seen])
    arrived: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    snis: list[str | None] = field(default_factory=list[str | None])

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self.routes[path] = lambda handler: respond(handler, b"", status=status, headers={"Location": location})

    def text(self, path: str, body: bytes, content_type: str | None = "text/plain", **headers: str) -> None:
        self.routes[path] = lambda handler: respond(handler, body, content_type=content_type, headers=headers)


def respond(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    content_type: str | None = "text/plain",
    headers: dict[str, str] | None = None,
) -> None:
    handler.send_response(status)
    if content_type:
        handler.send_header("Content-Type", content_type)
    for name, value in (headers or {}).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are what is tested."""


def serve(site: Site, context: ssl.SSLContext | None = None) -> QuietServer:
    class Handler(BaseHTTPRequestHandler):
        def serve_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length).decode()
            site.seen.append(Seen(self.command, self.path, headers, body))
            site.arrived.set()
            route = site.routes.get(self.path)
            if route is None:
                respond(self, json.dumps([self.command, body]).encode(), content_type="application/json")
            else:
                route(self)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve_one

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.port = server.server_port
    return server


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    server = serve(made)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch() -> Tool:
    """The tool, with loopback's first address allowed."""
    return make_http_request(allow_networks=[LOOPBACK])


def names(monkeypatch: pytest.MonkeyPatch, **known: list[str]) -> list[str]:
    """Make names resolve to given addresses; returns the list of the names asked for."""
    asked: list[str] = []
    real = addresses.lookup

    async def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        return known[host.replace(".", "_")] if host.endswith(".test") else await real(host, port)

    monkeypatch.setattr(addresses, "lookup", lookup)
    return asked


# Requests and responses


async def test_text_comes_with_status_and_content_type(site: Site, fetch: Tool):
    site.text("/hello?q=1", "grüß dich".encode(), "text/plain; charset=utf-8")
    expected = (
        f"status: 200 OK\nurl: {site.url('/hello?q=1')}\ncontent-type: text/plain; charset=utf-8\nbody:\ngrüß dich"
    )
    assert await fetch(site.url("/hello?q=1#part")) == expected
    (seen,) = site.seen
    assert (seen.method, seen.headers["host"]) == ("GET", f"127.0.0.1:{site.port}")


async def test_method_headers_and_body_are_sent(site: Site, fetch: Tool):
    got = await fetch(site.url(), "put", {"X-Key": "k", "Content-Type": "text/csv"}, "a;ü")
    assert got.endswith('["PUT", "a;\\u00fc"]')
    (seen,) = site.seen
    assert (seen.method, seen.headers["x-key"], seen.headers["content-type"]) == ("PUT", "k", "text/csv")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [('{"a": 1}', "application/json"), ("[1]", "application/json"), ("7", "text/plain; charset=utf-8")],
)
async def test_a_body_gets_a_content_type(site: Site, fetch: Tool, body: str, content_type: str):
    await fetch(site.url(), "POST", None, body)
    assert site.seen[0].headers["content-type"] == content_type


async def test_an_error_status_is_a_result(site: Site, fetch: Tool):
    site.routes["/no"] = lambda handler: respond(handler, b"gone", status=410)
    assert (await fetch(site.url("/no"))).startswith("status: 410 Gone\n")


async def test_head_has_no_body(site: Site, fetch: Tool):
    site.routes["/"] = lambda handler: respond(handler, b"")
    assert (await fetch(site.url(), "HEAD")).endswith("body:\n")


@pytest.mark.parametrize(
    ("body", "content_type", "shown"),
    [
        (b"\x89PNG", "image/png", "body: 4 bytes that are not text, not shown"),
        (b"\xff\xfe\x00", None, "body: 3 bytes that are not text, not shown"),
        ("é".encode(), None, "body:\né"),
        (b"\xe9", "text/html; charset=latin-1", "body:\né"),
        (b"\xe9", "text/html; charset=nonsense", "body:\n\ufffd"),
        (b"\xe9", "text/html; charset=hex", "body:\n\ufffd"),
        (b"\xe9", "text/html; charset=undefined", "body: 1 bytes that are not text, not shown"),
        (b"{}", "application/problem+json", "body:\n{}"),
        (b"<a/>", "Application/XML", "body:\n<a/>"),
        (b"a=1", "application/x-www-form-urlencoded", "body:\na=1"),
    ],
)
async def test_text_is_shown_and_other_content_described(
    site: Site, fetch: Tool, body: bytes, content_type: str | None, shown: str
):
    site.text("/", body, content_type)
    assert (await fetch(site.url())).split("\n", 3)[3] == shown


# Bounds


async def test_a_large_body_is_cut_with_a_note(site: Site):
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.end_headers()
        try:
            while not site.stop.is_set():
                handler.wfile.write(b"x" * 10_000)
        except OSError:
            site.left.set()

    site.routes["/"] = endless
    fetch = make_http_request(allow_networks=[LOOPBACK], max_bytes=25_000)
    status, _, _, _, body, note = (await fetch(site.url())).split("\n")
    assert (status, body, note) == ("status: 200 OK", "x" * 25_000, "[cut after 25,000 bytes]")
    assert await anyio.to_thread.run_sync(site.left.wait, 10)


async def test_a_body_of_just_the_limit_is_whole(site: Site):
    site.text("/", b"x" * 100)
    assert (await make_http_request(allow_networks=[LOOPBACK], max_bytes=100)(site.url())).endswith("\n" + "x" * 100)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_a_packed_body_is_unpacked_within_the_limit(site: Site, fetch: Tool, pack: Callable[[bytes], bytes]):
    coding = "gzip" if pack is gzip.compress else "deflate"
    site.text("/", pack(b"hello"), Content_Encoding=coding)
    site.text("/bomb", pack(b"\0" * 50_000_000), Content_Encoding=coding)
    assert (await fetch(site.url())).endswith("body:\nhello")
    bomb = await fetch(site.url("/bomb"))
    assert bomb.endswith("[cut after 262,144 bytes]")
    assert len(bomb) < 263_000
    assert site.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "gzip,gzip,gzip"])
async def test_other_encodings_are_refused(site: Site, fetch: Tool, coding: str):
    site.text("/", gzip.compress(gzip.compress(b"x")), Content_Encoding=coding)
    with pytest.raises(ValueError, match="content encoding"):
        await fetch(site.url())


async def test_a_damaged_body_is_said_to_be_damaged(site: Site, fetch: Tool):
    site.text("/", b"not gzip at all", Content_Encoding="gzip")
    with pytest.raises(ValueError, match="the response is damaged"):
        await fetch(site.url())


@pytest.mark.parametrize("when", ["before the head", "within the body"])
async def test_a_slow_response_ends_at_the_time_limit(site: Site, when: str):
    def slow(handler: BaseHTTPRequestHandler) -> None:
        if when == "within the body":
            handler.send_response(200)
            handler.send_header("Content-Length", "10")
            handler.end_headers()
            handler.wfile.write(b"x")
        site.stop.wait(10)

    site.routes["/?key=secret"] = slow
    fetch = make_http_request(allow_networks=[LOOPBACK], timeout=0.2)
    with pytest.raises(ValueError, match=rf"^GET http://127.0.0.1:{site.port}: no complete response within 0.2 s$"):
        await fetch(site.url("/?key=secret"))


async def test_a_cancelled_request_closes_its_connection(site: Site, fetch: Tool):
    def hold(handler: BaseHTTPRequestHandler) -> None:
        if handler.connection.recv(1) == b"":
            site.left.set()

    site.routes["/"] = hold
    async with anyio.create_task_group() as group:
        group.start_soon(fetch, site.url())
        assert await anyio.to_thread.run_sync(site.arrived.wait, 10)
        group.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(site.left.wait, 10)


async def test_a_dropped_connection_is_an_error(site: Site, fetch: Tool):
    site.routes["/"] = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ValueError, match=f"GET http://127.0.0.1:{site.port}: RemoteProtocolError: "):
        await fetch(site.url())


async def test_a_closed_port_is_an_error(fetch: Tool):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ValueError, match="ConnectError"):
        await fetch(f"http://127.0.0.1:{port}/")


# Redirects


async def test_redirects_are_followed_to_the_end(site: Site, fetch: Tool):
    site.redirect("/a", "b?x=1", 301)
    site.redirect("/b?x=1", site.url("/c"), 307)
    site.text("/c", b"here")
    got = await fetch(site.url("/a"))
    assert got.startswith(f"status: 200 OK\nurl: {site.url('/c')}\n")
    assert got.endswith("here")


async def test_five_redirects_are_followed_and_six_are_not(site: Site, fetch: Tool):
    for number in range(6):
        site.redirect(f"/{number}", f"/{number + 1}")
    site.text("/6", b"end")
    assert (await fetch(site.url("/1"))).endswith("end")
    with pytest.raises(ValueError, match="more than 5 redirects"):
        await fetch(site.url("/0"))


@pytest.mark.parametrize(
    ("status", "method", "sent"),
    [
        (301, "POST", ("GET", "")),
        (302, "POST", ("GET", "")),
        (303, "PUT", ("GET", "")),
        (307, "POST", ("POST", "data")),
        (308, "PUT", ("PUT", "data")),
        (302, "PUT", ("PUT", "data")),
    ],
)
async def test_a_redirect_keeps_or_drops_the_body_by_its_status(
    site: Site, fetch: Tool, status: int, method: str, sent: tuple[str, str]
):
    site.redirect("/", "/new", status)
    await fetch(site.url(), method, None, "data")
    last = site.seen[-1]
    assert (last.path, last.method, last.body) == ("/new", *sent)
    assert ("content-type" in last.headers) == bool(last.body)


async def test_credentials_do_not_follow_to_another_origin(site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch):
    names(monkeypatch, other_test=["127.0.0.1"])
    headers = {"Authorization": "Bearer s", "X-Api-Key": "s", "Cookie": "s", "Accept": "text/html"}
    site.redirect("/same", "/end")
    site.redirect("/other", f"http://other.test:{site.port}/end")
    for path in ("/same", "/other"):
        await fetch(site.url(path), "GET", headers)
    _, same, _, other = site.seen
    assert (same.headers["authorization"], same.headers["x-api-key"]) == ("Bearer s", "s")
    assert other.headers["host"] == f"other.test:{site.port}"
    assert other.headers["accept"] == "text/html"
    assert not {"authorization", "x-api-key", "cookie"} & set(other.headers)


@pytest.mark.parametrize(
    ("location", "flaw"),
    [
        ("http://127.0.0.2/", "127.0.0.2, which is not a public address"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254, which is not a public address"),
        ("//[::1]/", "::1, which is not a public address"),
        ("http://hidden.test/", "hidden.test is at 10.0.0.7, which is not a public address"),
        ("http://me:secret@127.0.0.1/", "contains a user name or password"),
        ("file:///etc/passwd", "only http:// and https:// addresses are allowed, not file"),
        ("http://a:port/", "Invalid port"),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(
    site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch, location: str, flaw: str
):
    names(monkeypatch, hidden_test=["10.0.0.7"])
    site.redirect("/", location)
    with pytest.raises(ValueError) as refused:
        await fetch(site.url())
    assert flaw in str(refused.value)
    assert "secret" not in str(refused.value)
    assert len(site.seen) == 1


# Addresses


async def test_the_operator_may_allow_private_addresses(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLAYHEAD_HTTP_ALLOW_PRIVATE", "1")
    assert "200 OK" in await http_request(site.url())
    monkeypatch.setenv("PLAYHEAD_HTTP_ALLOW_PRIVATE", "0")
    with pytest.raises(ValueError, match="not a public address"):
        await http_request(site.url())
    assert "200 OK" in await make_http_request(allow_private=True)(site.url())


async def test_the_connection_goes_to_the_address_that_was_checked(
    site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch
):
    asked = names(monkeypatch, rebind_test=["127.0.0.1"])
    # No resolver knows this name, so a second look-up by the connection would fail.
    assert "200 OK" in await fetch(site.url(host="rebind.test"))
    assert asked == ["rebind.test"]
    assert site.seen[0].headers["host"] == f"rebind.test:{site.port}"


async def test_an_address_that_does_not_answer_is_passed_over(site: Site, monkeypatch: pytest.MonkeyPatch):
    names(monkeypatch, two_test=["127.0.0.2", "127.0.0.1"])
    fetch = make_http_request(allow_networks=["127.0.0.0/8"])
    assert "200 OK" in await fetch(site.url(host="two.test"), "POST", None, "once")
    assert [seen.body for seen in site.seen] == ["once"]


async def test_proxies_of_the_environment_are_not_used(site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "200 OK" in await fetch(site.url())


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for pinned.test, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pinned.test"),
            *("-addext", "subjectAltName=DNS:pinned.test", "-keyout", folder / "key", "-out", folder / "cert"),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


@pytest.fixture
def secure(certificate: Path) -> Iterator[Site]:
    made = Site()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: made.snis.append(name)
    server = serve(made, context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_pinned_connection_still_proves_its_name(
    secure: Site, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    names(monkeypatch, pinned_test=["127.0.0.1"], other_test=["127.0.0.1"])
    trust = ssl.create_default_context(cafile=certificate)
    fetch = make_http_request(allow_networks=[LOOPBACK], ssl_context=trust)
    assert "200 OK" in await fetch(f"https://pinned.test:{secure.port}/")
    with pytest.raises(ValueError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(f"https://other.test:{secure.port}/")
    assert secure.snis == ["pinned.test", "other.test"]
    assert len(secure.seen) == 1


async def test_a_connection_is_not_shared_between_names_of_one_address(
    secure: Site, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    names(monkeypatch, pinned_test=["127.0.0.1"], other_test=["127.0.0.1"])
    fetch = make_http_request(allow_networks=[LOOPBACK], ssl_context=ssl.create_default_context(cafile=certificate))
    secure.redirect("/", f"https://other.test:{secure.port}/")
    with pytest.raises(ValueError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(f"https://pinned.test:{secure.port}/")


async def test_only_known_authorities_are_trusted_by_default(
    secure: Site, certificate: Path, fetch: Tool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names(monkeypatch, pinned_test=["127.0.0.1"])
    with pytest.raises(ValueError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(f"https://pinned.test:{secure.port}/")
