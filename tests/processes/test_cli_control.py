"""The command line of runs that ask: where a question is shown, how a user responds to it, and steers."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
import redis

from tests.support.commands import Commands, Finished, Fleet, Running

__all__: list[str] = []

RUN_ID = r"0-[0-9a-z]{19}"


def asking(fleet: Fleet, commands: Commands, what: str, *more: str) -> tuple[Running, str]:
    """A command that watches a run which waits for a response, and the run."""
    command = commands.start("ask", "asks", what, "--url", fleet.url, *more)
    return command, command.until(rf"waits for a response.*playhead respond ({RUN_ID})").group(1)


def test_ask_shows_the_question_and_the_command_that_answers_it_and_waits_on(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command, run_id = asking(fleet, commands, "pay")
    assert command.err[-2:] == [
        "? approve: May I pay?",
        f"[waits for a response to approve; respond: playhead respond {run_id} RESPONSE]",
    ]
    shown = call("show", run_id, "--url", fleet.url)
    assert re.search(r"state +paused", shown.out)
    assert "? approve: May I pay?" in shown.out
    assert f"answer: playhead respond {run_id} RESPONSE" in shown.out
    (info,) = call("show", run_id, "--json", "--url", fleet.url).lines
    assert (info["state"], [one["name"] for one in info["interrupts"]]) == ("paused", ["approve"])
    (row,) = [line for line in commands.run("runs", "--url", fleet.url).out.splitlines() if run_id in line]
    assert "paused: approve" in row
    answered = call("respond", run_id, "yes", "--url", fleet.url)
    assert (answered.code, answered.out, answered.err) == (0, "", f"run {run_id}: answered; it goes on")
    told = command.wait()
    assert told.code == 0
    assert "pay: yes" in told.out
    assert "[answered: yes]" in told.err
    replayed = call("replay", run_id, "--fast", "--url", fleet.url)
    assert "? approve: May I pay?" in replayed.err
    assert "waits for a response" not in replayed.err


def test_a_user_who_comes_back_to_a_paused_run_is_told_too_and_json_readers_get_the_events(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command, run_id = asking(fleet, commands, "pay", "--json")
    tail = commands.start("tail", run_id, "--url", fleet.url)
    tail.until("waits for a response to approve")
    answered = call("respond", run_id, "approve=5", "--json", "--url", fleet.url)
    (line,) = answered.lines
    assert (line["run"], line["state"], line["received"]) == (run_id, "queued", True)
    events = [line["event"] for line in command.wait().lines]
    asked = [event["result"]["interrupts"] for event in events if "result" in event and "interrupts" in event["result"]]
    assert [one["reason"] for one in asked[0]] == ["May I pay?"]
    assert "pay: 5" in str(events[-1]["result"]["message"])
    assert tail.wait().code == 0


def test_several_questions_are_answered_by_id_one_by_one(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command, run_id = asking(fleet, commands, "pay book")
    (info,) = call("show", run_id, "--json", "--url", fleet.url).lines
    pay, book = (one["id"] for one in info["interrupts"])
    assert f"playhead respond {run_id} {pay}=RESPONSE {book}=RESPONSE" in command.err[-1].replace("'", "")
    refused = call("respond", run_id, "yes", "--url", fleet.url)
    assert (refused.code, refused.out) == (64, "")
    assert refused.err.startswith("playhead: 'yes' does not name an open question; pass ID=RESPONSE. Open are: ")
    first = call("respond", run_id, f"{book}=no", "--url", fleet.url)
    assert (first.code, first.err) == (0, f"run {run_id}: answered; it still waits for approve")
    command.until("waits for a response to approve")
    guessed = call("respond", run_id, "agrees=yes", "--url", fleet.url)
    assert guessed.code == 64
    assert "'agrees=yes' does not name an open question" in guessed.err
    assert call("respond", run_id, "approve=yes", "--url", fleet.url).code == 0
    assert "pay: yes, book: no" in command.wait().out


def test_a_run_takes_in_a_steer_and_a_paused_run_when_it_goes_on(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command, run_id = asking(fleet, commands, "pay")
    told = call("steer", run_id, "be quick", "--url", fleet.url)
    assert (told.code, told.err) == (0, f"run {run_id}: sent; the run is paused and receives it when it resumes")
    assert call("respond", run_id, "yes", "--url", fleet.url).code == 0
    finished = command.wait()
    assert "pay: yes (be quick)" in finished.out
    assert "[told: be quick]" in finished.err


def test_a_running_run_is_told_and_asked_nothing_it_does_not_ask(fleet: Fleet, call: Callable[..., Finished]):
    run_id = call("ask", "waits", "go", "--detach", "--url", fleet.url).out.strip()
    nothing = call("steer", run_id, "  ", "--url", fleet.url)
    assert (nothing.code, nothing.err) == (
        64,
        "playhead: a steer must not be empty: pass text, or a list of content blocks",
    )
    unasked = call("respond", run_id, "yes", "--url", fleet.url)
    assert (unasked.code, unasked.out) == (64, "")
    assert re.fullmatch(f"playhead: run {run_id} is (queued|running): it does not wait for a response", unasked.err)
    call("cancel", run_id, "--url", fleet.url)
    run_id = call("ask", "slow", "go", "--detach", "--url", fleet.url).out.strip()
    told = call("steer", run_id, "and on", "--url", fleet.url)
    assert told.err in (
        f"run {run_id}: received",
        f"run {run_id}: sent; the run is queued and receives it when it resumes",
    )
    assert "[told: and on]" in call("tail", run_id, "--url", fleet.url).err


def test_a_paused_run_is_cancelled_at_once_and_takes_in_nothing_more(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command, run_id = asking(fleet, commands, "pay")
    asked = ("cancel", run_id, "--message", "Enough.", "--after-tools", "--url", fleet.url)
    assert call(*asked).err == f"run {run_id}: cancelled"
    assert call("tail", run_id, "--json", "--url", fleet.url).lines[-1]["event"]["result"]["message"]["content"] == [
        {"text": "Enough."}
    ]
    assert command.wait().code == 3
    for said in (("respond", run_id, "yes"), ("steer", run_id, "wait")):
        refused = call(*said, "--url", fleet.url)
        assert (refused.code, refused.out) == (65, "")
        assert refused.err.startswith(f"playhead: run {run_id} has ended (cancelled)")


def test_a_deadline_fails_a_run_that_waits_for_a_response(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command, run_id = asking(fleet, commands, "pay", "--deadline", "3600")
    assert re.search(r"deadline +in 3,[56]\d\d s", call("show", run_id, "--url", fleet.url).out)
    with redis.Redis.from_url(fleet.url) as server:
        assert server.zadd("{ph:0}:deadlines", {run_id: 1}, xx=True, ch=True) == 1  # an hour passes
    told = command.wait()
    assert told.code == 1
    assert "DeadlineExceeded: the deadline" in told.err


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ("respond 0-unknown yes", 66, "no run '0-unknown'"),
        ("steer 0-unknown hi", 66, "no run '0-unknown'"),
        ("ask asks pay --deadline 0", 64, "deadline must be above 0"),
        ("ask asks pay --deadline nan", 64, "deadline must be above 0"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    fleet: Fleet, call: Callable[..., Finished], command: str, code: int, text: str
):
    told = call(*command.split(), "--url", fleet.url)
    assert (told.code, told.out) == (code, "")
    assert told.err.startswith(f"playhead: {text}")
    assert len(told.err.splitlines()) == 1


@contextmanager
def at_a_terminal(fleet: Fleet, commands: Commands, what: str) -> Generator[tuple[Running, Callable[[str], str], int]]:
    """`playhead ask` with a terminal: the command, what waits for a text on the terminal, and the user's end of it."""
    ours, theirs = pty.openpty()
    command = commands.start("ask", "asks", what, "--url", fleet.url, stdin=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""

    def until(text: str) -> str:
        nonlocal shown
        while text not in shown.decode(errors="replace"):
            shown += os.read(ours, 4096)
        before, _, rest = shown.decode(errors="replace").partition(text)
        shown = rest.encode()
        return before

    try:
        yield command, until, ours
    finally:
        os.close(ours)


def test_at_a_terminal_the_questions_are_answered_in_place(fleet: Fleet, commands: Commands):
    with at_a_terminal(fleet, commands, "pay book") as (command, until, keys):
        until("? approve: May I book?")
        for typed in (b"\n", b"yes\n", b"5\n"):  # an empty line is not an answer
            until("> ")
            os.write(keys, typed)
        until("[answered: yes, 5]")
        until("end_turn")
        told = command.wait()
    assert (told.code, "pay: yes, book: 5" in told.out) == (0, True), told.out


def test_a_question_at_a_terminal_may_be_answered_elsewhere_or_left_open(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    with at_a_terminal(fleet, commands, "pay") as (command, until, _):
        run_id = re.search(RUN_ID, until("approve> "))
        assert run_id
        assert call("respond", run_id.group(), "elsewhere", "--url", fleet.url).code == 0
        until("[answered: elsewhere]")
        until("end_turn")
        assert "pay: elsewhere" in command.wait().out
    with at_a_terminal(fleet, commands, "pay") as (command, until, keys):
        until("approve> ")
        os.write(keys, b"\x04")  # the end of the input
        run_id = re.search(RUN_ID, until(" RESPONSE]"))
        assert run_id
        call("respond", run_id.group(), "later", "--url", fleet.url)
        until("end_turn")
        assert command.wait().code == 0
