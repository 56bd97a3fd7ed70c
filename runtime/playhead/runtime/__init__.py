"""What a run is: agents, tools, models, records, the loop and the log.

from playhead.runtime import Agent, tool
"""

from __future__ import annotations

from playhead.runtime.agent.agent import Agent
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.events import Event
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.result import AgentResult
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.decorator import tool
from playhead.runtime.tools.tool import Tool

__all__ = ["Agent", "AgentResult", "Event", "Interrupt", "PlayheadError", "Tool", "ToolContext", "tool"]
