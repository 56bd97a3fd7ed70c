"""Resolves the names of models."""

from __future__ import annotations

import logging
import os
from typing import Any, cast

from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.models.anthropic.model import AnthropicModel
from playhead.runtime.models.bedrock.model import BedrockModel
from playhead.runtime.models.demo.model import DemoModel
from playhead.runtime.models.local.model import LocalModel
from playhead.runtime.models.model import Model
from playhead.runtime.models.openai.model import OpenAIModel

__all__ = ["check_model", "resolve_model"]

_log = logging.getLogger("playhead.models")
_DEFAULT = "openai/gpt-5-mini"
_FORMS = (
    '"openai/<model id>", "openai-responses/<model id>", "anthropic/<model id>", "bedrock/<model id>", '
    '"local/<path to a .gguf file>" or "demo"'
)


def check_model(model: object) -> None:
    """Refuse a value that is not a usable model: a name of an unknown form, an object without `stream`, or a model that
    keeps the conversation on its server.

    Raises:
        ModelConfigurationError: The message names it, with the accepted forms.
    """
    if isinstance(model, str):
        _from_name(model, source="model")
    elif model is not None and (isinstance(model, type) or not callable(getattr(model, "stream", None))):
        raise ModelConfigurationError(
            f"model must be {_FORMS}, or an object with a stream method, not {_described(model)}."
        )
    elif getattr(model, "stateful", False) is True:
        raise ModelConfigurationError(
            f"the {type(model).__name__} given as model keeps the conversation on its server (stateful=True). "
            "Each call here sends the conversation from the log, so the server would have it twice: use stateful=False."
        )


def resolve_model(model: str | Model | None) -> Model:
    """Find or make the model with the name `model`.

    * None: the model that the environment variable `PLAYHEAD_MODEL` names; else `openai/gpt-5-mini` if
      `OPENAI_API_KEY` is set; else the offline `DemoModel`, with one warning on the logger `playhead.models`.
    * `"openai/<id>"`: an `OpenAIModel`; the server is OpenAI's, or the one in `OPENAI_BASE_URL`.
    * `"openai-responses/<id>"`: an `OpenAIModel` with `api="responses"`.
    * `"anthropic/<id>"`: an `AnthropicModel`; the server is Anthropic's, or the one in `ANTHROPIC_BASE_URL`.
    * `"bedrock/<id>"`: a `BedrockModel` of the region that the environment or the profile names.
    * `"local/<path>"`: a `LocalModel`; `local//models/m.gguf` is an absolute path, `~` is the home directory.
    * `"demo"`: a `DemoModel`.
    * An object with a `stream` method is returned as it is.

    Nothing is loaded or connected: a missing key or file raises at a worker's start, else at the first call.

    Raises:
        ModelConfigurationError: If it is any other value; the message names it and the accepted forms.
    """
    if model is None:
        return _from_environment()
    if isinstance(model, str):
        return _from_name(model, source="model")
    check_model(model)
    return model


def _from_environment() -> Model:
    if name := os.environ.get("PLAYHEAD_MODEL", "").strip():
        return _from_name(name, source="PLAYHEAD_MODEL")
    if os.environ.get("OPENAI_API_KEY"):
        return _from_name(_DEFAULT, source="model")
    _log.warning(
        "No model is configured, so the offline demo model is used, which follows fixed rules. "
        "Set OPENAI_API_KEY, or PLAYHEAD_MODEL to %s.",
        _FORMS,
    )
    return DemoModel()


def _from_name(name: str, *, source: str) -> Model:
    kind, slash, rest = name.partition("/")
    if name == "demo":
        return DemoModel()
    if slash and rest:
        if kind == "openai":
            return OpenAIModel(rest)
        if kind == "openai-responses":
            return OpenAIModel(rest, api="responses")
        if kind == "anthropic":
            return AnthropicModel(rest)
        if kind == "bedrock":
            return BedrockModel(rest)
        if kind == "local":
            return LocalModel(os.path.expanduser(rest))
    raise ModelConfigurationError(f"{source}={name!r} is not a model that playhead knows: use {_FORMS}.")


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {cast('type[Any]', value).__name__} (pass an instance)"
    return f"an object of type {type(value).__name__}"
