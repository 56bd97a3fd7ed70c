"""Which server a client uses that was given none: `PLAYHEAD_URL`, the nearest `.playhead/`, the default."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from playhead.client import Client
from playhead.client.finding import DATA_DIRECTORY, data_folder, find_url, folder_named
from playhead.runtime import LogUnavailableError
from playhead.runtime.embedded.binary import PortTakenError
from playhead.runtime.embedded.process import free_port
from playhead.workers.dev_server import server_of_dev

__all__: list[str] = []


@pytest.fixture
def listener() -> Iterator[str]:
    """The URL of something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLAYHEAD_URL", raising=False)


def left_by_dev(folder: Path, url: str) -> Path:
    data = folder / DATA_DIRECTORY
    data.mkdir(parents=True)
    (data / "server.json").write_text(json.dumps({"url": url}))
    return data


def test_the_nearest_folder_counts_also_from_a_folder_below_it(
    tmp_path: Path, listener: str, monkeypatch: pytest.MonkeyPatch
):
    assert (data_folder(), find_url()) == (None, None)
    data = left_by_dev(tmp_path, listener)
    assert (data_folder(), find_url()) == (DATA_DIRECTORY, listener)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert (data_folder(), find_url()) == (data, listener)
    nearer = left_by_dev(tmp_path / "a", "redis://127.0.0.1:1")
    assert (data_folder(), find_url()) == (nearer, None)


def test_the_variable_counts_first_and_may_name_a_folder(
    tmp_path: Path, listener: str, monkeypatch: pytest.MonkeyPatch
):
    left_by_dev(tmp_path, "redis://127.0.0.1:1")
    monkeypatch.setenv("PLAYHEAD_URL", "redis://elsewhere:6379")
    assert find_url() == "redis://elsewhere:6379"
    other = left_by_dev(tmp_path / "other", listener)
    monkeypatch.setenv("PLAYHEAD_URL", str(other))
    assert find_url() == listener
    monkeypatch.setenv("PLAYHEAD_URL", str(tmp_path))
    with pytest.raises(LogUnavailableError, match="which PLAYHEAD_URL names"):
        find_url()
    monkeypatch.setenv("PLAYHEAD_URL", "absent")
    with pytest.raises(LogUnavailableError, match="PLAYHEAD_URL is 'absent', which is neither a URL, such as redis://"):
        find_url()
    with pytest.raises(LogUnavailableError, match="the URL is 'user:\\*\\*\\*@host', which is neither"):
        folder_named("user:secret@host")


@pytest.mark.skipif(os.name != "posix", reason="folders have no owner")
def test_the_folder_of_another_user_does_not_choose_the_server(
    tmp_path: Path, listener: str, monkeypatch: pytest.MonkeyPatch
):
    left_by_dev(tmp_path, listener)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert (data_folder(), find_url()) == (None, None)


@pytest.mark.anyio
async def test_a_client_that_finds_none_says_where_it_has_looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("playhead.client.connection.DEFAULT_URL", "redis://127.0.0.1:1")
    with pytest.raises(LogUnavailableError) as caught:
        await Client().__aenter__()
    assert "127.0.0.1:1" in str(caught.value)
    assert "PLAYHEAD_URL is not set" in str(caught.value)
    assert f"on a .playhead/ in {tmp_path} or above it" in str(caught.value)
    with pytest.raises(LogUnavailableError) as caught:
        await Client("redis://127.0.0.1:1").__aenter__()
    assert "is the default" not in str(caught.value)


@pytest.mark.anyio
async def test_a_client_finds_the_server_of_dev_and_finds_it_again_when_it_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    client = Client()
    (tmp_path / "below").mkdir()
    for _ in range(2):
        monkeypatch.chdir(tmp_path)
        async with server_of_dev(0) as server:
            monkeypatch.chdir(tmp_path / "below")
            async with client:
                assert (client.url, await client.runs()) == (server.url, [])


@pytest.mark.anyio
async def test_dev_takes_its_usual_port_if_it_is_free_and_another_one_if_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usual = free_port()
    async with server_of_dev(None, usual=usual) as first:
        assert first.port == usual
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        async with server_of_dev(None, usual=usual) as second:
            assert second.port != usual
        with pytest.raises(PortTakenError):
            await server_of_dev(usual).__aenter__()


@pytest.mark.anyio
async def test_a_server_of_dev_that_is_killed_starts_again_at_its_url_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    async with server_of_dev(0) as server, Client(server.url) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(server.keep_running)
        run = await client.start("agent", "Hi")
        first, url = server.now, server.url
        os.kill(first.pid, signal.SIGKILL)
        with anyio.fail_after(20):
            while server.now is first:  # noqa: ASYNC110 - a process that dies gives no signal to wait for
                await anyio.sleep(0.02)
        assert server.url == url
        assert [info.run_id for info in await client.runs()] == [run.id]
        tasks.cancel_scope.cancel()
