"""Bad input: each ends in one clear exception that says what was wrong, with which value, and what to do."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.core.errors import (
    BadTargetError,
    EncodingError,
    LogUnavailableError,
    RecordTooLargeError,
    RedisAuthError,
    RedisTooOldError,
)
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.server_check import check_server
from playhead.runtime.models import ScriptedModel
from playhead.workers import Worker, load_agents

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SECRET = "correct-horse"


async def entering(url: str) -> None:
    """What `async with Client(url)` does."""
    async with Client(url):
        pytest.fail("the client opened")


# The server


async def test_no_server_at_all() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    await listener.aclose()
    with anyio.fail_after(5), pytest.raises(LogUnavailableError, match=rf"cannot reach Redis at 127\.0\.0\.1:{port}"):
        await entering(f"redis://127.0.0.1:{port}")


@pytest.mark.parametrize("url", ["http://localhost:6379", "localhost", "", "redis://localhost:port"])
async def test_what_is_not_a_url(url: str) -> None:
    with pytest.raises(LogUnavailableError, match=r"is not a Redis URL .*use redis://"):
        await entering(url)


async def test_a_bad_url_is_shown_without_its_password() -> None:
    with pytest.raises(LogUnavailableError) as raised:
        await entering(f"http://user:{SECRET}@localhost:6379")
    assert SECRET not in str(raised.value)
    assert "user:***@localhost" in str(raised.value)


@pytest.fixture
async def locked(fleet: Fleet) -> AsyncIterator[Fleet]:
    """A server that wants a password."""
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        await there.ask("CONFIG", "SET", "requirepass", SECRET)
        yield there


@pytest.mark.parametrize("login", ["", ":wrong-guess@", "other:wrong-guess@"])
async def test_a_missing_or_wrong_password(locked: Fleet, login: str) -> None:
    url = locked.url.replace("redis://", f"redis://{login}")
    with pytest.raises(RedisAuthError, match="password") as raised:
        await entering(url)
    assert "wrong-guess" not in str(raised.value)
    log = RedisLog(connect(url))
    with anyio.fail_after(5), pytest.raises(RedisAuthError):
        await Worker([Agent(name="agent")], log=log).run()
    await log.aclose()


async def test_the_right_password(locked: Fleet) -> None:
    async with Client(locked.url.replace("redis://", f"redis://:{SECRET}@")) as client:
        assert await client.runs() == []


async def test_a_password_changed_while_a_run_is_watched_ends_the_tail(fleet: Fleet) -> None:
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.client() as client:
            run = await client.start("unserved", "Hi")
            records = run.records()
            await anext(records)
            await there.ask("CONFIG", "SET", "requirepass", SECRET)
            async with connect(server.url.replace("redis://", f"redis://:{SECRET}@")) as admin:
                await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(RedisAuthError):
                await anext(records)


async def answering(reply: Callable[[bytes], bytes], *, check: Callable[[str], Any]) -> None:
    """Run `check` against a server on the loopback that answers each request with `reply`."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                while True:
                    await stream.send(reply(await stream.receive()))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        with anyio.fail_after(5):
            await check(f"redis://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        tasks.cancel_scope.cancel()


def speaking(version: str) -> Callable[[bytes], bytes]:
    """Just enough of the protocol: each command in a request gets a reply, INFO names the version."""

    def reply(request: bytes) -> bytes:
        replies: list[bytes] = []
        for command in request.split(b"*")[1:]:
            words = command.split(b"\r\n")[2::2]
            info = f"# Server\r\nredis_version:{version}\r\n".encode()
            name = words[0].upper() if words else b""
            known = {b"PING": b"+PONG\r\n", b"INFO": b"$%d\r\n%s\r\n" % (len(info), info), b"GET": b"$-1\r\n"}
            known[b"EXISTS"] = b":0\r\n"
            replies.append(known.get(name, b"+OK\r\n"))
        return b"".join(replies)

    return reply


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "2.8.0", "unknown"])
async def test_a_server_that_is_too_old(version: str) -> None:
    async def check(url: str) -> None:
        with pytest.raises(RedisTooOldError, match=rf"is {version}; playhead needs 6\.2 or newer"):
            await entering(url)

    await answering(speaking(version), check=check)


