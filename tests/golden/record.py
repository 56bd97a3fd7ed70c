"""Records the logs of one version into a new folder here: `uv run python -m tests.golden.record 0.2.0`, of all scenarios or
of those that are named after the version.

Real workers run the scenarios on a real server. A file that exists is never written again: what a user's Redis holds does
not change either. `tests/unit/core/test_old_logs.py` reads all of them, and says what a file has;
`tests/unit/replay/test_golden_logs.py` verifies them with the agents of `owners`.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import anyio

from playhead.client import Client, Run
from playhead.runtime import (
    RetryPolicy,
)
from playhead.runtime.agent.serving import Served
from playhead.runtime.core.codec import pack
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.events import Projection
from playhead.runtime.core.records import Entry, ModelStarted, RunClaimed
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.models import ScriptedModel
from tests.golden.more_scenarios import (
    BLOCKS,
    CHANGED,
    PINNED,
    HangingAfterTools,
    answered_with_other_values,
    asking_guest,
    called_again,
    cancelled_after_its_tools,
    cancelled_by_a_hook,
    cancelled_with_a_message,
    delegated,
    described,
    failing_guest,
    goes_on,
    goes_on_with_other_values,
    graph_guest,
    hold,
    hosted_failure,
    hosted_graph,
    hosted_question,
    hosted_requests,
    made_with_the_name_of_a_model,
    managed,
    named_model,
    stops,
    telling_guest,
    with_a_delegate,
)
from tests.golden.scenarios import (
    PATIENT,
    REMEMBERING,
    SUMMARY,
    WINDOW,
    LongAnswers,
    Rules,
    answered_in_full,
    at_its_token_limit,
    cancelled,
    cancelled_without_an_owner,
    chatty,
    children,
    crashed_too_often,
    factory,
    failing,
    forked,
    guarded_and_repaired,
    guest,
    handed_over,
    hooked,
    hooked_batch,
    hosted,
    leave,
    limited,
    made_by_a_factory,
    paused_and_steered,
    plain,
    postponed,
    reduced,
    remembered,
    retried,
    stopped_by_a_tool,
    structured,
    summarized,
    taken_over,
    taken_over_and_continued,
    traced,
    with_children,
)
from tests.golden.stage import PREFIX, Hanging, Scenario, Stage, agent, broken, dangling

__all__ = ["main", "owners"]

_LIMIT_S: Final = 60.0

SCENARIOS: Final[Sequence[Scenario]] = [
    plain,
    chatty,
    guarded_and_repaired,
    failing,
    retried,
    at_its_token_limit,
    cancelled,
    cancelled_without_an_owner,
    paused_and_steered,
    handed_over,
    taken_over,
    taken_over_and_continued,
    crashed_too_often,
    forked,
    answered_in_full,
    answered_with_other_values,
    cancelled_by_a_hook,
    children,
    hooked,
    hooked_batch,
    hosted,
    limited,
    made_by_a_factory,
    postponed,
    reduced,
    remembered,
    stopped_by_a_tool,
    structured,
    summarized,
    called_again,
    cancelled_after_its_tools,
    cancelled_with_a_message,
    delegated,
    described,
    goes_on_with_other_values,
    hosted_failure,
    hosted_graph,
    hosted_requests,
    hosted_question,
    made_with_the_name_of_a_model,
    managed,
    traced,  # the last one, because an SDK stays set up
]


def _options(scenario: str) -> dict[str, Any] | None:
    """How the only agent of a scenario differs from `agent()`; None if it has other owners."""
    known: dict[str, dict[str, Any]] = {
        "answered_in_full": {"model": LongAnswers()},
        "called_again": CHANGED,
        "cancelled": {"model": Hanging()},
        "cancelled_after_its_tools": {"tools": [hold]},
        "cancelled_by_a_hook": {"hooks": [stops]},
        "cancelled_with_a_message": {"model": HangingAfterTools()},
        "crashed_too_often": {"model": Hanging()},
        "described": {"system_prompt": BLOCKS, "allow_overrides": {"params", "tools"}},
        "failing": {"retry": None},
        "goes_on_with_other_values": {"hooks": [goes_on]},
        "guarded_and_repaired": {"messages": dangling()},
        "hooked": {"hooks": [Rules()], "retry": RetryPolicy()},
        "hooked_batch": {"hooks": [Rules()], "retry": RetryPolicy()},
        "limited": {"limits": {"turns": 2}},
        "managed": {"conversation_manager": PINNED},
        "postponed": {"retry_strategy": PATIENT},
        "reduced": {"conversation_manager": WINDOW},
        "remembered": REMEMBERING,
        "retried": {"retry": RetryPolicy(initial_delay=0)},
        "stopped_by_a_tool": {"tools": [leave, broken]},
        "summarized": {"conversation_manager": SUMMARY},
    }
    return known.get(scenario)


def owners(scenario: str) -> Sequence[Served]:
    """The agents or guests of a scenario's owners, one after the other; the last also of all later ones."""
    if (options := _options(scenario)) is not None:
        return [agent(**options)]
    match scenario:
        case "handed_over" | "taken_over" | "traced":
            return [agent(model=Hanging()), agent(system_prompt="Be kind.")]
        case "taken_over_and_continued":
            goes_on: dict[str, Any] = {"on_partial": "continue"}
            return [agent(model=Hanging(), **goes_on), agent(system_prompt="Be kind.", **goes_on)]
        case "made_by_a_factory":
            return [factory("Be brief.")]
        case "made_with_the_name_of_a_model":
            return [named_model("Be brief.")]
        case "delegated":
            return [with_a_delegate(ScriptedModel([]))]
        case "children":
            return [with_children(ScriptedModel([], continues_partial=True))]
        case "hosted":
            return [FunctionGuest(guest, name="agent")]
        case "hosted_failure":
            return [FunctionGuest(failing_guest, name="agent")]
        case "hosted_requests":
            return [FunctionGuest(telling_guest, name="agent")]
        case "hosted_graph":
            return [graph_guest()]
        case "hosted_question":
            return [asking_guest()]
        case _:
            return [agent()]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def _lines(stage: Stage, run: Run) -> list[dict[str, Any]]:
    """All lines of a file."""
    info = await run.info()
    raw: Any = await stage.client.log.client.xrange(stage.client.log.keys.log(run.id))
    entries = await stage.client.log.read(run.id, limit=info.head)
    lines = [{"id": place.decode(), "record": _text(fields[b"r"])} for place, fields in raw]
    digests = {one.record.definition for one in entries if isinstance(one.record, RunClaimed)}
    for digest in sorted(digests - {""}):
        definition = await stage.client.log.definition(run.id, digest)
        assert isinstance(definition, AgentDefinition)
        lines.append({"definition": digest, "data": _text(definition.stored().data)})
    said = await stage.client.log.messages(info.session or "ada")
    lines += [{"session_message": _text(pack(dict(message)))} for message in said]
    for entry in entries:
        if isinstance(entry.record, ModelStarted) and not entry.record.lane:
            recorded = await run.request(entry.seq)
            request = recorded.request
            sent = [request.messages, request.tool_specs, request.system_prompt, request.tool_choice]
            lines.append({"request": entry.seq, "sent": _text(pack(sent))})
    return [*lines, *_events(run.id, entries)]


def _events(run_id: str, entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    projection = Projection(run_id)
    for entry in entries:
        for event in projection.feed(entry):
            yield {"event": event.cursor, "value": json.loads(event.to_json())}
    error = projection.error
    yield {"error": error and [error.error_type, str(error)]}


async def _record(scenario: Scenario, file: Path) -> None:
    async with EmbeddedServer.running(durable=False) as server:
        with anyio.fail_after(_LIMIT_S):
            async with Client(server.url, prefix=PREFIX, on_notice=lambda _: None) as client:
                stage = Stage(server.url, client)
                lines = await _lines(stage, await scenario(stage))
    with file.open("x", encoding="utf-8") as out:  # "x": refuses a file that exists
        out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


async def main(version: str, *names: str) -> None:
    """Record every scenario that the version has no file of, or those of them that are named."""
    folder = Path(__file__).parent / version
    folder.mkdir(exist_ok=True)
    for scenario in [one for one in SCENARIOS if not names or one.__name__ in names]:
        file = folder / f"{scenario.__name__}.jsonl"
        if not file.exists():
            await _record(scenario, file)
            print(file)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: tests.golden.record VERSION [SCENARIO…], such as 0.2.0")
    version, *names = sys.argv[1:]
    anyio.run(main, version, *names)
