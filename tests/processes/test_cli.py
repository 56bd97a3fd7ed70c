"""The command line as people use it. Each command runs in a process of its own; where a test looks only at an
exit code and its text, the same entry point is called in this process, which is a second faster."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from playhead.client.cli.commands import COMMANDS
from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.commands import Commands, Finished, Fleet, entries_of, lines_of, state_of

__all__: list[str] = []

RUN_ID = r"0-[0-9a-z]{19}"
NOWHERE = "redis://127.0.0.1:1"
PASSWORD = "the-real-secret"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Demo:
    """What a demo printed, and its folder."""

    folder: Path
    told: Finished
    run_id: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, once; nothing of it still runs."""
    folder = tmp_path_factory.mktemp("demo")
    with Commands(folder) as commands:
        told = commands.run("demo")
    found = re.search(RUN_ID, told.err)
    assert found, told.err
    return Demo(folder, told, found.group())


@pytest.fixture
def there(demo: Demo) -> Iterator[Commands]:
    """Runs commands where the demo ran."""
    with Commands(demo.folder) as commands:
        yield commands


@pytest.fixture(scope="module")
def locked() -> Iterator[EmbeddedServer]:
    """A server with a password."""
    server = EmbeddedServer.start_sync(durable=False)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", PASSWORD)
    try:
        yield server
    finally:
        server.stop_sync()


def command_names() -> list[str]:
    """Every command there is."""
    return list(COMMANDS)


# What a first-time user sees


def test_the_demo_streams_a_message_and_says_how_to_look_again(demo: Demo):
    assert demo.told.code == 0
    assert "17 * 23 = 391" in demo.told.out
    assert "calculator" in demo.told.err
    assert f"playhead replay {demo.run_id}" in demo.told.err
    assert f"playhead show {demo.run_id}" in demo.told.err


def test_what_the_demo_did_can_be_looked_at_while_nothing_runs(
    demo: Demo, there: Commands, call: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
):
    tail = there.run("tail", demo.run_id, "--json")
    assert tail.code == 0
    assert {line["run"] for line in tail.lines} == {demo.run_id}
    assert "".join(line["event"].get("data", "") for line in tail.lines).endswith("fixed rules.)")

    monkeypatch.chdir(demo.folder)
    half = len(tail.lines) // 2
    assert call("tail", demo.run_id, "--after", tail.lines[half]["cursor"], "--json").lines == tail.lines[half + 1 :]
    assert call("replay", demo.run_id, "--fast", "--json").lines == tail.lines
    info, *records, outcome = call("show", demo.run_id, "--records", "--json").lines
    assert (info["run_id"], info["state"], info["head"]) == (demo.run_id, "completed", len(records))
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert outcome == {"result": tail.lines[-1]["event"]["result"]}
    assert [run["run_id"] for run in call("runs", "--json").lines] == [demo.run_id]


def test_replay_and_show_print_the_same_text_for_people(demo: Demo, call: Callable[..., Finished]):
    kept = str(demo.folder / ".playhead")
    replay = call("replay", demo.run_id, "--speed", "50", "--url", kept)
    assert replay.out.rstrip() == demo.told.out
    shown = call("show", demo.run_id, "--url", kept)
    assert "17 * 23 = 391" in shown.out
    assert "completed" in shown.out


