"""`playhead verify`: one run, many runs in processes, a report, and what cannot be verified."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import anyio
import pytest

from playhead.client import Client
from playhead.client.cli.verify import junit
from playhead.client.cli.verifying import Outcome
from playhead.runtime import RunFailedError
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.targets import load_agents
from playhead.workers.testing import running_fleet
from tests.support.commands import Commands, Finished

__all__: list[str] = []

SHOP = '''
from playhead.runtime import Agent, tool
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call

@tool
def price(item: str, currency: str = "EUR") -> str:
    """The price of an item."""
    return f"{item}: 5 {currency}"

broken = ScriptedCall(text_call("half an")[:4], error=RuntimeError("hung up"))

def say(messages):
    return "It is 5 EUR." if "toolResult" in str(messages[-1]) else tool_call("price", {"item": "tea"})

shop = Agent(name="shop", model=ScriptedModel([say], repeat=True), tools=[price], system_prompt="Be brief.")
crier = Agent(name="crier", model=ScriptedModel([broken], repeat=True))
'''
SUBMITTED = 10  # runs of the shop


@dataclass(frozen=True)
class Recorded:
    """A server with runs of both agents that have ended, and the file of the agents."""

    url: str
    file: Path
    shop: str
    crier: str


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    file = tmp_path_factory.mktemp("agents") / "shop_agents.py"
    file.write_text(SHOP, encoding="utf-8")
    agents = load_agents([str(file)])

    async def main(url: str) -> Recorded:
        async with running_fleet(*agents.values(), url=url), Client(url) as client:
            runs = [await client.start("shop", f"How much is tea {number}?") for number in range(SUBMITTED)]
            crier = await client.start("crier", "Cry.")
            for run in runs:
                await run.result()
            with pytest.raises(RunFailedError):
                await crier.result()
        return Recorded(url, file, runs[0].id, crier.id)

    server = EmbeddedServer.start_sync(durable=False)
    try:
        yield anyio.run(main, server.url)
    finally:
        server.stop_sync()


def changed(folder: Path, old: str, new: str) -> str:
    """The file of the agents with a change."""
    assert old in SHOP
    file = folder / "changed_agents.py"
    file.write_text(SHOP.replace(old, new), encoding="utf-8")
    return str(file)


def test_a_run_of_unchanged_agents_does_not_differ(recorded: Recorded, call: Callable[..., Finished]):
    done = call("verify", recorded.shop, str(recorded.file), "--url", recorded.url)
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(rf"run {recorded.shop}: nothing differs in \d+ records\n", done.out)


def test_a_difference_is_printed_with_its_line_and_has_an_exit_code_of_its_own(
    recorded: Recorded, call: Callable[..., Finished], tmp_path: Path
):
    target = changed(tmp_path, '"EUR") -> str', '"USD") -> str')
    done = call("verify", recorded.shop, f"{target}:shop", "--url", recorded.url)
    assert done.code == 4
    first, second, *rest = done.out.splitlines()
    assert first == f"record 5-1 of run {recorded.shop}, model.started, differs (- recorded, + now)"
    assert second == "tool_default: a default of the tool price (changed_agents.py:5)"
    assert '  -    "default": "EUR",' in rest
    (told,) = call("verify", recorded.shop, target, "--json", "--url", recorded.url).lines
    assert (told["run"], told["agent"], told["error"], told["notes"]) == (recorded.shop, "shop", None, [])
    assert (told["difference"]["seq"], told["difference"]["record"]) == (5, "model.started")
    (change,) = told["difference"]["changes"]
    assert list(change) == ["kind", "what", "where", "recorded", "now"]
    assert call("verify", recorded.shop, target, "--ignore", "tool_default", "--url", recorded.url).code == 0


def test_tools_run_live_or_in_their_place_where_that_is_asked(
    recorded: Recorded, call: Callable[..., Finished], tmp_path: Path
):
    target = changed(tmp_path, "5 {currency}", "6 {currency}")
    at = ("--url", recorded.url)
    assert call("verify", recorded.shop, target, *at).code == 0, "a tool's own code is not compared unless it runs"
    live = call("verify", recorded.shop, target, "--tools", "live", *at)
    assert live.code == 4
    assert "tool_result: result of a tool.finished" in live.out
    stubs = tmp_path / "stubs.py"
    stubs.write_text("def price(item: str, currency: str = 'EUR') -> str:\n    return f'{item}: 5 {currency}'\n")
    assert call("verify", recorded.shop, target, "--tools", str(stubs), *at).code == 0
    assert call("verify", recorded.shop, target, "--model", "live", *at).code == 0


def test_hooks_are_asked_unless_their_recorded_verdicts_are_wanted(
    recorded: Recorded, tmp_path: Path, call: Callable[..., Finished]
):
    forbidding = changed(tmp_path, 'system_prompt="Be brief.")', 'system_prompt="Be brief.", hooks=[forbid])')
    text = Path(forbidding).read_text(encoding="utf-8")
    hook = "def forbid(event: BeforeToolCallEvent) -> None:\n    event.cancel_tool = True\n\n"
    text = text.replace("import Agent, tool", "import Agent, BeforeToolCallEvent, tool").replace(
        "shop = Agent", f"{hook}shop = Agent"
    )
    Path(forbidding).write_text(text, encoding="utf-8")
    done = call("verify", recorded.shop, forbidding, "--url", recorded.url)
    assert done.code == 4
    assert "hook: " in done.out
    assert call("verify", recorded.shop, forbidding, "--hooks", "recorded", "--url", recorded.url).code == 0


def test_all_runs_are_verified_in_processes_and_counted_by_kind(recorded: Recorded, tmp_path: Path):
    target = changed(tmp_path, "Be brief.", "Be kind.")
    with Commands(tmp_path) as commands:
        done = commands.run(
            "verify", target, "--since", "1d", "--processes", "2", "--junit", "report.xml", "--url", recorded.url
        )
        rows = [re.split(r"\s{2,}", line.strip()) for line in done.out.splitlines()[1:]]
        assert done.code == 4
        assert [row[:2] for row in rows] == [["1", "the same"], [str(SUBMITTED), "system_prompt"]]
        assert rows[1][3:] == ["5-1 model.started", "the system prompt"]
        suite = ElementTree.parse(tmp_path / "report.xml").getroot()
        assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
            "tests": str(SUBMITTED + 1),
            "failures": str(SUBMITTED),
            "errors": "0",
        }
        failed = commands.run("verify", target, "--state", "failed", "--json", "--url", recorded.url)
        assert [line["run"] for line in failed.lines] == [recorded.crier]
        assert failed.code == 0
        shops = commands.run("verify", target, "--agent", "shop", "-n", "3", "--json", "--url", recorded.url)
        assert [line["agent"] for line in shops.lines] == ["shop"] * 3
        none = commands.run("verify", target, "--state", "paused", "--url", recorded.url)
        assert (none.code, none.err) == (0, "no run was verified: none of shop, crier fits")
        other = commands.run("verify", target, "--agent", "shpo", "--url", recorded.url)
        assert (other.code, other.out) == (64, "")
        assert other.err == f"playhead: {target} has no agent 'shpo'. Agents there: shop, crier"


def test_an_agent_that_cannot_be_imported_is_one_line(
    recorded: Recorded, call: Callable[..., Finished], tmp_path: Path
):
    file = tmp_path / "broken_agents.py"
    file.write_text("import no_such_module\n")
    done = call("verify", recorded.shop, str(file), "--url", recorded.url)
    assert (done.code, done.out) == (64, "")
    assert done.err.startswith(f"playhead: {file}: cannot run {file}: ModuleNotFoundError: No module named")
    assert done.err.count("\n") == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--since", "soon"],
            "--since must be an age such as 7d, 12h, 30m or 90s, or a date such as 2026-11-27 or 2026-11-27T09:30, not 'soon'",
        ),
        (["--state", "done"], "--state must be 'queued' or"),
        (["--tools", "real"], "--tools must be 'recorded' or 'live', not 'real'"),
        (["--model", "real"], "--model must be 'recorded' or 'live', not 'real'"),
        (["--ignore", "all"], "--ignore must be 'agent' or"),
        (["--tools", "none.py"], "none.py: there is no file none.py"),
    ],
)
def test_a_value_out_of_its_range_is_refused(
    recorded: Recorded, call: Callable[..., Finished], arguments: list[str], told: str
):
    done = call("verify", str(recorded.file), *arguments, "--url", recorded.url)
    assert (done.code, done.out) == (64, "")
    assert done.err.startswith(f"playhead: {told}")


def test_the_runs_of_a_file_are_verified_without_a_server(
    recorded: Recorded, call: Callable[..., Finished], tmp_path: Path
):
    one, both = tmp_path / "one.jsonl", tmp_path / "both.jsonl"
    assert call("export", recorded.shop, "-o", str(one), "--url", recorded.url).code == 0
    assert call("export", recorded.shop, recorded.crier, "-o", str(both), "--url", recorded.url).code == 0
    nowhere = ("--url", "redis://127.0.0.1:1")
    assert call("verify", str(one), str(recorded.file), *nowhere).code == 0
    told = call("verify", str(one), str(both), changed(tmp_path, "Be brief.", "Be kind."), "--json", *nowhere)
    assert told.code == 4
    found = [(line["agent"], line["difference"] is not None) for line in told.lines]
    assert found == [("shop", True), ("shop", True), ("crier", False)]


def test_a_run_that_is_gone_is_told_and_is_not_a_difference(recorded: Recorded, call: Callable[..., Finished]):
    done = call("verify", "0-gone", str(recorded.file), "--url", recorded.url)
    assert done.code == 1
    assert done.out.startswith("run 0-gone could not be verified: ")


def test_a_report_can_hold_what_xml_cannot():
    done = [Outcome("0-a", "shop"), Outcome("0-b", error="no \x1b[31m luck")]
    suite = ElementTree.fromstring(junit(done))
    assert [case.get("name") for case in suite] == ["0-a", "0-b"]
    assert suite[1][0].get("message") == "no \ufffd[31m luck"
