"""What a caller replaces of an agent for one run: the values, which an agent must allow, and where a run has them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypedDict, cast

from playhead.runtime.core.arguments import check_items, check_mapping, check_text
from playhead.runtime.core.codec import pack
from playhead.runtime.core.errors import EncodingError, OverrideRefusedError
from playhead.runtime.core.intake import whole_text
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import Record, RunSubmitted

__all__ = [
    "OVERRIDES",
    "Allowance",
    "RunOverrides",
    "checked_allowance",
    "checked_overrides",
    "models_in",
    "options_at",
    "overrides_of",
    "refuse_overrides",
    "with_params_in",
]

OVERRIDES: Final = ("model", "system_prompt", "tools", "params")
"""The names of the overrides, as arguments of a call and as options of `run.submitted`."""

_NAMED: Final = {"model": "the name of a model", "tools": "the name of a tool", "params": "the name of a parameter"}

Allowance = Mapping[str, bool | Sequence[str]]
"""What an agent allows: by the name of an override True, or the models, tools or parameters that are allowed."""


class RunOverrides(TypedDict, total=False):
    """What one run has instead of its agent's own. The agent must allow each of them, by `allow_overrides`.

    Attributes:
        model: The name of a model, such as `openai/gpt-5-mini`. The worker resolves it with its own keys.
        system_prompt: A system prompt.
        tools: The names of those of the agent's tools that the run is offered, in the agent's order.
        params: Parameters of the model, such as `{"temperature": 0}`: these, and of the model's own those with other names.
    """

    model: str | None
    system_prompt: str | None
    tools: Sequence[str] | None
    params: Mapping[str, Any] | None


def checked_overrides(given: Mapping[str, object]) -> dict[str, Any]:
    """The overrides among the keywords of a call, as the options of `run.submitted`; those that are None are left out.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If the name of a model or a tool is empty.
        EncodingError: If a parameter is not plain data.
    """
    found = {name: given[name] for name in OVERRIDES if given.get(name) is not None}
    check_text("model", found.get("model"), optional=True)
    check_text("system_prompt", found.get("system_prompt"), optional=True, empty=True)
    check_mapping("params", found.get("params"), optional=True)
    options: dict[str, Any] = dict(found)
    if "system_prompt" in found:
        options["system_prompt"] = whole_text(cast("str", found["system_prompt"]))
    if "tools" in found:
        check_items("tools", found["tools"], str, each="the name of a tool")
        options["tools"] = list(cast("Sequence[str]", found["tools"]))
    if "params" in found:
        options["params"] = _plain_params(cast("Mapping[str, object]", found["params"]))
    return options


def _plain_params(params: Mapping[str, object]) -> dict[str, Any]:
    for name, value in params.items():
        try:
            pack(value)
        except EncodingError as error:
            raise EncodingError(f"params[{name!r}] {error}") from error
    return dict(params)


def checked_allowance(given: object, *, tools: Collection[str]) -> dict[str, bool | list[str]]:
    """What an agent allows, of its argument `allow_overrides`: a collection of names, or a mapping as `Allowance`.

    Raises:
        TypeError: If it is neither, or a value of the mapping is neither a bool nor a collection of names.
        ValueError: If a name is not that of an override, a system prompt has a list of values, or a tool is not in `tools`.
    """
    if isinstance(given, str) or not isinstance(given, Collection):
        raise TypeError(
            f"allow_overrides must be a set of names, or a dict of them, not {given!r:.80} of type {type(given).__name__}"
        )
    names = cast("Collection[object]", given)
    pairs = dict(cast("Mapping[object, object]", given)) if isinstance(given, Mapping) else dict.fromkeys(names, True)
    if unknown := [name for name in pairs if name not in OVERRIDES]:
        raise ValueError(f"allow_overrides can have {', '.join(OVERRIDES)}, not {unknown[0]!r:.80}")
    allowed = {name: _allowed(name, pairs[name]) for name in OVERRIDES if name in pairs}
    listed = allowed.get("tools", False)
    if unknown := [name for name in ([] if isinstance(listed, bool) else listed) if name not in tools]:
        raise ValueError(
            f"allow_overrides: {unknown[0]!r} is not a tool of the agent, which has {', '.join(tools) or 'none'}"
        )
    return {name: values for name, values in allowed.items() if values is not False}


def models_in(allowed: Allowance) -> Sequence[str]:
    """The models that are allowed by their names; empty if none or any."""
    models = allowed.get("model", False)
    return () if isinstance(models, bool) else models


def _allowed(name: str, values: object) -> bool | list[str]:
    if isinstance(values, bool):
        return values
    if name not in _NAMED:
        raise ValueError(f"allow_overrides: {name} is allowed with any value, so give True, not {values!r:.80}")
    if isinstance(values, str) or not isinstance(values, Collection):
        raise TypeError(
            f"allow_overrides: {name} must be True, or a list, each item {_NAMED[name]}, not {values!r:.80}"
        )
    found = sorted(cast("set[object]", values), key=str) if isinstance(values, set | frozenset) else list(values)
    check_items(f"allow_overrides: {name}", found, str, each=_NAMED[name])
    return cast("list[str]", found)


def refuse_overrides(agent: str, options: Mapping[str, Any], *, allowed: Allowance) -> None:
    """Refuse the overrides among the options of a run that its agent does not allow.

    Args:
        agent: The agent's name.
        options: Those of the run's record 1.
        allowed: What the agent allows. Its tools are listed here even if it allows all.

    Raises:
        OverrideRefusedError: The message names the first of them, and what is allowed.
    """
    for name in OVERRIDES:
        if name not in options:
            continue
        values = allowed.get(name, False)
        if not isinstance(values, bool):
            given = [options[name]] if name == "model" else list(options[name])
            if refused := [one for one in given if one not in values]:
                shown = repr(refused[0]) if name == "model" else f"[{refused[0]!r}]"
                raise OverrideRefusedError(agent, f"{name}={shown}", allowed=list(map(repr, values)))
        elif not values:
            raise OverrideRefusedError(agent, f"{name}=", allowed=[f"{one}=" for one in allowed])


def overrides_of(first: Record) -> dict[str, Any]:
    """The overrides that a caller gave the run with this record 1; empty for a fork, which needs no permission."""
    options = first.options if isinstance(first, RunSubmitted) else {}
    return {} if "fork" in options else {name: options[name] for name in OVERRIDES if name in options}


def options_at(first: Record, seq: int) -> Mapping[str, Any]:
    """The options in force at record `seq` of the run with this record 1.

    The first records of a fork are its parent's, which had options of its own: the fork's record 1 has them under `of`.
    """
    options: Mapping[str, Any] = first.options if isinstance(first, RunSubmitted) else {}
    while (fork := options.get("fork")) and seq <= fork["at"]:
        options = fork.get("of", {})
    return options


def with_params_in(model: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a model that has these parameters besides its own."""
    config: Any = model.get("config")
    if not isinstance(config, Mapping):
        return {**model, "params": plain(params)}
    described = cast("Mapping[str, Any]", config)
    return {**model, "config": {**described, "params": {**(described.get("params") or {}), **plain(params)}}}
