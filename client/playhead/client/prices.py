"""What the tokens of a run cost, by a table of prices that the user gives: playhead knows no prices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from playhead.client.reader import RunReader
from playhead.runtime.core.arguments import check_number
from playhead.runtime.core.run_diff import RunSummary

__all__ = ["Price", "Prices", "cost_of", "read_prices"]

_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of a model cost, in the currency of the table."""

    input: float
    output: float


Prices = Mapping[str, Price]
"""Prices by the model's id."""


def read_prices(file: Path) -> dict[str, Price]:
    """The table in a file of JSON: `{"gpt-5-mini": {"input": 0.25, "output": 2.0}}`.

    Raises:
        ValueError: If the file cannot be read, or has another form.
    """
    try:
        given: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is not a table of prices: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{file} is not a table of prices: it needs prices by the model's id")
    return {model: _price(file, model, price) for model, price in cast("dict[str, Any]", given).items()}


def _price(file: Path, model: str, given: Any) -> Price:
    if not isinstance(given, dict) or cast("dict[str, Any]", given).keys() != {"input", "output"}:
        raise ValueError(f'{file}: the price of {model} must be {{"input": …, "output": …}}, for a million tokens')
    price = cast("dict[str, Any]", given)
    for name, value in price.items():
        try:
            check_number(name, value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file}: the price of {model}: {error}") from error
    return Price(**price)


async def cost_of(run: RunReader, did: RunSummary, prices: Prices) -> float | None:
    """What the answers of a run cost by their input and output tokens, whether a provider calls some of them cached or not.

    None if a model that answered is not known, or has no price.

    Raises:
        RunNotFoundError, ForeignRecordError, LogUnavailableError: As their texts say.
    """
    cost = 0.0
    for digest, usage in did.usage_by.items():
        definition = did.made.get(digest) or (await run.log.definition(run.id, digest) if digest else None)
        model = did.model or (_id_of(definition.model) if definition is not None else "")
        price = prices.get(model) or prices.get(model.partition("/")[2])
        if price is None:
            return None
        cost += (price.input * usage.get("inputTokens", 0) + price.output * usage.get("outputTokens", 0)) / _MILLION
    return cost


def _id_of(model: Mapping[str, Any]) -> str:
    """The id by which the model of a definition knows itself; else the name of its class."""
    config: Any = model.get("config") or {}
    return str(config.get("model_id") or model.get("name") or model.get("class") or "")
