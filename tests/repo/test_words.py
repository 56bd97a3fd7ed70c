"""Plain English: words that the project does not use, in source, docs and tests.

The rule is in CONTRIBUTING.md. A component is not a person, a thing has one name, and a sentence says what happens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .test_house import texts

__all__: list[str] = []

WORDS = (
    r"nobody|somebody|someone|anybody|whoever|no one",
    r"(?<!there )(?:is|are|was|were) no (?!longer|more|less)",
    r"(?:waits?|waiting|stands?|next|first) in line|in line (?:with|at|before)",
    r"sets? aside|setting aside|lets? go|letting go|last words|its like|wherever it is",
    r"behind|ears?|bells?|rings?|rang|rooms?|roads?|story|stories",
)
"""Patterns of whole words; an underscore separates words, so that names are read too."""

PATTERN = re.compile(rf"\b(?:{'|'.join(WORDS)})", re.IGNORECASE)
WHOLE = re.compile(r"\W|$")
READ = (".py", ".md", ".lua", ".toml", ".yml", "Makefile", "Dockerfile")
NOT_READ = ("tests/repo/test_words.py", "tests/conformance/data")
"""This list itself, and what was recorded elsewhere."""


def unplain(text: str) -> Iterator[str]:
    """Each use of such a word, as `line: word`."""
    for number, line in enumerate(text.splitlines(), 1):
        spaced = line.replace("_", " ")
        for match in PATTERN.finditer(spaced):
            if WHOLE.match(spaced, match.end()) or match[0].endswith(" "):
                yield f"{number}: {match[0].strip()}"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("def test_nobody_waits(): ...", ["1: nobody"]),
        ("A run that is no run of it", ["1: is no"]),
        ("it is no longer there", []),
        ("There is no such file", []),
        ("for word in line.split(): story = words[word]", ["1: story"]),
        ("the run waits in line", ["1: waits in line"]),
        ("the string is early, and the ringed stories_of_it", ["1: stories"]),
        ("what it sets aside\nand lets go", ["1: sets aside", "2: lets go"]),
    ],
)
def test_the_check_finds_whole_words_in_names_and_in_sentences(line: str, found: list[str]):
    assert list(unplain(line)) == found


def test_source_docs_and_tests_are_in_plain_english():
    read = {name: text for name, text in texts().items() if name.endswith(READ) and not name.startswith(NOT_READ)}
    assert len(read) > 300
    assert {name: words for name, text in read.items() if (words := list(unplain(text)))} == {}
