"""`playhead diff`: where two runs part, and what each of them did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []

Call = Callable[..., Finished]
NOWHERE = ("--url", "redis://127.0.0.1:1")


def asked(commands: Commands, fleet: Fleet, prompt: str) -> str:
    return commands.run("ask", "assistant", prompt, "--json", "--url", fleet.url).lines[0]["run"]


def test_two_runs_are_compared_wherever_they_are_kept(fleet: Fleet, commands: Commands, call: Call) -> None:
    here = ("--url", fleet.url)
    one, same, other = (asked(commands, fleet, f"What is 17 * {number}?") for number in (23, 23, 24))
    assert call("export", one, "-o", "one.jsonl", *here).code == 0
    assert call("export", other, "-o", "other.jsonl", *here).code == 0
    alike = call("diff", one, same, *here)
    assert (alike.code, alike.out.splitlines()[0]) == (0, "both runs did the same")
    copy = call("diff", one, "one.jsonl", *here)
    records = call("show", one, "--json", *here).lines[0]["head"]
    assert copy.out.splitlines()[0] == f"both runs did the same; the first {records} records are the same"
    parted = call("diff", "one.jsonl", "other.jsonl", *NOWHERE)
    lines = parted.out.splitlines()
    assert (parted.code, parted.err) == (1, "")
    assert lines[0] == "they part in the submission: left at record 1, right at record 1"
    assert lines[1].startswith("- one.jsonl: assistant completed after ")
    assert "- submitted  What is 17 * 23?" in lines
    assert "+ submitted  What is 17 * 24?" in lines
    assert any(line.startswith("- 1 tool  calculator") and "391" in line for line in lines)
    assert any(line.startswith("+ 1 tool  calculator") and "408" in line for line in lines)
    assert not any(line.startswith("  ") for line in lines), "what both did alike is left out"
    assert any(
        line.startswith("  2 end  completed") for line in call("diff", one, other, "--all", *here).out.splitlines()
    )


def test_a_terminal_shows_both_runs_side_by_side(fleet: Fleet, commands: Commands) -> None:
    here = ("--url", fleet.url)
    one, other = (asked(commands, fleet, f"What is 17 * {number}?") for number in (23, 24))
    wide = {"FORCE_COLOR": "1", "COLUMNS": "160", "TERM": "xterm"}
    shown = commands.run("diff", one, other, *here, env=wide)
    (line,) = [line for line in shown.out.splitlines() if "success: 391" in line]
    assert line.index("success: 391") < line.index("success: 408")


def test_programs_get_both_sides_of_every_act_and_a_browser_a_page(
    fleet: Fleet, commands: Commands, call: Call, tmp_path: Path
) -> None:
    here = ("--url", fleet.url)
    one, other = (asked(commands, fleet, f"What is 17 * {number}?") for number in (23, 24))
    found = call("diff", one, other, "--json", *here)
    assert found.code == 1
    head, *pairs = found.lines
    assert (head["common"], head["same"], head["left"]["state"]) == (0, False, "completed")
    (tool,) = [pair for pair in pairs if pair["kind"] == "tool"]
    assert (tool["cycle"], tool["same"]) == (1, False)
    assert (tool["left"]["name"], tool["left"]["content"]["content"]) == ("calculator", [{"text": "391"}])
    assert tool["right"]["content"]["content"] == [{"text": "408"}]
    assert call("diff", one, "none", *here).code == 66
    (tmp_path / "prices.json").write_text('{"demo": {"input": 1, "output": 1000000}}')
    told = call("diff", one, other, "--json", "--prices", "prices.json", *here).lines[0]["left"]
    usage = told["usage"]
    assert told["cost"] == usage["inputTokens"] / 1_000_000 + usage["outputTokens"]
    page = call("diff", one, other, "--html", "both.html", *here)
    assert (page.code, page.out) == (1, "")
    assert (tmp_path / "both.html").read_text().count("<svg") == 2
