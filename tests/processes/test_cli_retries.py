"""The command line of a run that waits before a model call is made again."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []

RUN_ID = r"0-[0-9a-z]{19}"
FAILED = "model call 1 failed: ModelThrottledException: slow down; it is made again in 3000.0 s"


def test_every_command_that_shows_a_run_tells_of_the_error_and_of_the_wait(
    fleet: Fleet, commands: Commands, call: Callable[..., Finished]
):
    command = commands.start("ask", "throttled", "Hi", "--url", fleet.url)
    run_id = command.until(rf"run ({RUN_ID})").group(1)
    command.until(re.escape(f"[{FAILED}]"))
    shown = call("show", run_id, "--url", fleet.url)
    assert f"waits: {FAILED}" in shown.out
    (info,) = call("show", run_id, "--json", "--url", fleet.url).lines
    failed = info["failed_call"]
    assert info["state"] in ("running", "queued")  # its worker gives it back for so long a wait
    assert (failed["error_type"], failed["message"]) == ("ModelThrottledException", "slow down")
    assert (failed["delay"], failed["attempt"]) == (3000.0, 1)
    (row,) = [line for line in commands.run("runs", "--url", fleet.url).out.splitlines() if run_id in line]
    assert re.search(r"(running|queued): ModelThrottledException, calls the model again in (2\d{3}|3000) s", row)
    events = commands.start("tail", run_id, "--json", "--url", fleet.url)
    events.until('"retrying": true')
    assert call("cancel", run_id, "--url", fleet.url).code == 0
    assert command.wait().code == 3
    (told,) = [line["event"] for line in events.wait().lines if "retrying" in line["event"]]
    assert told == {
        "retrying": True,
        "delay": 3000.0,
        "attempt": 1,
        "error_type": "ModelThrottledException",
        "error": "slow down",
    }
    replayed = call("replay", run_id, "--fast", "--url", fleet.url)
    assert f"[{FAILED}]" in replayed.err
    assert "waits:" not in call("show", run_id, "--url", fleet.url).out, "it has ended"
