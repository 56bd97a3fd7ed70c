"""`playhead show --request`: what the model was asked in one call, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []

KEYS = ["run_id", "seq", "definition", "model", "system_prompt", "tool_specs", "tool_choice", "messages"]


def test_show_prints_what_the_model_was_asked_indented_or_on_one_line(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    prompt = "say \x1b[31m\x9bé and \U000e0001"
    asked = commands.run("ask", "assistant", prompt, "--json", "--url", fleet.url)
    run_id = asked.lines[0]["run"]
    records = call("show", run_id, "--records", "--json", "--url", fleet.url).lines[1:-1]
    (seq,) = [record["seq"] for record in records if record["type"] == "model.started"]
    (line,) = call("show", run_id, "--request", str(seq), "--json", "--url", fleet.url).lines
    shown = call("show", run_id, "--request", str(seq), "--url", fleet.url)
    assert json.loads(shown.out) == line
    assert shown.out.count("\n") > len(KEYS)
    assert all(c == "\n" or c.isprintable() for c in shown.out), "a prompt must not control the terminal"
    assert list(line) == KEYS
    assert (line["run_id"], line["seq"]) == (run_id, seq)
    assert line["messages"] == [{"role": "user", "content": [{"text": prompt}]}]
    (claimed,) = [record for record in records if record["type"] == "run.claimed"]
    assert line["definition"] == claimed["definition"]

    refused = call("show", run_id, "--request", "1", "--url", fleet.url)
    assert (refused.code, refused.out) == (66, "")
    told = f"record 1 of run {run_id} is a run.submitted. Give the number of a model.started; they are {seq}."
    assert told in refused.err
