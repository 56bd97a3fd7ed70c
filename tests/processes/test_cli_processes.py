"""The processes the command line starts: restarted when they die, drained when asked, ended with it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import redis

from playhead.client import Client
from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.commands import Commands, Finished, Running, entries_of, gone, state_of

__all__: list[str] = []

AGENTS = str(Path(__file__).with_name("process_agents.py"))
RUN_ID = r"0-[0-9a-z]{19}"
PASSWORD = "not-for-ps"


def pids_at(url: str, number: int, *, but: int = 0) -> list[int]:
    """The process ids of the live workers other than `but`, once there are `number`: they announce themselves."""

    async def read() -> list[int]:
        async with Client(url) as client:
            with anyio.fail_after(20):
                while True:
                    pids = [worker.pid for worker in await client.workers() if worker.pid != but]
                    if len(pids) == number:
                        return pids
                    await anyio.sleep(0.02)

    return anyio.run(read)


def ask(commands: Commands, url: str, agent: str) -> str:
    """Submit a run and leave it; returns its id."""
    return commands.run("ask", agent, "What is 17 * 23?", "--detach", "--url", url).out


def command_line(pid: int) -> str:
    """What `ps` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


# playhead worker


def test_a_worker_process_that_is_killed_is_started_again_and_all_drain_at_the_end(
    server: EmbeddedServer, commands: Commands
):
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", PASSWORD)
    url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}"
    parent = commands.start("worker", AGENTS, "--processes", "2", "--url", url, "--lease", "2", "--drain", "0")
    for _ in range(2):
        parent.until("serves assistant")
    first, second = pids_at(url, 2)
    if os.path.isdir("/proc/self"):
        assert PASSWORD not in "".join(command_line(pid) for pid in (first, second))
    os.kill(first, signal.SIGKILL)
    parent.until("a worker process was killed by SIGKILL; another starts")
    parent.until("serves assistant")
    pids = pids_at(url, 2, but=first)
    assert second in pids

    run_id = ask(commands, url, "assistant")
    assert entries_of(url, run_id)[-1].record.type == "run.completed"
    parent.signal(signal.SIGTERM)
    told = parent.wait()
    assert told.code == 0
    assert PASSWORD not in told.out + told.err
    assert all(gone(pid) for pid in pids)
    assert pids_at(url, 0, but=first) == []


def test_processes_serve_all_shards_and_commands_find_what_is_on_any(
    server: EmbeddedServer, commands: Commands, call: Callable[..., Finished]
):
    url = server.url
    parent = commands.start("worker", AGENTS, "--processes", "2", "--url", url, "--shards", "3")
    for _ in range(2):
        parent.until("serves assistant")
    ids = [call("ask", "assistant", "What is 17 * 23?", "--detach", "--url", url).out.strip() for _ in range(16)]
    assert len({run_id.partition("-")[0] for run_id in ids}) > 1  # of one shard alone once in 14 million times
    for run_id in ids:
        assert entries_of(url, run_id)[-1].record.type == "run.completed"
    listed = call("runs", "--json", "--url", url).lines
    assert {line["run_id"] for line in listed} == set(ids)
    elsewhere = next(run_id for run_id in ids if not run_id.startswith("0-"))
    for command in ("show", "tail"):
        assert "391" in call(command, elsewhere, "--url", url).out
    assert len(call("workers", "--json", "--url", url).lines) == 2
    assert "3 shards" in call("doctor", "--url", url).out
    assert parent.stop() == 0


def test_a_worker_takes_the_number_of_shards_there_is_and_is_refused_with_another(
    server: EmbeddedServer, commands: Commands
):
    url = server.url
    first = commands.start("worker", AGENTS, "--url", url, "--shards", "3")
    first.until("serves assistant")
    other = commands.start("worker", AGENTS, "--url", url, "--shards", "2")
    refused = other.wait()
    assert refused.code == 78
    assert "the number of shards 3, not 2" in refused.err
    later = commands.start("worker", AGENTS, "--url", url)
    assert len(pids_at(url, 2)) == 2
    assert later.stop() == 0
    assert first.stop() == 0


