"""Describes a model for the log as plain data without secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Set
from typing import Any, Final, cast

from pydantic import BaseModel

from playhead.runtime.core.plain import plain
from playhead.runtime.models.model import Model

__all__ = ["HIDDEN", "describe"]

_log = logging.getLogger("playhead.models")

HIDDEN: Final = "***"
"""The replacement for a secret."""

_SECRET_NAME: Final = re.compile(
    r"api[-_]?key|secret|passw|authori[sz]ation|credential|(private|access|account|subscription)[-_]?key|bearer|cookie"
    r"|signature|(^|[-_])auth$|token$",
    re.IGNORECASE,
)
_SECRET_VALUE: Final = re.compile(r"(Bearer|Basic) \S|sk-[\w-]{8}", re.IGNORECASE)
_USER_OF_URL: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_SECRET_OF_QUERY: Final = re.compile(r"(?<=[?&])([^=&]*(?:key|token|secret|sig)[^=&]*=)[^&\s]+", re.IGNORECASE)


def describe(model: Model) -> dict[str, Any]:
    """The name of a model's class and its configuration, which `get_config()` returns, as in Strands' models.

    A value under a name such as `api_key`, a header's value, and a password in a URL are replaced by `***`; an object
    that is not plain data, by the name of its type. A model without `get_config` has an empty configuration.
    """
    config: Any = {}
    if callable(get_config := getattr(model, "get_config", None)):
        try:
            config = get_config()
        except Exception as error:  # of the provider's code: it must not keep a worker from running the agent
            _log.warning("%s tells nothing about itself: get_config raised %s", _name_of(model), type(error).__name__)
    return plain({"class": _name_of(model), "config": _shown(config)})


def _name_of(value: object) -> str:
    return type(value).__qualname__


def _shown(value: object) -> Any:
    """The value as plain data, without secrets."""
    match value:
        case None | bool() | int() | float() | bytes():
            return value
        case str():
            return _shown_text(value)
        case BaseModel():
            return _shown(value.model_dump())
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            return {str(name): _shown_field(str(name), field) for name, field in pairs}
        case list() | tuple():
            return [_shown(item) for item in cast("list[object]", value)]
        case Set():
            return sorted((_shown(item) for item in cast("Set[object]", value)), key=repr)
        case type():
            return value.__qualname__
        case _:
            return f"<{_name_of(value)}>"


def _shown_field(name: str, value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    if "headers" in name.lower() and isinstance(value, Mapping):
        return {str(header): HIDDEN for header in cast("Mapping[object, object]", value)}
    return _shown(value)


def _shown_text(text: str) -> str:
    if _SECRET_VALUE.match(text):
        return HIDDEN
    return _SECRET_OF_QUERY.sub(rf"\g<1>{HIDDEN}", _USER_OF_URL.sub(HIDDEN, text))
