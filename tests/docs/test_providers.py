"""docs/providers.md names, for each habit of a server, the test that checks it: it must be there, under that name."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.docs_markdown import ROOT

__all__: list[str] = []

PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\|(?!-)", line) and not line.endswith("| test |")]


def functions(path: str) -> set[str]:
    """The functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_names_a_test_that_exists(row: str) -> None:
    named = re.search(r"`(tests/[\w/]+\.py)::(\w+)` \|$", row)
    assert named, f"no test is named at the end of {row}"
    assert named[2] in functions(named[1])


def test_the_tables_are_read() -> None:
    assert len(ROWS) > 40
