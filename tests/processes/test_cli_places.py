"""`playhead show`: what a run did, the run as it was after one of its records, and its pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []

NAMES = [
    *("run_id", "seq", "epoch", "record", "status", "cycle", "history", "history_known", "messages"),
    *("open_calls", "interrupts", "agent_state", "steers", "usage", "next"),
]


def test_the_state_at_a_record_is_printed_for_people_and_for_programs(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    asked = commands.run("ask", "assistant", "What is 17 * 23?", "--json", "--url", fleet.url)
    run_id = asked.lines[0]["run"]
    info, *records, _ = call("show", run_id, "--records", "--json", "--url", fleet.url).lines
    started = next(record["seq"] for record in records if record["type"] == "tool.started")

    (place,) = call("show", run_id, "--at", str(started), "--json", "--url", fleet.url).lines
    assert list(place) == NAMES
    assert (place["run_id"], place["seq"], place["status"], place["cycle"]) == (run_id, started, "running", 1)
    assert [(one["tool_use"]["name"], one["state"]) for one in place["open_calls"]] == [("calculator", "running")]
    assert place["next"]["step"] == "RunTools"
    shown = call("show", run_id, "--at", str(started), "--url", fleet.url)
    assert shown.code == 0
    assert "running · cycle 1 · 2 messages · running: calculator" in shown.out
    assert "What is 17 * 23?" in shown.out
    assert 'open: calculator {"expression": "17 * 23"} (running)' in shown.out
    assert "next: run calculator" in shown.out

    (end,) = call("show", run_id, "--at", str(info["head"]), "--json", "--url", fleet.url).lines
    assert (end["status"], end["open_calls"], end["next"]) == ("completed", [], None)

    refused = call("show", run_id, "--at", str(info["head"] + 1), "--url", fleet.url)
    assert (refused.code, refused.out) == (66, "")
    assert f"has {info['head']} records so far, and no record {info['head'] + 1}" in refused.err


def test_show_prints_the_transcript_the_timeline_and_the_costs(fleet: Fleet, call: Callable[..., Finished]):
    run_id = call("ask", "assistant", "What is 17 * 23?", "--json", "--url", fleet.url).lines[0]["run"]
    shown = call("show", run_id, "--url", fleet.url)
    assert shown.code == 0
    lines = shown.out.splitlines()
    for wanted in (
        r"state +completed",
        r" +3 +user +What is 17 \* 23\?",
        r" +\d+ +→ +calculator: {\"expression\": \"17 \* 23\"}",
        r" +\d+ +✓ +calculator: 391",
        r"timeline of .*, \d+ records",
        r"model cycle 1 +█+ .*",
        r"tool calculator +█+ .*",
        r"cycle +records +time +model +tools +waits +tokens in +out",
        r"2 +\d+-\d+ .*",
        r"end_turn · 2 cycles · .* tokens",
    ):
        assert any(re.fullmatch(wanted, line.rstrip()) for line in lines), (wanted, shown.out)
    assert shown.out.count("17 * 23 = 391") == 1


def test_pictures_of_a_run_are_written_to_files(fleet: Fleet, call: Callable[..., Finished], tmp_path: Path):
    run_id = call("ask", "assistant", "What is 17 * 23?", "--json", "--url", fleet.url).lines[0]["run"]
    told = call("show", run_id, "--html", "run.html", "--svg", "run.svg", "--url", fleet.url)
    assert (told.code, told.out) == (0, "")
    assert [line.split()[:2] for line in told.err.splitlines()] == [["wrote", "run.html"], ["wrote", "run.svg"]]
    page = (tmp_path / "run.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    svg = (tmp_path / "run.svg").read_text("utf-8")
    assert svg in page
    refused = call("show", run_id, "--svg", "nowhere/run.svg", "--url", fleet.url)
    assert (refused.code, refused.err) == (64, "playhead: nowhere/run.svg cannot be written: No such file or directory")


def test_a_file_is_played_stepped_and_shown_as_the_run(fleet: Fleet, call: Callable[..., Finished], tmp_path: Path):
    run_id = call("ask", "assistant", "What is 17 * 23?", "--json", "--url", fleet.url).lines[0]["run"]
    call("export", run_id, "-o", "run.jsonl", "--url", fleet.url)
    at = ("--at", "9", "--json")
    assert call("show", "run.jsonl", *at).lines == call("show", run_id, *at, "--url", fleet.url).lines
    assert call("show", "run.jsonl").out == call("show", run_id, "--url", fleet.url).out
    part = ("--fast", "--from", "3", "--until", "9", "--json")
    assert call("replay", "run.jsonl", *part).lines == call("replay", run_id, *part, "--url", fleet.url).lines
    for where, run in (("file", ("run.jsonl",)), ("fleet", (run_id, "--url", fleet.url))):
        assert call("show", *run, "--html", f"{where}.html").code == 0
    assert (tmp_path / "file.html").read_text("utf-8") == (tmp_path / "fleet.html").read_text("utf-8")
