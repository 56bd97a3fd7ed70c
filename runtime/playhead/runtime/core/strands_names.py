"""What Strands' `Agent` has and playhead's has not, by name, with what to use here instead. Pure.

Each sentence completes `Strands has <name>; here …`. `tests/unit/agent/test_names_of_strands.py` compares the tables with
the class that is installed, so that no argument and no attribute is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

__all__ = ["ATTRIBUTES", "REFUSED_ARGUMENTS", "REMOTE_ATTRIBUTES", "RefusesAttributes", "asks_for_nothing"]

_SNAPSHOTS: Final = (
    "every record is kept: client.session(…).fork() and run.fork() begin a new one from any of them, and in this "
    "process agent.messages may be copied and set"
)
_CLOSING: Final = "there is nothing to close: servers of tools end with the process, or when their agent is dropped"

REFUSED_ARGUMENTS: Final[Mapping[str, str]] = {
    "aux_model": "the agent's own model writes the summaries, and no other call is made beside the loop",
    "background_tasks": "submit what is to run beside as a run of its own, with client.start()",
    "baggage_attributes": "baggage does not travel with a run: put what tools need into its metadata={…}",
    "cancel_signal": "await agent.cancel(), or run.cancel(), from any process: an event does not leave this one",
    "checkpointing": "every record is a checkpoint, after which any process goes on with the run",
    "concurrent_invocation_mode": "an agent object runs one call at a time: use one object per task, or a fleet",
    "context_manager": "give the agent a conversation_manager",
    "idempotency_token": "choose a run_id for client.start(): one id is one run, however often it is submitted",
    "interventions": "give the agent hooks, which may cancel a call, change it or ask a human",
    "load_tools_from_directory": 'name the files: tools=["tools/weather.py"]',
    "memory_manager": "give the agent a tool for its memory, or a hook of BeforeInvocationEvent that adds it to the prompt",
    "plugins": "give the agent their hooks as hooks=[…] and their tools as tools=[…]",
    "sandbox": "the code of a tool decides where it runs",
    "session_manager": "the fleet keeps the session: client.agent(name, session_id=…)",
    "storage": "the log in Redis keeps everything, and Client(archive=…) what has left Redis",
}
"""The arguments of Strands' `Agent` and of its calls that playhead's do not take; a call in this process takes a `cancel_signal`."""

ATTRIBUTES: Final[Mapping[str, str]] = {
    **{
        name: REFUSED_ARGUMENTS[name]
        for name in (
            "aux_model",
            "baggage_attributes",
            "concurrent_invocation_mode",
            "context_manager",
            "load_tools_from_directory",
            "memory_manager",
            "sandbox",
            "storage",
        )
    },
    "add_middleware": "add a hook: agent.add_hook(function, event)",
    "cleanup": _CLOSING,
    "event_loop_metrics": "result.metrics has those of each call",
    "load_snapshot": _SNAPSHOTS,
    "session_id": "an agent in this process has no session: client.agent(name, session_id=…) has one",
    "shutdown": _CLOSING,
    "shutdown_async": _CLOSING,
    "take_snapshot": _SNAPSHOTS,
    "tool_registry": "agent.tools has the tools by name, and agent.definition.tool_specs what the model is told of them",
    "ToolCaller": "agent.tool is an object of it",
    "trace_span": "opentelemetry.trace.get_current_span() is the current one",
    "tracer": "opentelemetry.trace.get_tracer(…) makes one",
}
"""The public attributes and methods of Strands' `Agent` that playhead's has not."""

_IN_WORKERS: Final = "the workers of the agent have it, and Agent(…) in their process sets it"
_TOOLS_IN_WORKERS: Final = "the tools of a remote agent run in its workers, when its model calls them"
_CLIENT_READS: Final = "the workers of the agent have its hooks: hooks=[…] of Agent(…) in their process"

REMOTE_ATTRIBUTES: Final[Mapping[str, str]] = {
    **{name: sentence for name, sentence in ATTRIBUTES.items() if name != "session_id"},
    **dict.fromkeys(
        ("conversation_manager", "description", "model", "system_prompt", "tool_executor", "trace_attributes"),
        _IN_WORKERS,
    ),
    **dict.fromkeys(("record_direct_tool_call", "system_prompt_content"), _IN_WORKERS),
    **dict.fromkeys(("add_hook", "hooks"), _CLIENT_READS),
    **dict.fromkeys(("tool", "tool_caller", "ToolCaller", "tool_names", "tool_registry"), _TOOLS_IN_WORKERS),
    "as_tool": "an agent is a tool of another in their workers: Agent(tools=[agent]) in that process",
    "callback_handler": "iterate over agent.stream_async(…) and call the handler with each event",
    "cancel_signal": "await agent.cancel() cancels the current run, from any process",
    "event_loop_metrics": "result.metrics has those of each run",
    "state": "await client.session(agent.session_id).state() reads it; tools and hooks change it in their runs",
}
"""The public attributes and methods of Strands' `Agent` that a remote agent has not."""


def asks_for_nothing(name: str, value: object) -> bool:
    """Whether a refused argument has the value that it has without being given, so that nothing is lost by it."""
    if name == "concurrent_invocation_mode":
        return str(getattr(value, "value", value)) == "throw"
    return name in REFUSED_ARGUMENTS and (value is None or value is False)


class RefusesAttributes:
    """A class with attributes of Strands' `Agent`, without some of them: these raise an AttributeError that says what to use."""

    _elsewhere: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # a type checker is to know the attributes that there are

        def __getattr__(self, name: str) -> Any:
            self._refuse(name)
            return object.__getattribute__(self, name)  # raises again what Python, or a property, raised

        def __setattr__(self, name: str, value: object) -> None:
            self._refuse(name)
            object.__setattr__(self, name, value)

    def _refuse(self, name: str) -> None:
        if (instead := self._elsewhere.get(name)) is not None:
            raise AttributeError(f"Strands has {name}; here {instead}.", name=name, obj=self)
