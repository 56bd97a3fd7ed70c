"""`runs`, `show` and `rm` as a person and a program use them to find a run, and to delete it."""

from __future__ import annotations

import os
import pty
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from playhead.client import Client
from tests.support.commands import Commands, Finished

__all__: list[str] = []


@pytest.fixture
def started(redis_url: str, call: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of three runs, the first of which was cancelled; commands use their server."""
    monkeypatch.setenv("PLAYHEAD_URL", redis_url)

    async def start() -> list[str]:
        async with Client(redis_url) as client:
            runs = [
                await client.start("support", "My parcel is lost", metadata={"customer": "ada", "nightly": True}),
                await client.start("support", "Hello", session_id="bob", metadata={"customer": "bob"}),
                await client.start("sales", [{"text": "A discount?"}]),
            ]
            await runs[0].cancel()
            return [run.id for run in runs]

    return anyio.run(start)


def ids(told: Finished) -> list[Any]:
    return [line["run_id"] for line in told.lines]


def test_runs_are_listed_by_every_filter(started: list[str], call: Callable[..., Finished]):
    lost, hello, discount = started
    for filters, wanted in {
        ("--agent", "support"): [hello, lost],
        ("--state", "cancelled"): [lost],
        ("--session", "bob"): [hello],
        ("--tag", "customer=ada"): [lost],
        ("--tag", "nightly", "--tag", "customer=ada"): [lost],
        ("--since", "1h"): [discount, hello, lost],
        ("--since", "2020-01-01", "--until", "2999-01-01T12:00"): [discount, hello, lost],
        ("--agent", "support", "--state", "queued"): [hello],
    }.items():
        assert ids(call("runs", *filters, "--json")) == wanted, filters


def test_the_list_shows_what_was_asked_and_the_tags(started: list[str], call: Callable[..., Finished]):
    header, discount, hello, lost = call("runs").out.splitlines()
    assert header.split() == [
        "run",
        "agent",
        "state",
        "age",
        "prompt",
        "tags",
        "records",
        "owners",
        "session",
        "submitted",
    ]
    assert "A discount?" in discount
    assert "customer=bob" in hello
    assert all(part in lost for part in (started[0], "cancelled", "My parcel is lost", "customer=ada nightly=true"))


def test_pages_follow_one_another_by_the_cursor_that_is_printed(started: list[str], call: Callable[..., Finished]):
    first = call("runs", "--limit", "2", "--json")
    cursor = first.err.partition("--cursor ")[2].removesuffix(")")
    second = call("runs", "--limit", "2", "--json", "--cursor", cursor)
    assert (ids(first) + ids(second), second.err) == (started[::-1], "")


@pytest.mark.parametrize(
    ("filters", "code", "told"),
    [
        (["--agent", "absent"], 66, "no run fits --agent absent"),
        (["--agent", "sales", "--tag", "customer=ada"], 66, "no run fits --agent sales --tag customer=ada"),
        (["--agent", "sales", "--tag", "nope"], 66, "no run fits --tag nope=true"),
        (["--until", "1d"], 66, "no run was submitted in that time"),
        (["--state", "done"], 64, "--state must be 'queued' or 'running' or"),
        (["--tag", "a b"], 64, "a key of metadata must be 1 to 64 letters"),
        (["--since", "soon"], 64, "--since must be an age such as 7d, 12h, 30m or 90s, or a date"),
        (["--since", "1h", "--until", "2h"], 64, "--since 1h is not before --until 2h, so no run fits"),
        (["--cursor", "x"], 64, "cursor 'x' is not one of a page of runs"),
        (["--watch"], 64, "--watch needs a terminal"),
    ],
)
@pytest.mark.usefixtures("started")
def test_a_filter_that_no_run_fits_is_one_clear_error(
    call: Callable[..., Finished], filters: list[str], code: int, told: str
):
    ended = call("runs", *filters)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err
    assert "\n" not in ended.err


def test_a_run_is_named_by_the_beginning_of_its_id_or_as_the_last(started: list[str], call: Callable[..., Finished]):
    lost, *others, discount = started
    unique = next(n for n in range(len(lost)) if not any(one.startswith(lost[:n]) for one in [*others, discount]))
    assert lost in call("show", lost[:unique]).out
    several = call("show", lost[: unique - 1])
    assert (several.code, "several runs have an id that begins with" in several.err) == (64, True)
    assert discount in call("show", "--last").out
    for none in (call("show"), call("show", lost, "--last")):
        assert (none.code, "RUN: name one run, or pass --last" in none.err) == (2, True)
    assert f"run {discount}: cancelled" in call("cancel", "--last").err


def test_each_command_that_takes_runs_takes_the_newest_by_name_and_tells_its_id(
    started: list[str], call: Callable[..., Finished], tmp_path: Path
):
    lost, hello, discount = started
    assert call("steer", "@last", "Be brief").code == 0
    assert discount in call("show", "@last").out
    assert f"+ {discount}: sales" in call("diff", lost, "@last").out
    assert f"run {discount} is queued: it does not wait" in call("respond", "@last", "yes").err
    assert call("export", "@last", "-o", str(tmp_path / "run.jsonl")).code == 0
    assert discount in (tmp_path / "run.jsonl").read_text()
    assert f"run {discount}" in call("doctor", "@last").out
    (tmp_path / "shop.py").write_text("from playhead.runtime import Agent\nsales = Agent(name='sales')\n")
    assert f"run {discount}" in call("verify", "@last", str(tmp_path / "shop.py")).out
    assert f"run {discount}: cancelled" in call("cancel", "@last").err
    assert f"run {discount}: deleted" in call("rm", "@last").err
    assert f"run {hello} has not begun a cycle" in call("fork", "@last", "--at", "1").err


def test_show_has_prompt_dates_and_tags_and_the_records_of_a_type(started: list[str], call: Callable[..., Finished]):
    shown = dict(line.split(maxsplit=1) for line in call("show", started[0]).out.partition("\n\n")[0].splitlines())
    assert shown["prompt"] == "My parcel is lost"
    assert shown["tags"] == "customer=ada nightly=true"
    assert {"submitted", "ended"} <= shown.keys()
    _, *records, outcome = call("show", started[0], "--type", "run.*", "--json").lines
    assert [record["type"] for record in records] == ["run.submitted", "run.cancelled"]
    assert outcome["result"]["stop_reason"] == "cancelled"
    none = call("show", started[0], "--type", "tool.finished")
    assert (none.code, "it has run.submitted (1), signal.received (1), run.cancelled (1)" in none.err) == (64, True)


def test_metadata_comes_from_the_tags_of_ask(started: list[str], call: Callable[..., Finished]):
    asked = call("ask", "support", "Hi", "--tag", "customer=eve", "--tag", "urgent", "--detach")
    assert call("runs", "--tag", "urgent", "--json").lines[0]["metadata"] == {"customer": "eve", "urgent": True}
    assert ids(call("runs", "--tag", "customer=eve", "--json")) == [asked.out.strip()]
    twice = call("ask", "support", "Hi", "--tag", "a=1", "--tag", "a=2", "--detach")
    assert (twice.code, "--tag has 'a' twice" in twice.err) == (64, True)


def test_an_ended_run_is_deleted_and_another_one_is_not(started: list[str], call: Callable[..., Finished]):
    lost, hello, _ = started
    assert call("rm", lost, "--json").lines == [{"run": lost, "state": "cancelled"}]
    assert call("show", lost).code == call("rm", lost).code == 66
    refused = call("rm", hello)
    assert (refused.code, f"playhead cancel {hello}" in refused.err) == (65, True)
    assert ids(call("runs", "--json")) == started[:0:-1]


def test_runs_of_a_time_are_deleted_only_if_that_is_meant(started: list[str], call: Callable[..., Finished]):
    lost, *others = started
    unasked = call("rm", "--older-than", "0s")
    assert (unasked.code, "1 run submitted before" in unasked.err, "--yes" in unasked.err) == (64, True, True)
    assert call("rm", "--older-than", "1d", "--yes").code == 66
    assert call("rm", "--older-than", "0s", "--agent", "sales", "--yes").err.endswith("kept, because not ended: 1")
    assert len(call("runs", "--json").lines) == 3
    deleted = call("rm", "--older-than", "0s", "--tag", "customer=ada", "--yes", "--json")
    assert deleted.lines == [{"run": lost, "state": "cancelled"}]
    assert ids(call("runs", "--json")) == others[::-1]
    for wrong in ((), (lost, "--older-than", "1d"), (lost, "--agent", "sales")):
        assert call("rm", *wrong).code == 64


def test_a_watched_list_changes_with_the_runs_and_ctrl_c_leaves_it(
    started: list[str], redis_url: str, commands: Commands
):
    ours, theirs = pty.openpty()
    watch = commands.start("runs", "--watch", "--url", redis_url, stdin=theirs, stdout=theirs)
    os.close(theirs)

    def until(text: str) -> None:
        seen = ""
        while text not in seen:
            seen += os.read(ours, 4096).decode(errors="replace")

    async def start() -> str:
        async with Client(redis_url) as client:
            return (await client.start("support", "One more")).id

    until(started[0])
    until(anyio.run(start))
    watch.signal(signal.SIGINT)
    assert watch.wait().code == 0
    os.close(ours)


def test_a_program_that_watches_gets_each_run_when_it_changes(
    started: list[str], redis_url: str, commands: Commands, call: Callable[..., Finished]
):
    watch = commands.start("runs", "--watch", "--json", "--agent", "sales", "--url", redis_url)
    watch.until(f'"run_id": "{started[2]}", "state": "queued"')
    assert call("cancel", started[2]).code == 0
    watch.until(f'"run_id": "{started[2]}", "state": "cancelled"')
    watch.signal(signal.SIGINT)
    assert watch.wait().code == 0
