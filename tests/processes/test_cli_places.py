"""`playhead show --at`: the run as it was after one of its records."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []

NAMES = [
    *("run_id", "seq", "epoch", "record", "status", "cycle", "history", "history_known", "messages"),
    *("open_calls", "interrupts", "steers", "usage", "next"),
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
