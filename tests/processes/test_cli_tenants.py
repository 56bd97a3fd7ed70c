"""The command line of runs whose agent is not the same for all: overrides, and a factory as TARGET."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.processes.conftest import AGENTS
from tests.support.commands import Finished, Fleet

__all__: list[str] = []


def test_ask_passes_overrides_and_tells_in_one_line_what_is_not_allowed(fleet: Fleet, call: Callable[..., Finished]):
    given = ("--system-prompt", "Be kind.", "--tool", "calculator", "--param", "temperature=0.5", "--param", "stop=[]")
    asked = call("ask", "assistant", "What is 2*3?", *given, "--json", "--url", fleet.url)
    assert asked.code == 0
    run = asked.lines[0]["run"]
    first = call("show", run, "--records", "--json", "--url", fleet.url).lines[1]
    params = {"temperature": 0.5, "stop": []}
    assert first["options"] == {"system_prompt": "Be kind.", "tools": ["calculator"], "params": params}
    refused = call("ask", "assistant", "Hi", "--model", "demo", "--url", fleet.url)
    assert (refused.code, refused.out) == (64, "")
    assert refused.err.startswith("playhead: agent 'assistant' does not allow model= for a run")
    assert call("ask", "assistant", "Hi", "--param", "temperature", "--url", fleet.url).code == 64


def test_a_worker_serves_a_factory_and_verify_and_fork_call_it_too(fleet: Fleet, call: Callable[..., Finished]):
    asked = call("ask", "desk", "What is 2*3?", "--session", "ada", "--url", fleet.url)
    assert (asked.code, "2*3 = 6." in asked.out) == (0, True)
    (run,) = re.findall(r"run (0-[0-9a-z]{19})", asked.err)
    shown = call("show", run, "--records", "--json", "--url", fleet.url).lines
    (made,) = [line for line in shown if line.get("type") == "agent.made"]
    assert made["definition"]["system_prompt"] == "You help ada."
    verified = call("verify", run, f"{AGENTS}:desk", "--url", fleet.url)
    assert (verified.code, verified.err) == (0, "")
    forked = call("fork", run, "--at", "5", "--here", f"{AGENTS}:desk", "--url", fleet.url)
    assert (forked.code, "2*3 = 6." in forked.out) == (0, True)


def test_a_factory_that_raises_fails_the_run_in_one_line(fleet: Fleet, call: Callable[..., Finished]):
    asked = call("ask", "desk", "What is 2*3?", "--url", fleet.url)
    assert asked.code == 1
    assert "AgentFactoryError: the factory 'desk'" in asked.err
    assert "raised ValueError: the desk needs a session" in asked.err
