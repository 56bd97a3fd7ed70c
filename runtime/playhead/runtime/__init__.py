"""The runtime of playhead: agents, tools, models, records, the loop and the log.

from playhead.runtime import Agent, tool
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use

if TYPE_CHECKING:
    from playhead.runtime.agent.agent import Agent
    from playhead.runtime.agent.conversation import (
        NullConversationManager,
        SlidingWindowConversationManager,
        SummarizingConversationManager,
    )
    from playhead.runtime.agent.factory import AgentFactory, RunContext
    from playhead.runtime.core.errors import (
        AgentBusyError,
        AgentFactoryError,
        AgentNotFoundError,
        AgentPausedError,
        BadTargetError,
        ContextWindowOverflowException,
        EncodingError,
        FencedError,
        ForeignRecordError,
        GapError,
        InterruptNotOpenError,
        LeaseTooShortError,
        LogUnavailableError,
        MaxTokensReachedException,
        ModelConfigurationError,
        ModelResponseError,
        ModelThrottledException,
        ModelUnavailableError,
        NoWorkerError,
        OverrideRefusedError,
        PlayheadError,
        RecordTooLargeError,
        RedisAuthError,
        RedisTooOldError,
        RequestNotFoundError,
        RewindError,
        RunConflictError,
        RunEndedError,
        RunFailedError,
        RunNotFoundError,
        SessionExistsError,
        SessionHeldError,
        SessionNotFoundError,
        ShardsError,
        StructuredOutputException,
        UnusableServerError,
        WriteRefusedError,
    )
    from playhead.runtime.core.events import Event
    from playhead.runtime.core.ids import new_run_id
    from playhead.runtime.core.interrupts import Interrupt
    from playhead.runtime.core.overrides import RunOverrides
    from playhead.runtime.core.result import AgentResult
    from playhead.runtime.core.retry import RetryPolicy
    from playhead.runtime.core.retry_strategy import ModelRetryStrategy
    from playhead.runtime.tools.context import ToolContext
    from playhead.runtime.tools.decorator import tool
    from playhead.runtime.tools.mcp.server import MCPServer
    from playhead.runtime.tools.tool import Tool

__all__ = [
    "Agent",
    "AgentBusyError",
    "AgentFactory",
    "AgentFactoryError",
    "AgentNotFoundError",
    "AgentPausedError",
    "AgentResult",
    "BadTargetError",
    "ContextWindowOverflowException",
    "EncodingError",
    "Event",
    "FencedError",
    "ForeignRecordError",
    "GapError",
    "Interrupt",
    "InterruptNotOpenError",
    "LeaseTooShortError",
    "LogUnavailableError",
    "MCPServer",
    "MaxTokensReachedException",
    "ModelConfigurationError",
    "ModelResponseError",
    "ModelRetryStrategy",
    "ModelThrottledException",
    "ModelUnavailableError",
    "NoWorkerError",
    "NullConversationManager",
    "OverrideRefusedError",
    "PlayheadError",
    "RecordTooLargeError",
    "RedisAuthError",
    "RedisTooOldError",
    "RequestNotFoundError",
    "RetryPolicy",
    "RewindError",
    "RunConflictError",
    "RunContext",
    "RunEndedError",
    "RunFailedError",
    "RunNotFoundError",
    "RunOverrides",
    "SessionExistsError",
    "SessionHeldError",
    "SessionNotFoundError",
    "ShardsError",
    "StructuredOutputException",
    "SlidingWindowConversationManager",
    "SummarizingConversationManager",
    "Tool",
    "ToolContext",
    "UnusableServerError",
    "WriteRefusedError",
    "new_run_id",
    "tool",
]

# At first use, so that code which needs only records loads neither models nor redis.
import_at_first_use(
    __name__,
    {
        "Agent": "playhead.runtime.agent.agent",
        "AgentFactory": "playhead.runtime.agent.factory",
        "RunContext": "playhead.runtime.agent.factory",
        "NullConversationManager": "playhead.runtime.agent.conversation",
        "SlidingWindowConversationManager": "playhead.runtime.agent.conversation",
        "SummarizingConversationManager": "playhead.runtime.agent.conversation",
        "AgentBusyError": "playhead.runtime.core.errors",
        "AgentFactoryError": "playhead.runtime.core.errors",
        "AgentNotFoundError": "playhead.runtime.core.errors",
        "AgentPausedError": "playhead.runtime.core.errors",
        "BadTargetError": "playhead.runtime.core.errors",
        "ContextWindowOverflowException": "playhead.runtime.core.errors",
        "EncodingError": "playhead.runtime.core.errors",
        "FencedError": "playhead.runtime.core.errors",
        "ForeignRecordError": "playhead.runtime.core.errors",
        "GapError": "playhead.runtime.core.errors",
        "InterruptNotOpenError": "playhead.runtime.core.errors",
        "LeaseTooShortError": "playhead.runtime.core.errors",
        "LogUnavailableError": "playhead.runtime.core.errors",
        "MaxTokensReachedException": "playhead.runtime.core.errors",
        "ModelConfigurationError": "playhead.runtime.core.errors",
        "ModelResponseError": "playhead.runtime.core.errors",
        "ModelThrottledException": "playhead.runtime.core.errors",
        "ModelUnavailableError": "playhead.runtime.core.errors",
        "NoWorkerError": "playhead.runtime.core.errors",
        "OverrideRefusedError": "playhead.runtime.core.errors",
        "PlayheadError": "playhead.runtime.core.errors",
        "RecordTooLargeError": "playhead.runtime.core.errors",
        "RedisAuthError": "playhead.runtime.core.errors",
        "RedisTooOldError": "playhead.runtime.core.errors",
        "RequestNotFoundError": "playhead.runtime.core.errors",
        "RewindError": "playhead.runtime.core.errors",
        "RunConflictError": "playhead.runtime.core.errors",
        "RunEndedError": "playhead.runtime.core.errors",
        "RunFailedError": "playhead.runtime.core.errors",
        "RunNotFoundError": "playhead.runtime.core.errors",
        "SessionExistsError": "playhead.runtime.core.errors",
        "SessionHeldError": "playhead.runtime.core.errors",
        "SessionNotFoundError": "playhead.runtime.core.errors",
        "ShardsError": "playhead.runtime.core.errors",
        "StructuredOutputException": "playhead.runtime.core.errors",
        "UnusableServerError": "playhead.runtime.core.errors",
        "WriteRefusedError": "playhead.runtime.core.errors",
        "Event": "playhead.runtime.core.events",
        "new_run_id": "playhead.runtime.core.ids",
        "Interrupt": "playhead.runtime.core.interrupts",
        "RunOverrides": "playhead.runtime.core.overrides",
        "AgentResult": "playhead.runtime.core.result",
        "RetryPolicy": "playhead.runtime.core.retry",
        "ModelRetryStrategy": "playhead.runtime.core.retry_strategy",
        "ToolContext": "playhead.runtime.tools.context",
        "MCPServer": "playhead.runtime.tools.mcp.server",
        "tool": "playhead.runtime.tools.decorator",
        "Tool": "playhead.runtime.tools.tool",
    },
)
