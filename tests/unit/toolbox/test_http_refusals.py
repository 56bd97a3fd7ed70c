"""What the HTTP tool refuses before it connects to anything."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import anyio
import pytest

from playhead.runtime.core.converse import ToolUse
from playhead.runtime.toolbox import addresses, http_request, make_http_request
from playhead.runtime.toolbox.addresses import is_public
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.tool import Outcome

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def resolves(monkeypatch: pytest.MonkeyPatch, found: list[str] | OSError) -> None:
    """Make every name resolve to `found`, or fail with it."""

    async def lookup(host: str, port: int) -> list[str]:
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(addresses, "lookup", lookup)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
    ],
)
async def test_addresses_that_are_not_public_are_refused(host: str):
    with pytest.raises(ValueError, match=r"which is not a public address; requests to it are refused$"):
        await http_request(f"http://{host}:9/")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b::10.0.0.1", False),
        ("2002:808:808::", True),
        ("2001:db8::1", False),
        ("198.18.0.1", False),
    ],
)
def test_an_address_within_an_address_decides(address: str, expected: bool):
    assert is_public(ip_address(address)) is expected


async def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch):
    resolves(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(ValueError, match=r"mixed.test is at 127.0.0.1"):
        await http_request("http://mixed.test/")


async def test_a_name_without_an_address_is_named(monkeypatch: pytest.MonkeyPatch):
    resolves(monkeypatch, socket.gaierror(-2, "Name or service not known"))
    with pytest.raises(ValueError, match=r"cannot find the host 'nowhere.invalid'"):
        await http_request("http://nowhere.invalid/")


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("file:///etc/passwd", "not file"),
        ("ftp://127.0.0.1/", "not ftp"),
        ("127.0.0.1/path", "not a relative one"),
        ("/path", "not a relative one"),
        ("http://", "only http:// and https://"),
        ("http:///path", "only http:// and https://"),
        ("http://user:secret@127.0.0.1/", "send credentials in a header"),
        ("http://secret@127.0.0.1/", "send credentials in a header"),
        ("http://127.0.0.1:secret/", "not a web address"),
        ("http://a\nb/", "not a web address"),
        ("http://" + "a" * 70 + ".test/", "cannot find the host"),
        ("http://\ud800/", "not a web address"),
        ("x" * 100_000, "not a web address"),
    ],
)
async def test_addresses_that_make_no_sense_are_refused(url: str, flaw: str):
    with pytest.raises(ValueError) as refused:
        await http_request(url)
    assert flaw in str(refused.value)
    assert "secret@" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "GET / HTTP/1.1\r\nX:", ""])
async def test_other_methods_are_refused(method: str):
    with pytest.raises(ValueError, match="is not one of GET, HEAD"):
        await http_request("http://127.0.0.1/", method)


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "Connection", "Proxy-Authorization", " Host ", "Expect"]
)
async def test_headers_that_frame_the_message_are_refused(name: str):
    with pytest.raises(ValueError, match="is set by the tool"):
        await http_request("http://127.0.0.1/", "GET", {name: "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-A", "s3cret\r\nX-B: 2"), ("X-A", "s3cret\n"), ("X-A\r\nX-B", "1"), ("X A", "1"), ("", "1"), ("X-A", "\ud800")],
)
async def test_headers_cannot_smuggle_others(name: str, value: str):
    with pytest.raises(ValueError, match=r"^the header .* cannot be sent") as refused:
        await http_request("http://127.0.0.1/", "GET", {name: value})
    assert "s3cret" not in str(refused.value)


def test_a_bad_network_is_refused_when_the_tool_is_made():
    with pytest.raises(ValueError, match="intranet"):
        make_http_request(allow_networks=["intranet"])


async def test_the_model_gets_errors_as_results():
    request: ToolUse = {"toolUseId": "t1", "name": "http_request", "input": {"url": "http://127.0.0.1/"}}
    context = ToolContext(tool_use=request, run_id="r")
    (outcome,) = [item async for item in http_request.stream(request, context)]
    assert isinstance(outcome, Outcome)
    assert outcome.result["status"] == "error"
    assert outcome.result["content"][0]["text"].startswith("Error: 127.0.0.1 is at 127.0.0.1, which is not")
    assert http_request.spec["inputSchema"]["json"]["required"] == ["url"]
    assert make_http_request(name="intranet").name == "intranet"


async def test_a_slow_lookup_ends_at_the_time_limit(monkeypatch: pytest.MonkeyPatch):
    async def lookup(host: str, port: int) -> list[str]:
        await anyio.sleep_forever()
        return []

    monkeypatch.setattr(addresses, "lookup", lookup)
    with pytest.raises(ValueError, match=r"no complete response within 0\.05 s"):
        await make_http_request(timeout=0.05)("http://slow.test/")
