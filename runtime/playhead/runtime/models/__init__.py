"""Model providers: OpenAI-compatible servers, Anthropic, Bedrock, a local GGUF file, an offline demo, and a scripted model for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use

if TYPE_CHECKING:
    from playhead.runtime.core.model_input import ModelRequest
    from playhead.runtime.models.anthropic.model import AnthropicModel
    from playhead.runtime.models.bedrock.model import BedrockModel
    from playhead.runtime.models.demo.model import DemoModel
    from playhead.runtime.models.local.model import LocalModel
    from playhead.runtime.models.openai.model import OpenAIModel
    from playhead.runtime.models.resolve import resolve_model
    from playhead.runtime.models.scripted import ScriptedCall, ScriptedModel, text_call, tool_call

__all__ = [
    "AnthropicModel",
    "BedrockModel",
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

# At first use, so that one provider does not load the others.
import_at_first_use(
    __name__,
    {
        "AnthropicModel": "playhead.runtime.models.anthropic.model",
        "BedrockModel": "playhead.runtime.models.bedrock.model",
        "DemoModel": "playhead.runtime.models.demo.model",
        "LocalModel": "playhead.runtime.models.local.model",
        "OpenAIModel": "playhead.runtime.models.openai.model",
        "resolve_model": "playhead.runtime.models.resolve",
        "ModelRequest": "playhead.runtime.core.model_input",
        "ScriptedCall": "playhead.runtime.models.scripted",
        "ScriptedModel": "playhead.runtime.models.scripted",
        "text_call": "playhead.runtime.models.scripted",
        "tool_call": "playhead.runtime.models.scripted",
    },
)
