"""Agents for a fleet: `playhead dev examples/agents.py`, or `playhead worker examples/agents.py`.

Without OPENAI_API_KEY or PLAYHEAD_MODEL the agents use playhead's offline demo model, which follows fixed rules.
"""

from playhead.runtime import Agent
from playhead.runtime.toolbox import calculator, http_request

assistant = Agent(
    name="assistant",
    tools=[calculator, http_request],
    system_prompt="You are a helpful assistant. Use the calculator for arithmetic.",
)
