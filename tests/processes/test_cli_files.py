"""`playhead export`, `import` and `check`; and a file in the place of a run, without any server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Commands, Finished, Fleet, lines_of

__all__: list[str] = []

Call = Callable[..., Finished]
NOWHERE = ("--url", "redis://127.0.0.1:1")
"""A server that does not exist: what takes a file must not ask for one."""


def asked(commands: Commands, fleet: Fleet, prompt: str = "What is 17 * 23?") -> str:
    return commands.run("ask", "assistant", prompt, "--json", "--url", fleet.url).lines[0]["run"]


def test_a_file_is_read_as_the_run_is_without_a_server(fleet: Fleet, commands: Commands, call: Call) -> None:
    run = asked(commands, fleet)
    done = call("export", run, "-o", "run.jsonl", "--url", fleet.url)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("run.jsonl: 1 run, ")
    events = lines_of(fleet.url, run)
    assert call("replay", "run.jsonl", "--fast", "--json", *NOWHERE).lines == events
    assert call("tail", "run.jsonl", "--json", *NOWHERE).lines == events
    assert call("tail", f"run.jsonl#{run}", "--json", "--after", events[3]["cursor"], *NOWHERE).lines == events[4:]
    assert call("replay", "run.jsonl", "--fast", *NOWHERE).out == call("replay", run, "--fast", "--url", fleet.url).out
    for options in (["--records", "--json"], ["--request", "5"]):
        assert call("show", "run.jsonl", *options, *NOWHERE).out == call("show", run, *options, "--url", fleet.url).out
    checked = call("doctor", "run.jsonl", "--json", *NOWHERE)
    assert checked.code == 0
    assert checked.lines[0]["what"].startswith(f"run {run}: completed, ")


def test_an_import_gives_the_run_back_and_a_second_one_says_that_it_is_there(
    fleet: Fleet, commands: Commands, call: Call
) -> None:
    run = asked(commands, fleet)
    call("export", run, "-o", "run.jsonl", "--url", fleet.url)
    here = ("--url", fleet.url, "--prefix", "elsewhere")
    done = call("import", "run.jsonl", *here)
    assert (done.code, done.out) == (0, f"{run}\n")
    again = call("import", "run.jsonl", *here)
    assert again.code == 64
    assert again.err.startswith(f"playhead: a run '{run}' exists already")
    assert call("import", "run.jsonl", "--as", "copy", "--json", *here).lines[0]["run"] == "copy"
    shown = call("tail", "copy", "--json", *here).lines
    assert [line["event"] for line in shown] == [line["event"] for line in lines_of(fleet.url, run)]
    assert call("doctor", "copy", *here).code == 0


def test_a_secret_is_taken_out_and_one_that_is_left_is_told_by_its_place(
    fleet: Fleet, commands: Commands, call: Call
) -> None:
    run = asked(commands, fleet, "say sk-777 again")
    export = ("export", run, "-o", "run.jsonl", "--url", fleet.url)
    left = call(*export, "--redact", "run.submitted:prompt", "--check", "sk-[0-9]+")
    assert left.code == 1
    assert "message.added.message.content.0.text" in left.out
    assert "sk-777" not in left.out + left.err
    assert left.err.endswith("no file was written")
    assert os.listdir() == []
    assert call(*export).code == 0
    found = call("check", "run.jsonl", "sk-[0-9]+")
    assert (found.code, found.out.splitlines()[0]) == (1, "line 3: run.submitted.prompt")
    assert call("check", "run.jsonl", "sk-[0-9]+", "--json").lines[0] == {"line": 3, "where": "run.submitted.prompt"}
    assert call(*export, "--redact-pattern", "sk-[0-9]+", "--check", "sk-[0-9]+").code == 0
    assert call("check", "run.jsonl", "sk-[0-9]+").code == 0
    Path("rules.py").write_text(
        "def shout(kind, value):\n    return {**value, 'prompt': 'NO'} if 'prompt' in value else value\n"
    )
    assert call(*export, "--redact-with", "rules:shout").code == 0
    assert call("show", "run.jsonl", "--records", "--json", *NOWHERE).lines[1]["prompt"] == "NO"


def test_a_bad_file_or_rule_is_one_line_and_an_exit_code(fleet: Fleet, commands: Commands, call: Call) -> None:
    run = asked(commands, fleet)
    export = ("export", run, "-o", "run.jsonl", "--url", fleet.url)
    for rule, why in (
        (("--redact", "text"), "'text' is not a path"),
        (("--redact-pattern", "("), "is not a regular expression"),
        (("--check", "("), "is not a regular expression"),
        (("--redact-with", "nothing"), "needs MODULE:FUNCTION"),
        (("--redact-with", "no_such:thing"), "cannot import 'no_such'"),
        (("--redact-with", "os:no_such"), "has no function 'no_such'"),
    ):
        refused = call(*export, *rule)
        assert (refused.code, refused.err.count("\n")) == (64, 0), rule
        assert why in refused.err
    call(*export)
    Path("cut.jsonl").write_bytes(Path("run.jsonl").read_bytes()[:-10])
    Path("other.jsonl").write_text("hello\n")
    for command in (["show"], ["tail"], ["replay"], ["import"]):
        for file, why in (("cut.jsonl", "cut.jsonl, line "), ("other.jsonl", "line 1: this is not a file of runs")):
            refused = call(*command, file, "--url", fleet.url)
            assert (refused.code, refused.err.count("\n")) == (65, 0)
            assert why in refused.err
        assert call(*command, "none.jsonl", "--url", fleet.url).code == 65
    assert call("doctor", "cut.jsonl").code == 1
    assert call("tail", "run.jsonl#other").code == 66