def test_the_hint_names_the_data_where_another_server_would_be_asked(
    commands: Commands, call: Callable[..., Finished], redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    told = commands.run("demo", "2+2", env={"PLAYHEAD_URL": redis_url})
    found = re.search(rf"playhead show ({RUN_ID}) --url \.playhead", told.err)
    assert found, told.err
    monkeypatch.setenv("PLAYHEAD_URL", redis_url)
    assert call("show", found.group(1)).code == 66
    assert call("show", found.group(1), "--url", ".playhead").code == 0


def test_a_demo_whose_worker_cannot_start_ends_at_once_with_the_reason(commands: Commands):
    told = commands.run("demo", "--model", "gpt-99")
    assert told.code == 78
    assert "'gpt-99' is not a model" in told.err


# Asking a fleet


def test_another_process_reads_the_same_records_by_number(fleet: Fleet, commands: Commands):
    asked = commands.run("ask", "assistant", "What is 17 * 23?", "--json", "--url", fleet.url)
    assert asked.code == 0
    run_id = asked.lines[0]["run"]
    assert asked.lines == lines_of(fleet.url, run_id)
    assert "391" in str(asked.lines[-1]["event"]["result"]["message"])
    tail = commands.run("tail", run_id, "--after", "12", "--json", "--url", fleet.url)
    assert tail.lines == [line for line in asked.lines if line["seq"] > 12]


def test_detached_a_user_keeps_the_id_and_tails_later(fleet: Fleet, commands: Commands, call: Callable[..., Finished]):
    run_id = commands.run("ask", "assistant", "2+2", "--detach", "--url", fleet.url).out
    assert re.fullmatch(RUN_ID, run_id)
    tail = call("tail", run_id, "--url", fleet.url)
    assert tail.code == 0
    assert "2+2 = 4" in tail.out


def test_ask_is_refused_by_a_session_that_is_busy_if_it_is_asked_to_be(fleet: Fleet, commands: Commands):
    options = ("--session", "busy", "--detach", "--url", fleet.url)
    held = commands.run("ask", "unserved", "first", *options).out.strip()
    refused = commands.run("ask", "unserved", "second", "--if-busy", "reject", *options)
    assert (refused.code, f"run {held} (queued) holds the session" in refused.err) == (65, True)
    assert commands.run("ask", "unserved", "third", "--if-busy", "steer", *options).out.strip() == held


def test_interrupted_it_leaves_and_says_how_to_rejoin(fleet: Fleet, commands: Commands):
    asking = commands.start("ask", "slow", "go", "--json", "--url", fleet.url)
    asking.until('"data": " word3"')
    asking.signal(signal.SIGINT)
    told = asking.wait()
    assert told.code == 130
    found = re.search(rf"playhead tail ({RUN_ID}) --after ([\d.-]+)", told.err)
    assert found, told.err
    assert found.group(2) == told.lines[-1]["cursor"]
    tail = commands.run("tail", found.group(1), "--after", found.group(2), "--json", "--url", fleet.url)
    assert tail.code == 0
    assert told.lines + tail.lines == lines_of(fleet.url, found.group(1))
    assert state_of(fleet.url, found.group(1)) == "completed"


def test_the_prompt_may_come_from_standard_input(fleet: Fleet, commands: Commands):
    asking = commands.start("ask", "assistant", "-", "--url", fleet.url, stdin=subprocess.PIPE)
    assert asking.process.stdin is not None
    asking.process.stdin.write(b"What is 6 * 7?\n")
    asking.process.stdin.close()
    assert "6 * 7 = 42" in asking.wait().out


def test_runs_of_one_session_are_one_conversation(fleet: Fleet, call: Callable[..., Finished]):
    call("ask", "assistant", "What is 6 * 7?", "--session", "cli", "--url", fleet.url)
    asked = call("ask", "assistant", "And 2 * 4?", "--session", "cli", "--json", "--url", fleet.url)
    first = entries_of(fleet.url, asked.lines[0]["run"])[0].record
    assert dict(first)["session"] == "cli"
    result = asked.lines[-1]["event"]["result"]
    assert (
        result["metrics"]["usage"]["inputTokens"] > 60
    )  # the demo model counts words: those of the first turn as well


def test_a_running_run_is_cancelled_and_its_tail_ends_with_3(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    asking = commands.start("ask", "waits", "go", "--url", fleet.url)
    run_id = asking.until(RUN_ID).group()
    asking.until("→ wait")
    cancelled = commands.run("cancel", run_id, "--url", fleet.url)
    assert (cancelled.code, cancelled.err) == (0, f"run {run_id}: cancelled")
    assert asking.wait().code == 3
    again = call("cancel", run_id, "--json", "--url", fleet.url)
    assert again.lines == [{"run": run_id, "state": "cancelled", "had_ended": True}]


def test_a_failed_run_says_why_and_exits_with_1(fleet: Fleet, commands: Commands, call: Callable[..., Finished]):
    told = commands.run("ask", "boom", "go", "--url", fleet.url)
    assert (told.code, told.out) == (1, ""), "a message that was not finished does not belong to the answer"
    assert "RuntimeError: no" in told.err
    found = re.search(RUN_ID, told.err)
    assert found
    tail = call("tail", found.group(), "--json", "--url", fleet.url)
    assert tail.code == 1
    assert tail.lines[-1]["error"]["type"] == "RuntimeError"
    shown = call("show", found.group(), "--json", "--url", fleet.url)
    assert shown.lines[-1]["error"] == tail.lines[-1]["error"]


def test_workers_are_listed_with_what_they_serve(fleet: Fleet, call: Callable[..., Finished]):
    (one,) = call("workers", "--json", "--url", fleet.url).lines
    assert one["pid"] == fleet.worker.pid
    assert {"assistant", "slow"} <= set(one["agents"])
    assert " of 100" in call("workers", "--url", fleet.url).out


# Content that wants to be more than text


def test_nothing_a_model_or_tool_says_reaches_the_terminal_as_a_command(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    asked = commands.run("ask", "hostile", "go\x1b[31m", "--url", fleet.url)
    run_id = re.search(RUN_ID, asked.err)
    assert run_id, asked.err
    shown = call("show", run_id.group(), "--records", "--url", fleet.url)
    failed = call("ask", "boom", "go", "--url", fleet.url)
    for told in (asked, shown, failed):
        assert CONTROLS.findall(told.out + told.err) == []
    assert "answer �]0;owned" in asked.out
    assert "result �]0;owned" in asked.err
    assert "thinking �]0;owned" in asked.err


def test_what_the_output_cannot_encode_is_written_another_way(fleet: Fleet, commands: Commands):
    narrow = {"PYTHONIOENCODING": "ascii", "PLAYHEAD_URL": fleet.url}
    told = commands.run("ask", "hostile", "go", env=narrow)
    assert told.code == 0
    assert r"end\xe9" in told.out
    raw = commands.run("ask", "hostile", "go", "--json", env=narrow)
    assert raw.lines[-1]["event"]["result"]["message"]["content"][-1]["text"].endswith("\ufffd endé")


def test_on_a_terminal_it_says_what_it_waits_for(fleet: Fleet, commands: Commands):
    ours, theirs = pty.openpty()
    asking = commands.start("ask", "waits", "go", "--url", fleet.url, stderr=theirs)
    os.close(theirs)
    shown = b""
    while "running wait · 1 s" not in shown.decode(errors="replace"):
        shown += os.read(ours, 4096)
    asking.signal(signal.SIGINT)
    assert asking.wait().code == 130
    os.close(ours)


def test_a_reader_that_has_enough_ends_the_command_and_not_the_run(fleet: Fleet, commands: Commands):
    ours, theirs = os.pipe()
    asking = commands.start("ask", "slow", "go", "--json", "--url", fleet.url, stdout=theirs)
    os.close(theirs)
    found = re.search(RUN_ID, os.read(ours, 100).decode())
    assert found
    run_id = found.group()
    os.close(ours)
    assert asking.wait().err.count("\n") == 0
    assert entries_of(fleet.url, run_id)[-1].record.type == "run.completed"


# Errors


def test_with_no_worker_for_the_agent_it_says_so_or_does_not_wait(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    told = call("ask", "unserved", "hi", "--no-wait", "--url", fleet.url)
    assert told.code == 75
    assert "no live worker serves agent 'unserved'" in told.err
    waiting = commands.start("ask", "unserved", "hi", "--url", fleet.url)
    run_id = waiting.until(RUN_ID).group()
    waiting.until("no live worker serves agent 'unserved'.*served now: .*slow")
    assert call("cancel", run_id, "--url", fleet.url).err == f"run {run_id}: cancelled"
    assert waiting.wait().code == 3


@pytest.mark.parametrize("command", ["tail", "show", "replay", "cancel"])
def test_an_unknown_run_exits_with_66(command: str, fleet: Fleet, call: Callable[..., Finished]):
    told = call(command, "0-unknown", "--url", fleet.url)
    assert told.code == 66
    assert told.err.startswith("playhead: no run '0-unknown'")


def test_a_cursor_beyond_the_log_is_the_same_error_in_text_and_in_json(fleet: Fleet, call: Callable[..., Finished]):
    run_id = call("ask", "assistant", "2+2", "--json", "--url", fleet.url).lines[0]["run"]
    text, lines = (call("tail", run_id, "--after", "9999", *more, "--url", fleet.url) for more in ((), ("--json",)))
    assert (text.code, text.out) == (66, "")
    assert text == lines
    assert "record 9999 is beyond the end of the log, record " in text.err
    for after in ("5", "5-1"):
        assert "2+2 = 4" in call("tail", run_id, "--after", after, "--url", fleet.url).out
    assert call("tail", run_id, "--after", "5-7", "--url", fleet.url).code == 66


@pytest.mark.parametrize("command", ["ask assistant hi", "runs", "worker playhead.workers.demo", "doctor"])
def test_a_server_that_is_not_there_exits_with_69(command: str, call: Callable[..., Finished]):
    told = call(*command.split(), "--url", NOWHERE)
    assert told.code == 69
    assert "cannot reach Redis at 127.0.0.1:1" in (told.out if command == "doctor" else told.err)


@pytest.mark.parametrize("command", ["ask assistant hi", "worker playhead.workers.demo", "doctor"])
def test_refused_credentials_exit_with_77_and_show_no_password(
    command: str, locked: EmbeddedServer, call: Callable[..., Finished]
):
    told = call(*command.split(), "--url", f"redis://:a-wrong-secret@127.0.0.1:{locked.port}")
    assert told.code == 77
    assert "credentials" in told.out + told.err
    assert "a-wrong-secret" not in told.out + told.err


def test_no_output_shows_the_password_of_the_url(
    locked: EmbeddedServer, commands: Commands, call: Callable[..., Finished]
):
    url = f"redis://:{PASSWORD}@127.0.0.1:{locked.port}"
    worker = commands.start("worker", "playhead.workers.demo", "--url", url)
    worker.until("serves assistant")
    told = [
        call("ask", "assistant", "2+2", "--url", url),
        call("doctor", "--url", url),
        call("runs", "--url", url),
        call("runs", "--url", f"http://:{PASSWORD}@127.0.0.1"),
        call("worker", "playhead.workers.demo", "--url", f"redis://:{PASSWORD}@127.0.0.1:port"),
    ]
    worker.signal(signal.SIGTERM)
    told.append(worker.wait())
    assert [one.code for one in told] == [0, 0, 0, 69, 69, 0]
    assert [one for one in told if PASSWORD in one.out + one.err] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("tail 0-x --after soon", "'soon' is not a cursor"),
        ("replay 0-x --speed 0", "--speed must be above 0, not 0"),
        ("replay 0-x --speed nan", "--speed must be above 0, not nan"),
    ],
)
def test_an_argument_out_of_range_exits_with_64(arguments: str, named: str, call: Callable[..., Finished]):
    told = call(*arguments.split(), "--url", NOWHERE)
    assert (told.code, told.err.count("\n")) == (64, 0)
    assert named in told.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("ask", "", "hi"), "use 1 to 128 letters"),
        (("ask", "assistant", "hi", "--session", ""), "1 to 256 printable characters"),
    ],
)
def test_an_empty_name_exits_with_64(
    arguments: tuple[str, ...], named: str, fleet: Fleet, call: Callable[..., Finished]
):
    told = call(*arguments, "--url", fleet.url)
    assert told.code == 64
    assert named in told.err


