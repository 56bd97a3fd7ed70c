"""What a tool changes in an object that it shares, whatever the types of its fields are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from playhead.runtime.host.changes import change_again, changes_since, fields_of

if TYPE_CHECKING:
    from httpx import AsyncClient

__all__: list[str] = []


class Item(BaseModel):
    """What is bought."""

    name: str


class Plain:
    """Of a class that pydantic does not know."""


@dataclass
class Shop:
    """Has fields of all kinds; one has a type that only type checkers import."""

    items: list[Item] = field(default_factory=list[Item])
    client: AsyncClient | None = None
    owner: Plain | None = field(default_factory=Plain)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(3)))


def changed(name: str, value: Any) -> Shop:
    """The same change, made again over what the log has of it."""
    before, shop = fields_of(Shop()), Shop()
    setattr(shop, name, value)
    again = Shop()
    change_again(again, changes_since(before, shop))
    return again


@pytest.mark.parametrize(
    ("name", "value"), [("items", [Item(name="pear")]), ("client", "of a test"), ("owner", None), ("numbers", "none")]
)
def test_a_field_gets_its_value_again_as_its_declared_type_if_that_is_known(name: str, value: Any) -> None:
    assert getattr(changed(name, value), name) == value


def test_to_look_for_changes_takes_nothing_from_an_iterator() -> None:
    shop = Shop()
    changes_since(fields_of(shop), shop)
    assert list(shop.numbers) == [0, 1, 2]
