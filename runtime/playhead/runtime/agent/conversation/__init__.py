"""Conversation managers: how an agent's history is kept within the context of its model, under Strands' names."""

from playhead.runtime.agent.conversation.managers import (
    NullConversationManager,
    conversation_manager_of,
    described_manager,
    recorded_manager,
)
from playhead.runtime.agent.conversation.sliding_window import SlidingWindowConversationManager
from playhead.runtime.agent.conversation.summarizing import SummarizingConversationManager

__all__ = [
    "NullConversationManager",
    "SlidingWindowConversationManager",
    "SummarizingConversationManager",
    "conversation_manager_of",
    "described_manager",
    "recorded_manager",
]