BAD_TARGETS = {
    "missing.py": "there is no file missing.py",
    "breaks.py": "ModuleNotFoundError: No module named 'nowhere_at_all'",
    "leaves.py": "SystemExit: 3",
    "empty.py": "no Agent in it",
    "twins.py": "two agents are named 'twin'",
    "twins.py:text": "text is not an Agent (it is a str). Agents there: a, b",
    "twins.py:nothing": "nothing is not an Agent (no such attribute)",
    "nowhere_at_all": "cannot import 'nowhere_at_all'",
    "no-name": "'no-name' is not a target",
}
SOURCES = {
    "breaks.py": "import nowhere_at_all",
    "leaves.py": "raise SystemExit(3)",
    "empty.py": "text = 'none'",
    "twins.py": (
        "from playhead.runtime import Agent\n"
        "a, b = Agent(name='twin', model='demo'), Agent(name='twin', model='demo', system_prompt='other')\n"
        "text = 'none'"
    ),
}


@pytest.mark.parametrize("command", ["worker", "dev"])
@pytest.mark.parametrize("target", BAD_TARGETS)
def test_a_bad_target_exits_with_64_and_names_what_is_wrong(
    command: str, target: str, tmp_path: Path, call: Callable[..., Finished]
):
    for name, source in SOURCES.items():
        (tmp_path / name).write_text(source)
    told = call(command, target)
    assert (told.code, told.err.count("\n")) == (64, 0)
    assert BAD_TARGETS[target] in told.err


def test_a_folder_whose_server_does_not_run_cannot_be_asked(tmp_path: Path, call: Callable[..., Finished]):
    (tmp_path / "kept").mkdir()
    told = call("ask", "assistant", "hi", "--url", "kept")
    assert told.code == 69
    assert "no server runs on kept/" in told.err


def test_without_the_packages_of_the_command_line_it_says_what_to_install(commands: Commands):
    code = "import sys; sys.modules['typer'] = None; from playhead.client.main import main; main()"
    told = commands.python("-c", code).wait()
    assert told.code == 78
    assert told.err == "playhead: the command line needs typer: pip install 'playhead-client[cli]'"


@pytest.mark.parametrize("command", ["", *sorted(command_names())])
def test_every_command_explains_itself(command: str, call: Callable[..., Finished]):
    told = call(*command.split(), "--help")
    assert told.code == 0
    assert "Usage: playhead" in told.out


def test_a_missing_argument_is_wrong_usage(call: Callable[..., Finished]):
    told = call("steer")
    assert told.code == 2
    assert "Missing argument 'RUN'" in told.err
