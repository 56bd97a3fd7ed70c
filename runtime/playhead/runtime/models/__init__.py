"""Model providers: OpenAI-compatible servers, a local GGUF file, an offline demo, and a script for tests."""

from __future__ import annotations

from playhead.runtime.models.demo.model import DemoModel
from playhead.runtime.models.local.model import LocalModel
from playhead.runtime.models.openai.model import OpenAIModel
from playhead.runtime.models.resolve import resolve_model
from playhead.runtime.models.scripted import ModelRequest, ScriptedCall, ScriptedModel, text_call, tool_call

__all__ = [
    "DemoModel",
    "LocalModel",
    "ModelRequest",
    "OpenAIModel",
    "ScriptedCall",
    "ScriptedModel",
    "resolve_model",
    "text_call",
    "tool_call",
]