def test_a_drained_worker_hands_its_run_over_and_another_goes_on(server: EmbeddedServer, commands: Commands):
    first = commands.start("worker", AGENTS, "--url", server.url, "--drain", "0")
    first.until("serves")
    asking = commands.start("ask", "slow", "go", "--json", "--url", server.url)
    run_id = asking.until(RUN_ID).group()
    asking.until('"data": " word3"')
    first.signal(signal.SIGTERM)
    first.until("draining: 1 run held")
    assert first.wait().code == 0
    assert state_of(server.url, run_id) == "queued"

    second = commands.start("worker", AGENTS, "--url", server.url)
    told = asking.wait()
    assert told.code == 0
    assert second.stop() == 0
    entries = entries_of(server.url, run_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.epoch for entry in entries} == {0, 1, 2}
    assert [entry.record.type for entry in entries].count("run.handed_over") == 1


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_signal_stops_at_once(processes: str, server: EmbeddedServer, commands: Commands):
    worker = commands.start("worker", AGENTS, "--url", server.url, "--drain", "600", "--processes", processes)
    for _ in range(int(processes)):
        worker.until("serves")
    pids = pids_at(server.url, int(processes))
    asking = commands.start("ask", "stuck", "go", "--url", server.url)
    asking.until("→ hang")
    worker.signal(signal.SIGTERM)
    if processes == "1":
        worker.until("draining: 1 run held; a second signal stops at once")
    else:  # the child that holds nothing drains at once: the signal has arrived
        pids_at(server.url, 1)
    worker.signal(signal.SIGTERM)
    told = worker.wait()
    assert told.code in (0, 130), told
    assert all(gone(pid) for pid in pids)


def test_several_processes_that_cannot_start_end_with_the_reason(commands: Commands):
    (commands.folder / "bad.py").write_text(
        "from playhead.runtime import Agent\nagent = Agent(name='a', model='gpt-99')"
    )
    told = commands.run("worker", "bad.py", "--processes", "2")
    assert told.code == 78
    assert "'gpt-99' is not a model" in told.err


# playhead dev


def start_dev(commands: Commands) -> tuple[Running, str]:
    """`playhead dev` and its URL, once a worker serves."""
    dev = commands.installed("dev", AGENTS)
    url = dev.until(r"redis://127\.0\.0\.1:\d+").group()
    dev.until("serves assistant")
    return dev, url


def test_dev_serves_other_processes_in_its_folder_and_keeps_the_data(commands: Commands):
    dev, url = start_dev(commands)
    (worker,) = pids_at(url, 1)
    asked = commands.run("ask", "assistant", "What is 17 * 23?", "--json")
    assert asked.code == 0
    run_id = asked.lines[0]["run"]
    tail = commands.run("tail", run_id, "--after", "10", "--json")
    assert tail.lines == [line for line in asked.lines if line["seq"] > 10]

    dev.signal(signal.SIGINT)
    told = dev.wait()
    assert (told.code, told.out.splitlines()[-1]) == (0, "stopped; the data is kept")
    assert gone(worker)
    assert commands.run("tail", run_id, "--json").lines == asked.lines


def test_dev_that_is_killed_leaves_no_process_and_usable_data(commands: Commands):
    dev, url = start_dev(commands)
    run_id = ask(commands, url, "assistant")
    assert entries_of(url, run_id)[-1].record.type == "run.completed"
    server_pid = json.loads((commands.folder / ".playhead" / "server.json").read_text())["pid"]
    (worker,) = pids_at(url, 1)
    dev.signal(signal.SIGKILL)
    assert gone(worker)
    assert gone(server_pid)
    dev.wait()
    shown = commands.run("show", run_id, "--json")
    assert shown.lines[0]["state"] == "completed"


# playhead demo


def interrupted_demo(commands: Commands, number: int) -> tuple[Finished, int]:
    """The demo, with its worker killed or the demo itself interrupted in the middle of the message."""
    demo = commands.start("demo", "who are you?", "--json")
    worker = int(demo.until(r"worker process (\d+)").group(1))
    demo.until('"data": " I"')
    if number == signal.SIGKILL:
        os.kill(worker, number)
    else:
        demo.signal(number)
    return demo.wait(), worker


def test_a_demo_whose_worker_is_killed_takes_the_run_over(commands: Commands):
    told, killed = interrupted_demo(commands, signal.SIGKILL)
    assert told.code == 0
    assert gone(killed)
    assert "the worker was killed (signal 9)" in told.err
    seqs = [line["seq"] for line in told.lines]
    assert seqs == sorted(seqs)
    withdrawn = [line["event"] for line in told.lines if "retracted" in line["event"]]
    assert len(withdrawn) == 1
    kept = "".join(
        line["event"].get("data", "")
        for line in told.lines
        if not withdrawn[0]["from_seq"] <= line["seq"] <= withdrawn[0]["to_seq"]
    )
    assert kept == told.lines[-1]["event"]["result"]["message"]["content"][0]["text"]


def test_an_interrupted_demo_ends_its_processes_and_says_where_to_look(commands: Commands):
    told, worker = interrupted_demo(commands, signal.SIGINT)
    assert told.code == 130
    assert gone(worker)
    found = re.search(rf"playhead show ({RUN_ID})", told.err)
    assert found, told.err
    assert commands.run("cancel", found.group(1)).err.endswith(f"run {found.group(1)}: cancelled")
