"""`playhead fork`: a new run that begins as another one did."""

from __future__ import annotations

import os
import pty
import shlex
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Commands, Finished, Fleet, entries_of

__all__: list[str] = []

Call = Callable[..., Finished]
WALK = Path(__file__).parents[2] / "docs" / "walk"


def test_a_run_is_forked_before_its_mistake_and_watched(fleet: Fleet, commands: Commands, call: Call) -> None:
    here = ("--url", fleet.url)
    run = commands.run("ask", "assistant", "What is 17 * 23?", "--json", *here).lines[0]["run"]
    entries = entries_of(fleet.url, run)
    at, use = next((e.seq, dict(e.record)["tool_use"]) for e in entries if e.record.type == "tool.started")
    fork = ("fork", run, "--at", str(at), "--result", f"{use['toolUseId']}=400", *here)
    refused = call(*fork)
    assert (refused.code, refused.out) == (64, "")
    assert f"up to record {at} run {run} has run tools: calculator (1); a fork does not undo" in refused.err
    done = call(*fork, "--yes")
    assert (done.code, done.err) == (0, "")
    made = done.out.strip()
    assert "400" in call("tail", made, *here).out
    shown = call("show", made, *here).out
    assert f"fork of    {run}, at record {at}" in shown
    assert "owners     2, 1 of its parent" in shown
    assert ("\nfork " in shown, "\ntakeover " in shown) == (True, False)
    assert "2 (1 of its parent)" in call("runs", *here).out
    parted = call("diff", run, made, *here)
    assert parted.out.startswith(
        f"the first {at} records are the same; they part in the tool call calculator of cycle 1"
    )
    other = call("fork", run, "--at", "1", "--prompt", "What is 2 + 2?", "--json", *here).lines[0]
    assert (other["parent"], other["at"]) == (run, 1)
    assert "4" in call("tail", other["run"], *here).out
    assert entries_of(fleet.url, run) == entries


def test_on_a_terminal_it_asks_before_it_forks_after_a_tool(fleet: Fleet, commands: Commands) -> None:
    here = ("--url", fleet.url)
    run = commands.run("ask", "assistant", "What is 17 * 23?", "--json", *here).lines[0]["run"]
    at = next(entry.seq for entry in entries_of(fleet.url, run) if entry.record.type == "tool.finished")
    for answer, code in ((b"n\n", 64), (b"y\n", 0)):
        here_end, there_end = pty.openpty()
        try:
            os.write(here_end, answer)
            done = commands.start("fork", run, "--at", str(at), *here, stdin=there_end).wait()
        finally:
            os.close(here_end)
            os.close(there_end)
        assert (done.code, bool(done.out.strip())) == (code, code == 0)
        assert "has run tools: calculator (1); a fork does not undo what they did\nFork nevertheless?" in done.err


def test_what_cannot_be_forked_is_one_line_and_an_exit_code(fleet: Fleet, commands: Commands, call: Call) -> None:
    here = ("--url", fleet.url)
    run = commands.run("ask", "assistant", "Hello", "--json", *here).lines[0]["run"]
    for options, code, why in (
        (("--at", "9999"), 64, "cannot be forked at 9999"),
        (("--at", "1", "--result", "t1"), 64, "--result needs ID=VALUE, not 't1'"),
        (("--at", "2", "--answer", "q=[1, 2]"), 64, "no question 'q' is open after record 2"),
        (("--at", "x"), 2, ""),
    ):
        refused = call("fork", run, *options, *here)
        assert (refused.code, refused.out) == (code, "")
        assert why in refused.err
    assert call("fork", "none", "--at", "1", *here).code == 66
    file = call("fork", run, "--at", "1", "-o", "fork.jsonl", *here)
    assert (file.code, "--output is for a fork that runs --here" in file.err) == (64, True)


def test_a_file_is_forked_here_without_a_server_and_into_a_fleet(
    fleet: Fleet, commands: Commands, call: Call, tmp_path: Path
) -> None:
    there, nowhere = ("--url", fleet.url), ("--url", "redis://127.0.0.1:1")
    run = commands.run("ask", "assistant", "What is 17 * 23?", "--json", *there).lines[0]["run"]
    assert call("export", run, "-o", "run.jsonl", *there).code == 0
    entries = entries_of(fleet.url, run)
    at, use = next((e.seq, dict(e.record)["tool_use"]) for e in entries if e.record.type == "tool.started")
    (tmp_path / "mended.py").write_text(
        "from playhead.runtime import Agent\n"
        "from playhead.runtime.models import ScriptedModel\n"
        "said = lambda messages: messages[-1]['content'][0]['toolResult']['content'][0]['text']\n"
        "assistant = Agent(ScriptedModel([said], repeat=True), name='assistant', tools=[])\n"
    )
    fork = ("fork", "run.jsonl", "--at", str(at), "--result", f"{use['toolUseId']}=400", "--yes")
    done = call(*fork, "--here", "mended.py", "-o", "fork.jsonl", *nowhere)
    assert (done.code, done.out) == (0, "400\n")
    parted = call("diff", "run.jsonl", "fork.jsonl", *nowhere)
    assert parted.out.startswith(f"the first {at} records are the same; they part in the tool call calculator")
    demo = call(*fork, "--here", "mended.py", "--model", "demo", "--json", *nowhere).lines[0]
    assert (demo["parent"], demo["at"], demo["state"]) == ("run.jsonl", at, "completed")
    assert "400" in call("tail", call(*fork, *there).out.strip(), *there).out


def test_a_fork_that_asks_says_how_it_is_answered(call: Call, tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(
        "from playhead.runtime import Agent, ToolContext, tool\n"
        "from playhead.runtime.models import ScriptedModel, tool_call\n"
        "@tool\n"
        "def balance(account: str, context: ToolContext) -> str:\n"
        "    'The balance.'\n"
        "    return context.interrupt('may I', 'Really?')\n"
        "def said(messages):\n"
        "    result = messages[-1]['content'][0].get('toolResult')\n"
        "    return result['content'][0]['text'] if result else tool_call('balance', {'account': 'ada'}, 'call_1')\n"
        "teller = Agent(ScriptedModel([said], repeat=True), name='teller', tools=[balance])\n"
    )
    fork = ("fork", str(WALK / "run.jsonl"), "--at", "1", "--here", "asks.py")
    lost = call(*fork)
    assert (lost.code, lost.err.splitlines()[-1]) == (
        0,
        "it waits for an answer; with -o FILE it is kept, and can be forked with one",
    )
    asked = call(*fork, "-o", "asks.jsonl")
    how = asked.err.splitlines()[-1].partition("playhead ")[2]
    words = shlex.split(how.replace("VALUE", "never").replace("TARGET", "asks.py"))
    done = call(*words)
    assert (done.code, done.out) == (0, "never\n")


def test_what_the_code_of_an_agent_prints_is_not_in_the_output_for_programs(call: Call, tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "from playhead.runtime import GuestContext\n"
        "print('a module prints')\n"
        "async def chatty(ctx: GuestContext, prompt):\n"
        "    print('a run prints')\n"
        "    ctx.result = 'done'\n"
        "    yield {'said': 1}\n"
    )
    fork = ("fork", str(WALK / "run.jsonl"), "--at", "1", "--here", "chatty.py", "-o", "fork.jsonl", "--json")
    verify = ("verify", "fork.jsonl", "chatty.py", "--json")
    for command, wanted in ((fork, {"state": "completed"}), (verify, {"error": None, "difference": None})):
        done = call(*command)
        assert done.code == 0, done.err
        assert wanted.items() <= done.lines[0].items()
        assert "a run prints" in done.err