@pytest.mark.parametrize("version", ["6.2.0", "7.4.1", "10.0.0"])
async def test_a_server_that_is_new_enough(version: str) -> None:
    async def check(url: str) -> None:
        async with Client(url):
            pass

    await answering(speaking(version), check=check)


async def test_something_that_is_not_redis() -> None:
    async def check(url: str) -> None:
        with pytest.raises(LogUnavailableError):
            await entering(url)

    await answering(lambda request: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", check=check)


async def test_a_server_that_may_forget_is_named_with_what_to_set() -> None:
    async with EmbeddedServer.running(durable=False, extra_args=("--maxmemory-policy", "allkeys-lru")) as server:
        client = connect(server.url)
        warnings = await check_server(client)
        await client.aclose()
    assert any("maxmemory-policy is allkeys-lru" in text and "noeviction" in text for text in warnings)
    assert any("appendonly is off" in text for text in warnings)


async def test_a_server_that_keeps_everything_needs_no_warning() -> None:
    async with EmbeddedServer.running() as server:
        client = connect(server.url)
        assert await check_server(client) == []
        await client.aclose()


# What is submitted


@pytest.mark.parametrize("agent", ["", "x" * 129, "my agent!", "line\nbreak", "nul\0", "\ud800"])
async def test_a_name_that_no_agent_can_have_is_refused(fleet: Fleet, agent: str) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match="cannot name an agent: use 1 to 128 letters"):
            await client.start(agent, "Hi")
        assert await client.runs() == []


@pytest.mark.parametrize("run_id", ["", "x" * 1000, "line\nbreak", "nul\0", "\ud800", "a}b"])
async def test_what_is_not_a_run_id(fleet: Fleet, run_id: str) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match="run_id"):
            client.run(run_id)
        if run_id:
            with pytest.raises(ValueError, match="run_id"):
                await client.start("agent", "Hi", run_id=run_id)
        assert await client.runs() == []


@pytest.mark.parametrize("prompt", [12, b"bytes", {"text": "Hi"}, [1, 2], [{"no": "block"}], [{"role": "user"}]])
async def test_a_prompt_of_no_known_form(fleet: Fleet, prompt: Any) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match="a prompt must be text, a list of content blocks"):
            await client.start("agent", prompt)
        assert await client.runs() == []


class Opaque:
    """Not plain data."""


def nested(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [Opaque(), {1, 2}, [Opaque()], {"deep": {"deeper": Opaque()}}, nested(2000)],
    ids=lambda v: type(v).__name__,
)
async def test_a_prompt_or_state_that_is_not_plain_data(fleet: Fleet, value: Any) -> None:
    async with fleet.client() as client:
        with pytest.raises(EncodingError, match="prompt cannot be stored"):
            await client.start("agent", [{"text": "Hi", "extra": value}])
        with pytest.raises(EncodingError, match=r"invocation_state\['what'\] cannot be stored"):
            await client.start("agent", "Hi", invocation_state={"fine": 1, "what": value})
        with pytest.raises(EncodingError, match=r"invocation_state\['what'\] cannot be stored"):
            await client.run(new_run_id()).respond({"i": "yes"}, invocation_state={"fine": 1, "what": value})
        assert await client.runs() == []


async def test_a_prompt_over_the_limit(fleet: Fleet) -> None:
    async with fleet.client(max_record_bytes=5000) as client:
        assert (await client.start("agent", "x" * 4000)).id
        with pytest.raises(RecordTooLargeError, match=r"the prompt is \d,\d+ bytes, over the limit of 5,000") as raised:
            await client.start("agent", "x" * 5000)
        assert raised.value.limit == 5000 < raised.value.size
        with pytest.raises(RecordTooLargeError):
            await client.start("agent", "x", invocation_state={"all": "x" * 5000})
        assert len(await client.runs()) == 1


@pytest.mark.parametrize("cursor", ["x", "-1", -1, "1.x", "1.-2", True, "", "1.2.3"])
async def test_what_is_not_a_cursor(fleet: Fleet, cursor: Any) -> None:
    async with fleet.client() as client:
        run = client.run(new_run_id())
        with pytest.raises(ValueError, match="is not a cursor: pass a record number such as 41"):
            await anext(run.stream_async(after=cursor))


