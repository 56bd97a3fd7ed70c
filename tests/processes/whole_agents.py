"""An agent whose model is an object of Strands, with a tool of the package `strands_tools` and the tools of an MCP server.

The model's address is the variable PLAYHEAD_TEST_VENDOR.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from strands.models.anthropic import AnthropicModel
from strands_tools import shell

from playhead.runtime import Agent, MCPServer

__all__ = ["whole"]

PROGRAM = Path(__file__).parents[1] / "support/mcp_program.py"

os.environ["STRANDS_NON_INTERACTIVE"] = "true"  # else `shell` asks at the terminal

_MODEL: Any = AnthropicModel(
    client_args={"api_key": "k", "base_url": os.environ["PLAYHEAD_TEST_VENDOR"], "max_retries": 0},
    model_id="claude",
    max_tokens=99,
)

whole = Agent(_MODEL, name="whole", tools=[shell, MCPServer([sys.executable, str(PROGRAM)])], callback_handler=None)
