"""`agent.tool.name(…)`: a call of a tool by the program, without the model, which may be recorded in the agent's history."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol, cast

from playhead.runtime.agent.in_process import InProcessRuns
from playhead.runtime.concurrency import run_apart
from playhead.runtime.core.converse import Message, Messages, ToolResult, ToolUse
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import Entry, ToolInterrupted
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.state import RunState, initial
from playhead.runtime.core.steps import RunTools
from playhead.runtime.core.terms import NO_TERMS
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.hooks import Moment
from playhead.runtime.loop.spec import AgentSpec, Flush
from playhead.runtime.loop.tool_batch import ToolBatch
from playhead.runtime.loop.tool_hooks import ToolHooks
from playhead.runtime.tools.agent_state import AgentState
from playhead.runtime.tools.tool import Tool

__all__ = ["CallableAgent", "ToolCaller"]


class CallableAgent(Protocol):
    """The agent whose tools are called."""

    name: str
    messages: Messages
    state: AgentState
    tools: dict[str, Tool]
    record_direct_tool_call: bool

    @property
    def spec(self) -> AgentSpec:
        """The part of the agent that the loop needs."""
        ...


class ToolCaller:
    """The tools of an agent as methods: `agent.tool.add(a=1, b=2)` calls the tool `add`. Not a part of any run.

    A call goes the way of a model's call: the input is validated, the hooks of tool calls are asked, and what the tool raises
    becomes a result with the status `error`. A name may have `_` where the tool's own has `-`.
    """

    __slots__ = ("_agent", "_runs")

    def __init__(self, agent: CallableAgent, runs: InProcessRuns) -> None:
        self._agent = agent
        self._runs = runs

    def __getattr__(self, name: str) -> Callable[..., ToolResult]:
        """The call of the tool with this name; see `DirectCall.perform` for its arguments.

        Raises:
            AttributeError: If the agent has no such tool.
        """
        tools = self._agent.tools
        named = name if name in tools else next((one for one in tools if one.replace("-", "_") == name), None)
        if named is None:
            raise AttributeError(f"the agent {self._agent.name!r} has no tool {name!r}; it has: {', '.join(tools)}")

        def call(
            user_message_override: str | None = None, record_direct_tool_call: bool | None = None, **given: Any
        ) -> ToolResult:
            recorded = (
                self._agent.record_direct_tool_call if record_direct_tool_call is None else record_direct_tool_call
            )
            use: ToolUse = {"toolUseId": _use_id(name), "name": named, "input": given}
            made = DirectCall(self._agent, use, said=user_message_override)
            return run_apart(
                lambda: self._runs.aside(self._agent.name, made.recorded if recorded else made.perform, recorded)
            )

        return call


def _use_id(name: str) -> str:
    return f"tooluse_{name}_{random.randint(100_000_000, 999_999_999)}"


class DirectCall:
    """One call.

    Args:
        agent: The agent.
        use: The call, whose input is the keywords of the program.
        said: A text before the description of the call in the history.
    """

    def __init__(self, agent: CallableAgent, use: ToolUse, *, said: str | None = None) -> None:
        self._agent = agent
        self._spec = agent.spec
        self._use = use
        self._said = said
        self._values: dict[str, Any] = dict(use["input"])
        self._control = Control()
        self._run_id = new_run_id()
        self._seq = 0
        self._state: RunState = initial(agent.messages)

    async def perform(self) -> ToolResult:
        """The result of the call.

        Raises:
            RuntimeError: If the tool, or a hook, asks a human: there is no run that could wait for the response.
            Exception: What a hook raises.
        """
        asked: Message = {"role": "assistant", "content": [{"toolUse": self._use}]}
        self._state = replace(self._state, messages=(*self._state.messages, asked))
        batch = self._batch()
        while 0 not in self._state.results:  # a hook may have the call made again
            step = RunTools(((0, self._use),), started=self._state.started)
            async with aclosing(batch.run(step)) as items:
                async for item in items:
                    if not isinstance(item, Flush):
                        self._count(item)
        return self._state.results[0]

    async def recorded(self) -> ToolResult:
        """As `perform`; the call and its result are then the last four messages of the agent."""
        result = await self.perform()
        for message in self._messages(result):
            self._agent.messages.append(message)
            self._state = replace(self._state, messages=tuple(self._agent.messages))
            if self._spec.hooks is not None and self._spec.hooks.asks("MessageAddedEvent"):
                await self._spec.hooks.message_added(self._moment(), message)
        return result

    def _batch(self) -> ToolBatch:
        ownership, hooks = Ownership(self._run_id), None
        if self._spec.hooks is not None:
            hooks = ToolHooks(self._spec.hooks, spec=self._spec, moment=self._moment, ownership=ownership)
        return ToolBatch(
            self._spec,
            run_id=lambda: self._run_id,
            control=self._control,
            ownership=ownership,
            invocation_state=self._values,
            state=lambda: self._state,
            terms=NO_TERMS,
            store=self._agent.state,
            hooks=hooks,
        )

    def _moment(self) -> Moment:
        return Moment(self._run_id, self._state, self._values, self._control.cancel_signal, self._agent.state)

    def _count(self, item: Any) -> None:
        record = record_of(item)
        if isinstance(record, ToolInterrupted):
            raise RuntimeError(
                f"the call agent.tool.{self._use['name']}(…) asks a human, and no run waits for the response: let the model "
                "call the tool"
            )
        self._seq += 1
        self._state = evolve(self._state, Entry(self._seq, 1, record))

    def _messages(self, result: ToolResult) -> Sequence[Message]:
        """The call and its result as Strands has them in a history."""
        name = self._use["name"]
        schema = cast("dict[str, Any]", self._spec.tools[name].spec["inputSchema"]["json"])
        known = {key: value for key, value in self._use["input"].items() if key in schema.get("properties", {})}
        shown = json.dumps(known, default=lambda one: f"<<non-serializable: {type(one).__qualname__}>>")
        told = f"agent.tool.{name} direct tool call.\nInput parameters: {shown}\n"
        said = [] if not self._said else [{"text": f"{self._said}\n"}]
        use = {**self._use, "input": plain(known)}
        return cast(
            "list[Message]",
            [
                {"role": "user", "content": [*said, {"text": told}]},
                {"role": "assistant", "content": [{"toolUse": use}]},
                {"role": "user", "content": [{"toolResult": result}]},
                {"role": "assistant", "content": [{"text": f"agent.tool.{name} was called."}]},
            ],
        )
