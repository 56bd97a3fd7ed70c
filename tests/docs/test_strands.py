"""docs/strands.md goes through everything a Strands user could expect, and names a test for whatever is kept."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from typing import NamedTuple

import pytest

from tests.docs.docs_markdown import ROOT

__all__: list[str] = []

PAGE = (ROOT / "docs" / "strands.md").read_text(encoding="utf-8")
VERDICTS = ("kept", "kept differently", "refused")
ROW = re.compile(r"^\| (\d+) \| (.+?) \| ([\w ]+) \| (.*) \|$", re.MULTILINE)


class Row(NamedTuple):
    """One row: its number, what a Strands user has, the verdict, and how, why and the tests."""

    number: int
    what: str
    verdict: str
    text: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """The tests it names, each as its file and its function."""
        return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", self.text)

    @property
    def recordings(self) -> list[str]:
        """The recordings it names."""
        named = re.search(r"[Rr]ecorded: (`\w+`(?:, `\w+`)*)", self.text)
        return re.findall(r"\w+", named[1]) if named else []

    @property
    def words(self) -> str:
        """The text without what it names."""
        return re.sub(r"[Rr]ecorded: (`\w+`(?:, `\w+`)*)|`tests/[^`]+`|[;.]", "", self.text).strip()


ROWS = [Row(int(number), what, verdict, text) for number, what, verdict, text in ROW.findall(PAGE)]


@cache
def functions(path: str) -> set[str]:
    """The functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@cache
def recordings() -> set[str]:
    """The recordings that the conformance tests play."""
    folder = ROOT / "tests" / "conformance"
    files = [json.loads((folder / name / "scenarios.json").read_text()) for name in ("data", "data_extra")]
    return {scenario["id"] for file in files for scenario in file["scenarios"]}


def test_all_78_rows_are_there_in_order() -> None:
    assert [row.number for row in ROWS] == list(range(1, 79))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_a_row_names_tests_that_exist_and_says_how_it_differs(row: Row) -> None:
    assert row.verdict in VERDICTS
    for path, function in row.tests:
        assert function in functions(path), f"{path} has no {function}"
    assert set(row.recordings) <= recordings()
    if row.verdict != "refused":
        assert row.tests or row.recordings, "a row that is kept names its test"
    if row.verdict != "kept":
        assert len(row.words) > 20, "it says what is different, or the way here"
