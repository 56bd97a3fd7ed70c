"""A graph or a swarm of Strands agents: each node's calls under its own name, its events whole, in a lane for each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Literal, cast

from strands import Agent
from strands.multiagent.base import MultiAgentBase, MultiAgentResult

from playhead.runtime.core.context import in_context
from playhead.runtime.core.converse import Message
from playhead.runtime.core.failures import failure
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import EventEmitted, MessageAdded, Record, RunCancelled, RunCompleted, now_ms
from playhead.runtime.guests.strands.answers import responses_to, state_of
from playhead.runtime.guests.strands.events import EventRecorder
from playhead.runtime.guests.strands.forms import of_a_tool, told_alike, wire
from playhead.runtime.guests.strands.hosted import HOSTED, HostedRun
from playhead.runtime.guests.strands.seams import put_seams
from playhead.runtime.host.function import add_message
from playhead.runtime.host.guest import Visit
from playhead.runtime.host.keys import key_part
from playhead.runtime.host.model_calls import ModelCalls
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["Invocations", "agents_of"]

_RESULT: Final = "multiagent_result"
_LATENCY: Final = "latency_ms"


def agents_of(target: object, scope: str = "") -> Iterator[tuple[str, Agent]]:
    """The agents of a graph or a swarm, and of those within it, each with its place."""
    if isinstance(target, Agent):
        yield scope, target
        return
    nodes: Mapping[str, Any] = getattr(target, "nodes", {})
    for name, node in nodes.items():
        yield from agents_of(node.executor, f"{scope}/{key_part(name)}")


class _Edges(set[Any]):
    """The edges of a graph in one order. Strands walks a set, whose order is another one in each process, to tell a node what
    the nodes before it said."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=lambda edge: (edge.from_node.node_id, edge.to_node.node_id)))


def _walk_in_order(target: object) -> None:
    """Let a graph, and those within it, do the same in every process."""
    if isinstance(edges := getattr(target, "edges", None), set):
        cast("Any", target).edges = _Edges(cast("set[Any]", edges))
    nodes: Mapping[str, Any] = getattr(target, "nodes", {})
    for node in nodes.values():
        _walk_in_order(node.executor)


def _first_nodes(many: object) -> list[Any]:
    """The nodes that get the prompt."""
    if (entries := getattr(many, "entry_points", None)) is not None:
        return list(entries)
    nodes, entry = cast("Any", many).nodes, cast("Any", many).entry_point
    return [nodes[str(entry.name)] if entry else next(iter(nodes.values()))]


def _recall(many: object, said: Sequence[Message]) -> None:
    """Let the agents that get the prompt begin from the conversation of the session."""
    for node in _first_nodes(many):
        if isinstance(agent := node.executor, Agent):
            agent.messages = cast("Any", in_context(cast("Any", [*agent.messages, *said])))
            node.__post_init__()  # which keeps what each execution of the node begins from
        elif isinstance(agent, MultiAgentBase):
            _recall(agent, said)


class Invocations:
    """The invocations of a run: by its prompt, and by each prompt that was sent to the running run.

    Each is of a graph or a swarm that is made for it, as for the runs of a session.
    """

    def __init__(self, visit: Visit, *, policies: Mapping[str, OnUnknownOutcome], rerun: frozenset[str]) -> None:
        recorder = visit.recorder
        self._visit = visit
        self._run = HostedRun(recorder, None, EventRecorder(recorder, None), policies, rerun, ModelCalls(recorder))
        self._prompt = visit.submitted.prompt
        self._origin: Literal["prompt", "steer"] = "prompt"
        self._said: list[Message] = list(visit.said.messages)
        self._spent: Counter[str] = Counter()  # the tokens and the time of earlier ones
        # A run that an older version began has told its session nothing.
        self._has_conversation = visit.submitted.session is not None and recorder.course.begins_with(MessageAdded)

    async def next(self, many: MultiAgentBase) -> Record | None:
        """Invoke it to its end; the terminal record of the run, or None if another invocation follows."""
        places = list(agents_of(many))
        _walk_in_order(many)
        for _, agent in places:
            put_seams(agent)
        if self._said:
            _recall(many, self._said)
        self._visit.cancel = lambda cancel: [agent.cancel(message=cancel.message) for _, agent in places]
        token = HOSTED.set(replace(self._run, scopes={id(agent): scope for scope, agent in places}))
        try:
            return await self._invoke(many)
        finally:
            HOSTED.reset(token)

    async def _invoke(self, many: MultiAgentBase) -> Record | None:
        asked = [await self._told(one, self._origin) for one in prompt_messages(self._prompt) or []]
        try:
            given = await self._result(many)
        except Exception as error:
            self._visit.error = error
            return failure(error, force_stop=False)
        recorder = self._visit.recorder
        recorder.apply_signals()
        if recorder.cancelled:
            return RunCancelled(at=now_ms(), result={**given, "stop_reason": "cancelled"})
        self._said += [*asked, await self._told(given["message"], "model")]
        self._spent = Counter({**given["metrics"]["usage"], _LATENCY: given["metrics"]["latency_ms"]})
        self._prompt, self._origin = recorder.next_prompt(), "steer"
        return RunCompleted(at=now_ms(), result=given) if self._prompt is None else None

    async def _told(self, message: Message, origin: Literal["prompt", "steer", "model"]) -> Message:
        """The message, which the session gets, too."""
        return await add_message(self._visit.recorder, message, origin) if self._has_conversation else message

    async def _result(self, many: MultiAgentBase) -> dict[str, Any]:
        """What it gives in the end, when a human has responded to all that it asks."""
        prompt = self._prompt
        while True:
            result = await _invoked(many, self._visit, prompt)
            given = _result_of(result, self._spent)
            if not result.interrupts:
                return given
            self._visit.recorder.pause_result = given
            prompt = await responses_to(self._visit, given["interrupts"])


async def _invoked(many: MultiAgentBase, visit: Visit, prompt: Any) -> MultiAgentResult:
    """One invocation; its result, which leaves no event because the end of the run tells it."""
    result: Any = None
    events = many.stream_async(prompt, invocation_state=state_of(visit))
    async with aclosing(cast("Any", events)) as stream:
        async for event in stream:
            if event.get("type") == _RESULT:
                result = event["result"]
                continue
            said = wire(event)
            node = str(event["node_id"]) if "node_id" in event else None
            record = EventEmitted(at=now_ms(), event=said, lane="" if node is None else f"node {node}")
            part = "" if node is None else f"/{key_part(node)}"
            same: Callable[[Any], bool] = lambda logged, said=said: told_alike(logged.event, said)  # noqa: E731
            beside = of_a_tool if of_a_tool(record) else None
            await visit.recorder.emit(record, same=same, part=part, beside=beside)
    return result


def _result_of(result: MultiAgentResult, spent: Mapping[str, int]) -> dict[str, Any]:
    message = {"role": "assistant", "content": [{"text": str(result)}]}
    usage = {
        name: count + spent.get(name, 0) for name, count in cast("dict[str, int]", result.accumulated_usage).items()
    }
    latency = result.accumulated_metrics["latencyMs"] + spent.get(_LATENCY, 0)
    given: dict[str, Any] = {
        "stop_reason": "interrupt" if result.interrupts else "end_turn",
        "message": message,
        "state": {},
        "metrics": {"cycles": 0, "usage": usage, "latency_ms": latency},
        "multiagent": wire(result),
    }
    if result.interrupts:
        given["interrupts"] = [wire(one.to_dict()) for one in result.interrupts]
    return given
