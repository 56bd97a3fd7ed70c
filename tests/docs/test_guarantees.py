"""docs/guarantees.md names, for each promise, the tests that attack it: they must be there, under those names."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.docs_markdown import ROOT

__all__: list[str] = []

PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROMISES = [
    "Dense",
    "Fenced",
    "Durable at the boundary",
    "Taken over",
    "Retracted, not repeated",
    "Ends",
    "Leaving is not cancelling",
    "Replayable for ever",
]
PARTS = ["**Holds.**", "**Does not hold.**", "**Attacked by.**"]


def promise(number: int, name: str) -> str:
    """The section of one promise."""
    found = re.search(rf"^## {number}\. {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found is not None, f"no section '## {number}. {name}'"
    return found[1]


def named_tests(text: str) -> list[tuple[str, str]]:
    """The tests that a text names: (file, function)."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def functions(path: str) -> set[str]:
    """The functions and methods of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("number", "name"), list(enumerate(PROMISES, start=1)))
def test_each_promise_says_what_holds_what_does_not_and_which_tests_attack_it(number: int, name: str) -> None:
    section = promise(number, name)
    assert [part for part in PARTS if part not in section] == []
    assert named_tests(section.partition(PARTS[-1])[2]), "no test is named"


def test_the_tests_that_are_named_exist() -> None:
    missing = [f"{path}::{name}" for path, name in named_tests(PAGE) if name not in functions(path)]
    assert missing == []
