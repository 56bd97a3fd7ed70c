"""Records what Strands does with the scenarios of a folder: the way to add a scenario to `data_extra`.

    uv run python -m tests.conformance.record_strands DIR [ID …]

writes `DIR/expected/` for `DIR/scenarios.json`, or for the scenarios with these ids alone. The form is that of `data/`, without
the keys that Strands merges into events from its own state, which `compare.py` drops.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import patch
from uuid import UUID

import anyio
import anyio.lowlevel
import strands
from strands.agent.agent_result import AgentResult
from strands.agent.conversation_manager import NullConversationManager, SlidingWindowConversationManager
from strands.hooks import BeforeToolCallEvent
from strands.interrupt import Interrupt
from strands.models import Model
from strands.tools.executors import ConcurrentToolExecutor, SequentialToolExecutor
from strands.types.exceptions import ConcurrencyException, ContextWindowOverflowException, ModelThrottledException
from strands.types.tools import ToolContext

from tests.conformance.conformance_recording import Recording, due_actions, prompt_of, terms_of_turn
from tests.conformance.conformance_scenarios import Folder, Scenario, decode, encode
from tests.conformance.conformance_tools import build_tools

__all__ = ["PlayedModel", "record", "strands_agent", "strands_line", "write"]

_SYSTEM: Final = {
    *("agent", "model", "messages", "system_prompt", "tool_config", "request_state", "event_loop_cycle_id"),
    *("event_loop_parent_cycle_id", "event_loop_cycle_trace", "event_loop_cycle_span"),
}
_MERGING: Final = ("init_event_loop", "delta", "event_loop_throttled_delay")
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_ERRORS: Final[dict[str, type[Exception]]] = {
    "runtime": RuntimeError,
    "throttled": ModelThrottledException,
    "context_overflow": ContextWindowOverflowException,
}


class PlayedModel(Model):
    """Plays `model_calls`, and keeps what it was asked: the number of a call is that of the requests before it."""

    def __init__(self, calls: list[dict[str, Any]], requests: list[dict[str, Any]] | None = None) -> None:
        self.requests: list[dict[str, Any]] = [] if requests is None else requests
        self._calls = calls

    def update_config(self, **model_config: Any) -> None:
        pass

    def get_config(self) -> Any:
        return {}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def stream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        messages: Any,
        tool_specs: Any = None,
        system_prompt: str | None = None,
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        number = len(self.requests)
        self.requests.append(
            {
                "call": number,
                "system_prompt": system_prompt,
                "messages": _encoded(messages),
                "tools": [spec["name"] for spec in tool_specs or []],
                "tool_choice": tool_choice,
            }
        )
        await anyio.lowlevel.checkpoint()
        for chunk in self._calls[number]["chunks"]:
            yield decode(chunk)
        if error := self._calls[number].get("error"):
            raise _ERRORS[error["kind"]](error["message"])


def strands_agent(scenario: Scenario, requests: Mapping[str, list[dict[str, Any]]] | None = None) -> strands.Agent:
    """The scenario's agent. `requests`: where its models keep what they were asked, by the name of an agent within it or `""`."""
    asked: Mapping[str, list[dict[str, Any]]] = defaultdict(list) if requests is None else requests
    options: dict[str, Any] = scenario.get("agent", {})
    executor = SequentialToolExecutor if options.get("tool_executor") == "sequential" else ConcurrentToolExecutor
    manager: dict[str, Any] = {}
    if "conversation_manager" in options:
        given: dict[str, Any] = dict(options["conversation_manager"] or {"kind": "null"})
        windowed = given.pop("kind") == "sliding_window"
        manager = {
            "conversation_manager": SlidingWindowConversationManager(**given) if windowed else NullConversationManager()
        }
    make = partial(strands.tool, context=True)
    tools: list[Any] = build_tools(scenario, agent=partial(_agent_as_tool, asked), make=make, context=ToolContext)
    return strands.Agent(
        model=PlayedModel(scenario["model_calls"], asked[""]),
        tools=tools,
        system_prompt=options.get("system_prompt"),
        messages=decode(options.get("messages", [])),
        tool_executor=executor(),
        retry_strategy=strands.ModelRetryStrategy(**(options.get("retry") or {})),
        hooks=[_approval(rule) for rule in scenario.get("approvals", [])],
        callback_handler=None,
        checkpointing=bool(options.get("checkpointing")),
        **manager,
    )


def _agent_as_tool(asked: Mapping[str, list[dict[str, Any]]], spec: dict[str, Any], tools: list[Any]) -> Any:
    model = PlayedModel(spec["behaviour"]["model_calls"], asked[spec["name"]])
    agent = strands.Agent(model=model, name=spec["name"], tools=tools, callback_handler=None)
    delegate = spec["behaviour"].get("delegate", False)
    return agent.as_tool(name=spec["name"], description=spec["description"], delegate=delegate)


