"""`command_program.py` where what the agents of `whole_agents.py` import is there already: 4 seconds of CPU per worker."""

from __future__ import annotations

import mcp as _mcp
import strands.models.anthropic as _models
import strands_tools.shell as _tools

from tests.support.command_program import run

__all__ = ["run"]

del _mcp, _models, _tools