@pytest.mark.parametrize("state", [{1: "one"}, 5, ["a"], "a"])
async def test_an_invocation_state_that_is_not_values_by_name(fleet: Fleet, state: Any) -> None:
    async with fleet.client() as client:
        with pytest.raises(TypeError, match="invocation_state must be a"):
            await client.start("agent", "Hi", invocation_state=state)
        with pytest.raises(TypeError, match="invocation_state must be a"):
            await client.run(new_run_id()).respond({"i": "yes"}, invocation_state=state)
        assert await client.runs() == []
    with pytest.raises(TypeError, match="invocation_state must be a"):
        Agent(ScriptedModel(["Hi"])).stream_async("Hi", invocation_state=state)


# Targets of a worker


FILES: Mapping[str, str] = {
    "broken.py": "import no_such_module_anywhere\n",
    "wrong.py": "def agent(:\n",
    "raises.py": "raise RuntimeError('not today')\n",
    "exits.py": "raise SystemExit('usage: no')\n",
    "empty.py": "answer = 42\n",
    "one.py": "from playhead.runtime import Agent\nfirst = Agent(name='same')\nanswer = 42\n",
    "two.py": "from playhead.runtime import Agent\nsecond = Agent(name='same')\nthird = Agent(name='third')\n",
}


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files to load, on no path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("{}/missing.py:agent", "there is no file"),
        ("{}/missing.py", "there is no file"),
        ("{}", "there is no file"),
        ("{}/broken.py:agent", "no_such_module_anywhere"),
        ("{}/wrong.py", "SyntaxError"),
        ("{}/raises.py", "RuntimeError: not today"),
        ("{}/exits.py", "SystemExit: usage: no"),
        ("{}/empty.py", "no Agent in it; define one at module level"),
        ("{}/empty.py:answer", "answer is not an Agent .it is a int.. Agents there: none"),
        ("{}/one.py:missing", "no such attribute.. Agents there: first"),
        ("no.such.module:agent", "cannot import 'no.such.module'"),
        ("no_such_module", "cannot import 'no_such_module'"),
        ("", "'' is not a target: use module:attribute or path/to/file.py:attribute"),
        (":agent", "':agent' is not a target"),
        (".relative:agent", "'.relative:agent' is not a target"),
        ("module:no-name", "'module:no-name' is not a target"),
    ],
)
def test_a_target_that_gives_no_agent(targets: Path, target: str, says: str) -> None:
    with pytest.raises(BadTargetError, match=says):
        load_agents([target.format(targets)])


def test_two_agents_of_one_name(targets: Path) -> None:
    with pytest.raises(BadTargetError, match=r"two agents are named 'same', in .*one\.py:first and .*two\.py\."):
        load_agents([f"{targets}/one.py:first", f"{targets}/two.py"])


def test_targets_that_are_right(targets: Path) -> None:
    assert list(load_agents([f"{targets}/two.py"])) == ["same", "third"]
    assert list(load_agents([f"{targets}/two.py:third", f"{targets}/one.py"])) == ["third", "same"]
    (targets / "sub").mkdir()
    (targets / "sub" / "one.py").write_text("from playhead.runtime import Agent\nother = Agent(name='other')\n")
    assert list(load_agents([f"{targets}/one.py", f"{targets}/sub/one.py"])) == ["same", "other"]
    assert list(load_agents([f"{targets}/one.py:first"] * 2)) == ["same"], "the same target twice is one agent"
    assert list(load_agents([f"{targets}/one.py:first", f"{targets}/one.py"])) == ["same"]


def test_no_targets_at_all() -> None:
    assert load_agents([]) == {}
    with pytest.raises(ValueError, match="at least one agent"):
        Worker([], log=RedisLog(connect()))


def test_agents_that_cannot_be() -> None:
    for name in ("", "with space", "x" * 129, "a/b", "\ud800"):
        with pytest.raises(ValueError, match="cannot name an agent"):
            Agent(name=name)
    executor: Any = "parallel"
    with pytest.raises(ValueError, match="tool_executor must be"):
        Agent(ScriptedModel([]), tool_executor=executor)