def _approval(rule: dict[str, Any]) -> Any:
    def approve(event: BeforeToolCallEvent) -> None:
        if event.tool_use["name"] != rule["tool"]:
            return
        if "cancel" in rule:
            event.cancel_tool = rule["cancel"]
        elif event.interrupt(rule["interrupt"], decode(rule.get("reason"))) != rule["approve"]:
            event.cancel_tool = rule.get("deny", True)

    return approve


def _encoded(value: Any) -> Any:
    """A copy as JSON can hold it, objects marked by their class."""
    if isinstance(value, dict):
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    if isinstance(value, Interrupt):
        return {"$live": "Interrupt", **_encoded(value.to_dict())}
    if isinstance(value, UUID):
        return str(value)
    return encode(value)


def _result(result: AgentResult) -> dict[str, Any]:
    invocation = result.metrics.agent_invocations[-1] if result.metrics.agent_invocations else None
    metrics = {
        "$live": "EventLoopMetrics",
        "invocation_cycles": len(invocation.cycles) if invocation else 0,
        "invocation_usage": _encoded(dict(invocation.usage)) if invocation else None,
    }
    return {
        "$live": "AgentResult",
        "stop_reason": result.stop_reason,
        "message": _encoded(result.message),
        "text": str(result),
        "interrupts": _encoded(list(result.interrupts)) if result.interrupts else None,
        "structured_output": _encoded(result.structured_output),
        "checkpoint": None,
        "metrics": metrics,
    }


def strands_line(event: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """An event of Strands as a line has it, encoded at the moment it comes: Strands changes it later."""
    if "result" in event:
        return {"event": {"result": _result(event["result"])}}
    body = {key: _encoded(value) for key, value in event.items() if key not in _SYSTEM}
    merges = any(key in event for key in _MERGING)
    merged = sorted(key for key in step.get("invocation_state", {}) if merges and key in event)
    return {"event": body, "merged": merged} if merged else {"event": body}


@contextmanager
def _waiting_is_virtual() -> Generator[None]:
    sleep = asyncio.sleep
    with patch.object(asyncio, "sleep", lambda _: sleep(0)):
        yield


async def record(scenario: Scenario) -> Recording:
    """What Strands does with the scenario."""
    recording, agent = Recording(), strands_agent(scenario)
    for number, step in enumerate(scenario["turns"]):
        prompt, state = prompt_of(step, recording), decode(step.get("invocation_state", {}))
        try:
            with _waiting_is_virtual():
                await _play(
                    agent,
                    agent.stream_async(prompt, invocation_state=state, **cast("Any", terms_of_turn(step))),
                    recording,
                    number,
                    step,
                )
        except Exception as error:
            recording.note_raised(number, error)
        else:
            recording.note(number, end="ok")
        recording.histories.append(_encoded(agent.messages))
    assert isinstance(agent.model, PlayedModel)
    recording.requests += agent.model.requests
    return recording


async def _play(agent: strands.Agent, events: Any, recording: Recording, number: int, step: dict[str, Any]) -> None:
    counts: dict[str, int] = {}
    async with aclosing(events):
        async for event in events:
            recording.note(number, **strands_line(event, step))
            for key in event:
                counts[key] = counts.get(key, 0) + 1
            due = due_actions(step, event, counts)
            for action in due:
                recording.note(number, client=action)
            if "cancel_after" in due:
                agent.cancel()
            if "second_prompt_after" in due:
                try:
                    await agent.invoke_async("again, while it runs")
                except ConcurrencyException:
                    continue
                raise AssertionError("a second call of a running agent was not refused")
            if "close_after" in due:
                return


def write(scenario: Scenario, recording: Recording, folder: Path) -> None:
    """Write the recording into `folder/expected`, with the random ids numbered."""
    ids: dict[str, int] = {}

    def numbered(text: str) -> str:
        return _UUID.sub(lambda found: f"$uuid:{ids.setdefault(found.group(), len(ids) + 1)}", text)

    expected = folder / "expected"
    expected.mkdir(exist_ok=True)
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in recording.lines)
    (expected / f"{scenario['id']}.jsonl").write_text(numbered(lines))
    state = {"messages_after_turn": recording.histories, "model_requests": recording.requests}
    (expected / f"{scenario['id']}.state.json").write_text(numbered(json.dumps(state, ensure_ascii=False)) + "\n")


async def _main(folder: Path, names: list[str]) -> None:
    for scenario in Folder(folder, ours=True).scenarios():
        if not names or scenario["id"] in names:
            write(scenario, await record(scenario), folder)
            print(scenario["id"])


if __name__ == "__main__":
    anyio.run(_main, Path(sys.argv[1]), sys.argv[2:])
