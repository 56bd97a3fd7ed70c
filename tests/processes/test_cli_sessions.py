"""`playhead sessions` and `playhead session`: a conversation is listed, shown, copied, cut and deleted."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []


def test_a_conversation_is_listed_shown_copied_cut_and_deleted(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command = commands.start("ask", "asks", "pay", "--session", "cli-ada", "--url", fleet.url)
    run_id = command.until(r"playhead respond (0-[0-9a-z]{19})").group(1)
    shown = call("session", "show", "cli-ada", "--url", fleet.url)
    assert f"run {run_id} holds it; watch the rest: playhead tail {run_id} --after " in shown.out
    assert shown.out.splitlines()[-4].split() == ["user", "pay"], "what the run has said so far"
    refused = call("session", "rm", "cli-ada", "--url", fleet.url)
    assert (refused.code, refused.err) == (
        65,
        f"playhead: run {run_id} (paused) holds the session 'cli-ada', so nothing was changed: wait until the run has "
        "ended, or cancel it",
    )
    assert call("respond", run_id, "yes", "--url", fleet.url).code == 0
    assert command.wait().code == 0
    assert call("ask", "asks", "and now?", "--session", "cli-ada", "--url", fleet.url).code == 0

    (row,) = [line for line in call("sessions", "--url", fleet.url).out.splitlines() if "cli-ada" in line]
    assert row.split()[:2] == ["cli-ada", "6"]
    infos = {info["session"]: info for info in call("sessions", "--json", "--url", fleet.url).lines}
    assert (infos["cli-ada"]["messages"], infos["cli-ada"]["run"]) == (6, None)

    assert (
        call("session", "fork", "cli-ada", "cli-bob", "--at", "4", "--url", fleet.url).out == "cli-bob has 4 messages\n"
    )
    again = call("session", "fork", "cli-ada", "cli-bob", "--url", fleet.url)
    assert (again.code, again.err) == (
        64,
        "playhead: there is a session 'cli-bob' already; nothing was changed. Choose another id.",
    )
    page = call("sessions", "--limit", "1", "--url", fleet.url)
    cursor = page.err.rpartition("--cursor ")[2].rstrip(")\n")
    assert "cli-bob" in page.out
    assert "cli-ada" in call("sessions", "--limit", "1", "--cursor", cursor, "--url", fleet.url).out

    assert (
        call("session", "trim", "cli-ada", "--keep-last", "1", "--url", fleet.url).out == "cli-ada has 2 messages now\n"
    )
    info, *messages = call("session", "show", "cli-ada", "--json", "--url", fleet.url).lines
    assert (info["session"], info["messages"], info["state"], len(messages)) == ("cli-ada", 2, {}, 2)
    assert messages[0]["message"]["content"] == [{"text": "and now?"}]
    assert call("session", "rm", "cli-ada", "cli-bob", "--url", fleet.url).out == "deleted cli-ada\ndeleted cli-bob\n"
    gone = call("session", "show", "cli-ada", "--url", fleet.url)
    assert (gone.code, gone.err.partition(":")[2].strip().partition(":")[0]) == (66, "no session 'cli-ada'")
